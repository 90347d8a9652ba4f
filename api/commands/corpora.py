"""`premises corpora`: which corpora a running deployment serves beside its default one, each at a URL prefix."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from api.commands.output import json_option, print_json

if TYPE_CHECKING:
    import redis.asyncio

    from shared.settings import Settings

Result = TypeVar("Result")


@click.group(
    name="corpora",
    short_help="Serve several corpora, each at a URL prefix.",
    epilog="Example: premises corpora add v4.33.0 --revision v4.33.0 --wait",
)
def corpora_command() -> None:
    """Serve several corpora, say two Mathlib releases, in one deployment: each at a URL prefix of its own.

    What is added at v4.33.0 answers at http://<host>/v4.33.0/retrieve and all other paths; Lean's clients take
    http://<host>/v4.33.0 as their base URL. Paths without a prefix are the default corpus's. All share the workers and
    the cache of vectors. Nothing is restarted: the wanted corpora are kept in Redis (REDIS_URL, or that of the `make
    serve` in DATA_DIR), `premises corpora watch` prepares them and every API process takes them up. docs/revisions.md
    tells more.
    """


@corpora_command.command(
    name="add",
    epilog="Example: premises corpora add v4.33.0 --revision v4.33.0 --wait",
)
@click.argument("prefix")
@click.option("--data", default="", help="A corpus folder, a premises.tar.gz, or `demo`.")
@click.option("--revision", default="", help="Instead of --data: a revision of the hub data set.")
@click.option("--repo", "--data-repo", "data_repo", default="", help="The hub data set, where it is not DATA_REPO.")
@click.option("--embeddings", default="", help="Its vectors, a .npy; without it the hub's, else they are computed.")
@click.option("--wait", is_flag=True, help="Return when every API process serves it; fail where one cannot.")
@json_option
def add_command(
    prefix: str, data: str, revision: str, data_repo: str, embeddings: str, *, wait: bool, as_json: bool
) -> None:
    """Serve a further corpus at PREFIX.

    Paths are as `premises corpora watch` sees them: in compose, the corpus has to lie in LOCAL_FILES, which is /local
    there. Adding the same again changes nothing. Another corpus at a PREFIX that is taken is refused: clients hold
    positions in the order of the first one, so take another PREFIX.
    """
    from api.commands.corpora_listing import wait_until_served
    from shared.corpus_source import make_source, whole_path
    from shared.wanted_corpora import WantedCorpus, add_corpus

    source = make_source(whole_path(data), data_repo, revision, whole_path(embeddings))

    async def add(client: "redis.asyncio.Redis", settings: "Settings") -> bool:
        wanted = WantedCorpus.now(prefix, source.at(settings.data_repo), "command")
        changed = await add_corpus(client, wanted)
        if wait:
            await wait_until_served(client, prefix)
        return changed

    changed = _with_redis(add)
    if as_json:
        print_json({"prefix": prefix, "wanted": True, "changed": changed, "served": wait})
    elif wait:
        click.echo(f"{prefix} is served by every API process.")
    else:
        how = "is wanted now" if changed else "was wanted already"
        click.echo(f"{prefix} {how}; `premises corpora list` tells how far it is.")


@corpora_command.command(name="remove", epilog="Example: premises corpora remove v4.32.0")
@click.argument("prefix")
@json_option
def remove_command(prefix: str, *, as_json: bool) -> None:
    """Serve the corpus at PREFIX no more.

    Requests that are being answered from it are answered. Its snapshot is deleted, its computed vectors are kept: to
    add it again costs reading it.
    """
    from shared.wanted_corpora import remove_corpus

    async def remove(client: "redis.asyncio.Redis", _settings: "Settings") -> None:
        await remove_corpus(client, prefix)

    _with_redis(remove)
    if as_json:
        print_json({"prefix": prefix, "wanted": False, "changed": True})
    else:
        click.echo(f"{prefix} is wanted no more.")


@corpora_command.command(
    name="list",
    short_help="Show every corpus, and how far each process is.",
    epilog="Example: premises corpora list --json",
)
@json_option
def list_command(*, as_json: bool) -> None:
    """Show every corpus: where it comes from, its digest, and how far each process is with it."""
    from api.commands.corpora_listing import listing_lines, read_listing

    async def read(client: "redis.asyncio.Redis", _settings: "Settings") -> None:
        listing = await read_listing(client)
        if as_json:
            print_json({"corpora": listing})
        else:
            for line in listing_lines(listing):
                click.echo(line)

    _with_redis(read)


@corpora_command.command(
    name="watch",
    short_help="Prepare the wanted corpora, for as long as it runs.",
    epilog="Example: REDIS_URL=redis://host:6379/0 premises corpora watch",
)
def watch_command() -> None:
    """Prepare the wanted corpora on this machine, one after another, for as long as it runs.

    Reads and checks the files, computes the vectors that are missing through the queue (a worker must be running), and
    writes what API processes map into DATA_DIR. Takes up CORPORA when it starts. `premises serve` and compose run it;
    with API processes on several machines run one beside each DATA_DIR.
    """
    from api.commands.corpora_watch import watch_corpora
    from shared.log_setup import set_up_logging
    from shared.settings import load_settings

    settings = load_settings()
    set_up_logging(settings)
    watch_corpora(settings)


def _with_redis(work: Callable[["redis.asyncio.Redis", "Settings"], Awaitable[Result]]) -> Result:
    """Do something with the deployment's Redis; raises `NotReadyError`, which says how to name it, where it is away."""
    from api.commands.running_server import of_running_server
    from shared.errors import NotReadyError
    from shared.redis_client import RedisError, async_redis
    from shared.settings import load_settings

    settings = of_running_server(load_settings())

    async def connected() -> Result:
        client = async_redis(settings.redis_url)
        try:
            return await work(client, settings)
        except RedisError as error:
            raise NotReadyError(
                f"Redis cannot be used ({type(error).__name__}): set REDIS_URL to the Redis of the deployment, "
                "or DATA_DIR to the folder of the `make serve` that runs."
            ) from error
        finally:
            await client.aclose()

    return asyncio.run(connected())
