"""Sub-commands of the celery program: `celery -A shared.celery_app dead-letters …` and `… backlog`.

Registered in the entry-point group `celery.commands`.  Texts of users are shown only where they are asked for.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import click
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from shared.celery_app import PRIORITY_STEPS, send_job
from shared.dead_letters import DeadLetter, drop_if_unchanged, drop_letters, read_letters
from shared.heartbeats import live_workers
from shared.messages import EmbedJob, Priority, queue_name
from shared.redis_client import UNACKED_KEY, RedisError, attempts_key, priority_list, prompt_redis

REQUEUED_DEADLINE_SECONDS = 24 * 3600.0
POLL_SECONDS = 0.2

Command = TypeVar("Command", bound=Callable[..., None])


@contextmanager
def connected(context: click.Context) -> Iterator[tuple[Celery, redis.Redis]]:
    """The app, and a client of its broker; a broker that is away ends the command with a sentence."""
    app: Celery = context.obj.app
    try:
        with prompt_redis(app.conf.broker_url) as client:
            yield app, client
    except (RedisError, OperationalError) as error:
        raise click.ClickException(
            f"Redis cannot be used ({error}): is REDIS_URL right (`make serve` logs its own), and is it up?"
        ) from None


def which_letters(command: Command) -> Command:
    """The arguments that choose letters."""
    command = click.option("--all", "every", is_flag=True, help="All of them.")(command)
    return click.argument("ids", nargs=-1, metavar="[ID]...")(command)


@click.group("dead-letters")
def dead_letters() -> None:
    """Texts that could not be embedded: list them, try them again, drop them.

    Such a text has failed its request already. It is kept for 7 days, so that it can be looked into.
    """


@dead_letters.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--texts", is_flag=True, help="Show the texts too: they may be unpublished.")
@click.pass_context
def list_command(context: click.Context, *, as_json: bool, texts: bool) -> None:
    """Show the dead letters, newest first."""
    with connected(context) as (_, client):
        letters = read_letters(client)
    for letter in letters:
        click.echo(json.dumps(_described(letter, texts=texts)) if as_json else _line(letter, texts=texts))
    if not letters and not as_json:
        click.echo("There are no dead letters.")


@dead_letters.command("requeue")
@which_letters
@click.pass_context
def requeue_command(context: click.Context, ids: Sequence[str], *, every: bool) -> None:
    """Give texts back to the workers, as if they had never failed; those that fail again come back here."""
    with connected(context) as (app, client):
        chosen = _chosen(client, ids, every=every)
        for letter in chosen:
            client.hdel(attempts_key(letter.job.namespace), *(text.key for text in letter.failed))
            send_job(app, _fresh_job(letter))
            drop_if_unchanged(client, letter)  # last: a letter that is sent twice does no harm
            click.echo(f"{letter.letter_id} requeued: {len(letter.job.texts)} texts")
            if letter.job.namespace not in {worker.namespace for worker in live_workers(client)}:
                click.echo(f"No live worker serves its namespace {letter.job.namespace}: it waits for one.", err=True)
        if not chosen:
            click.echo("There are no dead letters.")


@dead_letters.command("drop")
@which_letters
@click.pass_context
def drop_command(context: click.Context, ids: Sequence[str], *, every: bool) -> None:
    """Forget dead letters. A text that had ended workers may be tried again then."""
    with connected(context) as (_, client):
        chosen = _chosen(client, ids, every=every)
        for letter in chosen:
            client.hdel(attempts_key(letter.job.namespace), *(text.key for text in letter.failed))
        click.echo(f"{drop_letters(client, [letter.letter_id for letter in chosen])} dropped")


@click.command("backlog")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--queues", "names_only", is_flag=True, help="The names of the queues alone, one a line.")
@click.option("--wait", type=click.FloatRange(min=0), metavar="SECONDS", help="First wait until workers hold no job.")
@click.pass_context
def backlog(context: click.Context, *, as_json: bool, names_only: bool, wait: float | None) -> None:
    """Count the jobs that wait, those that workers hold, and the dead letters.

    With --wait it ends with 1 when jobs are still held after that time.
    """
    with connected(context) as (_, client):
        held = _wait_until_none_is_held(client, wait or 0.0)
        waiting, letters = waiting_jobs(client), len(read_letters(client))
        workers = [worker.worker_id for worker in live_workers(client)]
    if names_only:
        click.echo("\n".join(waiting))
    elif as_json:
        click.echo(json.dumps({"waiting": waiting, "held": held, "dead_letters": letters, "workers": workers}))
    else:
        lines = [f"waiting in {queue}: {jobs}" for queue, jobs in waiting.items()]
        click.echo(
            "\n".join([*lines, f"held by workers: {held}", f"dead letters: {letters}", f"workers: {len(workers)}"])
        )
    if wait is not None and held:
        raise click.exceptions.Exit(1)


def waiting_jobs(client: redis.Redis) -> dict[str, int]:
    """Jobs on the broker's lists, by queue; queues without a job are those of live workers."""
    queues = {
        queue_name(worker.namespace, priority)
        for worker in live_workers(client)
        for priority in (Priority.STATE, Priority.CORPUS)
    }
    for pattern in ("embed.*", "corpus.*"):
        queues |= {key.decode().partition("\x06")[0] for key in client.scan_iter(pattern, _type="list")}
    return {queue: sum(client.llen(priority_list(queue, step)) for step in PRIORITY_STEPS) for queue in sorted(queues)}


def _wait_until_none_is_held(client: redis.Redis, seconds: float) -> int:
    gives_up_at = time.monotonic() + seconds
    while (held := client.hlen(UNACKED_KEY)) and time.monotonic() < gives_up_at:
        time.sleep(POLL_SECONDS)
    return held


def _chosen(client: redis.Redis, ids: Sequence[str], *, every: bool) -> list[DeadLetter]:
    if every == bool(ids):
        raise click.UsageError("Name letters by their ids, or all of them by --all.")
    letters = read_letters(client)
    unknown = set(ids) - {letter.letter_id for letter in letters}
    if unknown:
        raise click.ClickException(f"There is no dead letter {', '.join(sorted(unknown))}: nothing was done.")
    return [letter for letter in letters if every or letter.letter_id in ids]


def _fresh_job(letter: DeadLetter) -> EmbedJob:
    deadline = time.time() + REQUEUED_DEADLINE_SECONDS
    return replace(letter.job, job_id=uuid.uuid4().hex, deadline=deadline, lease="", request_id="")


def _described(letter: DeadLetter, *, texts: bool) -> dict[str, object]:
    described: dict[str, object] = {
        "id": letter.letter_id,
        "time": letter.at,
        "job": letter.job.job_id,
        "request": letter.job.request_id,
        "namespace": letter.job.namespace,
        "class": letter.job.priority.name.lower(),
        "errors": [{"key": text.key, "kind": text.kind, "message": text.message} for text in letter.failed],
    }
    return described | ({"texts": letter.job.texts} if texts else {})


def _line(letter: DeadLetter, *, texts: bool) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(letter.at))
    about = f"{letter.job.priority.name.lower()}  {len(letter.job.texts)} texts  {', '.join(letter.kinds)}"
    line = f"{letter.letter_id}  {at}  {about}"
    return "\n".join([line, *map(repr, letter.job.texts)]) if texts else line
