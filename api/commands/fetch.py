"""`premises fetch`: download beforehand what the settings name on the hub, verify it, and prepare it if possible."""

import asyncio
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from api.commands.output import json_option, print_json
from api.commands.setting_options import data_dir_option, model_id_option

if TYPE_CHECKING:
    from api.publishing.fetching import FetchedCorpus
    from shared.settings import Settings

EPILOG = """\b
Examples:
  premises fetch --revision v4.32.0 --model-id org/model --model-revision v2
  HF_TOKEN=… premises fetch --repo me/premises --revision v4.32.0     a private data set
  HF_HUB_OFFLINE=1 premises fetch --revision v4.32.0                  is everything there, and whole?
  premises fetch --revision v4.33.0 --prepare                         make it what the next start serves
"""


@click.command(name="fetch", short_help="Download models, corpus and embeddings, and verify them.", epilog=EPILOG)
@click.option("--revision", "data_revision", envvar="DATA_REVISION", show_envvar=True, help="Revision of the corpus.")
@click.option("--repo", "data_repo", envvar="DATA_REPO", show_envvar=True, help="Data set (l3lab/lean-premises).")
@model_id_option
@click.option("--model-revision", envvar="MODEL_REVISION", show_envvar=True, help="Revision of the hub model.")
@data_dir_option
@click.option(
    "--prepare/--no-prepare",
    "wants_snapshot",
    default=None,
    help="Write the snapshot that replicas serve, waiting for a worker; by default where one is up and nothing else "
    "is served from DATA_DIR.",
)
@json_option
def fetch_command(*, wants_snapshot: bool | None, as_json: bool, **options: str | None) -> None:
    """Download models, corpus and embeddings from the hub, so that no later start needs the network.

    Fetches MODEL_ID and every model of MODELS; with a revision also the corpus and its embeddings. The corpus is
    unpacked, and everything is verified: the corpus can be read, the embeddings have its rows and are vectors of
    length 1, and all is what manifest.json says, where the data set has one. What does not fit is told in a sentence,
    and the command ends with 2.

    HF_TOKEN, for private and gated repositories, is used by this command (and `premises publish`) alone. An
    interrupted download goes on where it stopped; with HF_HUB_OFFLINE=1 nothing is downloaded, but all is verified.
    """
    from api.commands.running_server import of_running_server
    from api.publishing.fetching import FetchReport, fetch_corpus, fetch_models
    from shared.log_setup import set_up_logging
    from shared.settings import load_settings

    os.environ.update({name.upper(): value for name, value in options.items() if value is not None})
    if click.get_current_context().get_parameter_source("data_revision") == ParameterSource.COMMANDLINE:
        os.environ["DATA"] = ""  # which would be meant otherwise
    settings = load_settings()
    set_up_logging(settings)
    models, fetched = fetch_models(settings), None
    if not as_json:
        click.echo("\n".join(f"model {model.name}: {model.folder}" for model in models))
    if not settings.data and settings.data_revision:
        fetched = fetch_corpus(settings)
    if fetched and not as_json:
        _tell(fetched, settings)
    to_do = _prepare(fetched, of_running_server(settings), wants_snapshot=wants_snapshot)
    if as_json:
        print_json(FetchReport(models=models, corpus=fetched, is_prepared=to_do is None, to_do=to_do))
    elif wants_snapshot or (fetched and wants_snapshot is None):
        click.echo(to_do or "prepared: the next start serves it at once")


def _tell(corpus: "FetchedCorpus", settings: "Settings") -> None:
    click.echo(f"corpus {corpus.repo} at {corpus.revision}: {corpus.archive}")
    click.echo(f"unpacked: {corpus.folder}")
    published = "as published" if corpus.is_as_published else "nothing published says what it should be"
    click.echo(f"verified: {corpus.premises:,} premises, digest {corpus.digest[:12]}, {published}")
    if (embeddings := corpus.embeddings) is not None:
        click.echo(f"its embeddings by {settings.model_id}: {embeddings.path}")
        click.echo(f"verified: {embeddings.rows:,} vectors of {embeddings.dimension} numbers")
    elif settings.model_revision:
        click.echo(f"its embeddings by {settings.model_id}: none there, they will be computed")


def _prepare(corpus: "FetchedCorpus | None", settings: "Settings", *, wants_snapshot: bool | None) -> str | None:
    """Prepare, where that is wanted or does no harm; else what is still to be done."""
    why_not = None
    if wants_snapshot is None:
        why_not = _why_not_by_itself(corpus, settings)
    elif not wants_snapshot:
        why_not = "--no-prepare"
    if why_not is None:
        from api.commands.prepare import prepare  # which a worker's image cannot load

        prepare(settings)
        return None
    return f"not prepared ({why_not.rstrip('.')}): `premises fetch --prepare`, or the next start of the server, does it"


def _why_not_by_itself(corpus: "FetchedCorpus | None", settings: "Settings") -> str | None:
    """None where preparing needs no waiting and changes nothing for those who are served."""
    if corpus is None:
        return "no corpus was fetched"
    if find_spec("faiss") is None:
        return "the extra `api` is not installed here"
    if _served_digest(settings) not in (None, corpus.digest):
        return "another corpus is served from DATA_DIR"
    return asyncio.run(_why_no_worker(settings))


def _served_digest(settings: "Settings") -> str | None:
    """Digest of the corpus that replicas map when they start now; None: of none."""
    from api.snapshot import SnapshotManifest, current_snapshot
    from shared.errors import CorpusError

    served = current_snapshot(settings.data_dir)
    try:
        return SnapshotManifest.read(served).corpus_digest if served else None
    except CorpusError:
        return None


async def _why_no_worker(settings: "Settings") -> str | None:
    from api.worker_directory import WorkerDirectory
    from shared.redis_client import async_redis

    client = async_redis(settings.redis_url)
    try:
        directory = WorkerDirectory(client, *settings.catalogue()[0].loaded_as)
        await directory.refresh()
        return None if directory.serving() else directory.why_not_serving()
    finally:
        await client.aclose()
