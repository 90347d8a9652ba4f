"""`premises publish`: a corpus, its embeddings and a manifest to a data set of the hub, ready for `premises fetch`."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NoReturn

import click

from api.commands.check import HAS_FAULTS, check_corpus
from api.commands.output import json_option, print_json, progress_bar

if TYPE_CHECKING:
    from api.corpus_review.report import CorpusReport
    from api.publishing.publication import GivenEmbeddings
    from api.publishing.publisher import PublishReport

EPILOG = """\b
Examples:
  premises publish mathlib/ --repo me/premises --create --dry-run
  HF_TOKEN=… premises publish mathlib/ --repo me/premises --create
  HF_TOKEN=… premises publish premises.tar.gz --repo me/premises \\
      --embeddings vectors.npy --model-id me/encoder --model-revision v2
Then anybody:
  DATA_REPO=me/premises DATA_REVISION=v4.32.0 premises fetch
"""


@click.command(name="publish", short_help="Send CORPUS and its embeddings to a hub data set.", epilog=EPILOG)
@click.argument("corpus")
@click.option("--repo", envvar="DATA_REPO", show_envvar=True, required=True, help="Data set of the hub, OWNER/NAME.")
@click.option("--revision", help="Tag (or branch) to publish as; by default the corpus' own revision.")
@click.option("--embeddings", type=click.Path(path_type=Path), help="Vectors of the corpus, a .npy file.")
@click.option("--model-id", envvar="MODEL_ID", show_envvar=True, help="Hub model that made the vectors.")
@click.option("--model-revision", envvar="MODEL_REVISION", show_envvar=True, help="Its revision.")
@click.option("--branch", default="main", show_default=True, help="Branch on which the tag's commit is made.")
@click.option("--create", is_flag=True, help="Make the data set where there is none.")
@click.option("--private", is_flag=True, help="With --create: for you and your organisation alone.")
@click.option("--replace", is_flag=True, help="Take the tag from the commit that has it; see docs/corpora.md first.")
@click.option("--dry-run", is_flag=True, help="Check, pack and look at the hub, tell what would be sent, send nothing.")
@json_option
def publish_command(
    corpus: str,
    repo: str,
    revision: str | None,
    embeddings: Path | None,
    model_id: str | None,
    model_revision: str | None,
    *,
    branch: str,
    create: bool,
    private: bool,
    replace: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish CORPUS, a folder or a premises.tar.gz, to a data set of the Hugging Face hub.

    Sends premises.tar.gz, the embeddings as embeddings/<model>-<revision>.npy with what they are of beside them, and
    manifest.json (revision, digest, counts, models, sizes and hashes of the files), all in one commit, and tags it.
    That is what DATA_REPO with DATA_REVISION then reads, and what `premises fetch` checks.

    Needs HF_TOKEN with write permission, or a login of the hub's own program. The corpus is checked first as by
    `premises check`; with faults in it nothing is sent, and the command ends with 1 (--json then prints what `premises
    check --json` does). A tag that exists is refused without --replace. Embeddings of another corpus are removed from
    the branch (older tags keep them), those of the same corpus stay, so that several models can be published one after
    another. A folder is packed so that the same files give the same archive; to run the command again changes nothing,
    or completes what was interrupted.
    """
    from api.commands.corpus_argument import open_named_corpus
    from api.publishing.publication import PublishedCorpus
    from api.publishing.publisher import Publisher, Target
    from shared.settings import load_settings

    settings = load_settings()
    named = open_named_corpus(corpus, settings)
    report = check_corpus(named, settings, embeddings)
    if report.revision is None or report.digest is None or not report.can_be_served:
        _refuse(report, as_json=as_json)
    given = _as_model(report, model_id, model_revision)
    target = Target(
        repo=repo,
        revision=revision or report.revision,
        branch=branch,
        create=create,
        private=private,
        replace=replace,
        dry_run=dry_run,
    )
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=settings.data_dir, prefix="publish-") as scratch:
        archive = named.archive or _pack(named.folder, Path(scratch))
        published = PublishedCorpus(report.revision, report.digest, report.counts, archive)
        done = Publisher(settings, target).publish(published, given)
    if as_json:
        print_json(done)
    else:
        _tell(done, dry_run=dry_run)


def _refuse(report: "CorpusReport", *, as_json: bool) -> NoReturn:
    from api.corpus_review.report_text import report_lines

    if as_json:
        print_json(report)
    else:
        click.echo("\n".join(report_lines(report)), err=True)
    click.echo("Nothing was sent: mend what is told as an error, or extract the corpus again.", err=True)
    click.get_current_context().exit(HAS_FAULTS)


def _as_model(report: "CorpusReport", model_id: str | None, model_revision: str | None) -> "list[GivenEmbeddings]":
    from api.publishing.publication import GivenEmbeddings
    from shared.errors import SettingsError

    if report.embeddings is None:
        return []
    if not model_id or not model_revision:
        raise SettingsError(
            "Embeddings are published under the model that made them: name it with --model-id and --model-revision, "
            "as those who fetch them will with MODEL_ID and MODEL_REVISION."
        )
    if not report.embeddings.says_corpus:
        click.echo(
            f"Warning: nothing beside {report.embeddings.path} says which corpus it is of; it has the right number "
            "of rows, more is not known.",
            err=True,
        )
    return [GivenEmbeddings(report.embeddings, model_id, model_revision)]


def _pack(folder: Path, scratch: Path) -> Path:
    from api.publishing.packing import corpus_files, pack_corpus
    from shared.artifacts import ARCHIVE_NAME

    archive = scratch / ARCHIVE_NAME
    with progress_bar("Packing", len(corpus_files(folder)), " files") as bar:
        pack_corpus(folder, archive, bar.update)
    return archive


def _tell(report: "PublishReport", *, dry_run: bool) -> None:
    manifest = report.manifest
    place = f"{report.repo}, {'branch' if report.tag is None else 'tag'} {report.revision}"
    if not report.is_new:
        click.echo(f"{place} has all of it already (commit {report.commit}): nothing to do.")
        return
    click.echo(f"{'Would publish' if dry_run else 'Published'} to {place}:")
    for file in manifest.files:
        click.echo(f"  {file.path}  {file.size_bytes:,} bytes  sha256 {file.sha256}")
    click.echo(f"  manifest.json  {manifest.premises:,} premises, corpus digest {manifest.corpus_digest}")
    for path in report.removed:
        click.echo(f"  {path}  {'would be' if dry_run else 'was'} removed: it belongs to another corpus")
    if report.url:
        click.echo(report.url)
    models = [f" MODEL_ID={entry.model} MODEL_REVISION={entry.model_revision}" for entry in manifest.embeddings[:1]]
    click.echo(f"To use it: DATA_REPO={report.repo} DATA_REVISION={report.revision}{''.join(models)} premises fetch")
