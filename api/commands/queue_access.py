"""Gives a command a queue with a worker: REDIS_URL's, that of the running local server, or one started for it."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, TypeVar

import click

from api.cancellation import cancel_and_wait
from api.commands.child_process import ChildSpec
from api.commands.orphan_guard import OrphanGuard
from api.commands.redis_server import find_redis_binary, free_loopback_port, redis_command, wait_for_redis
from api.commands.running_server import RunningServer
from api.commands.serve import child_environment, worker_children
from api.commands.supervisor import Supervisor
from shared.settings import Settings

T = TypeVar("T")

CANNOT_START = frozenset({1, 2})
"""Exit codes of a worker, or Redis, of which another start would not help: nobody watches this one for long."""


def run_with_queue(settings: Settings, work: Callable[[Settings], Awaitable[T]]) -> T:
    """Run `work` with settings whose REDIS_URL has a worker behind it; what is started for it ends with it.

    Raises what `work` raises, and `ChildFailedError` where the worker cannot start.
    """
    if "redis_url" in settings.model_fields_set:
        return asyncio.run(_await(work(settings)))
    if server := RunningServer.find(settings.data_dir):
        return asyncio.run(_await(work(server.complete(settings))))
    click.echo(
        f"No server runs over {settings.data_dir} and REDIS_URL is not set: Redis and a worker are started here and "
        "end with this command.",
        err=True,
    )
    return asyncio.run(_run_with_own_worker(settings, work))


async def _await(work: Awaitable[T]) -> T:
    return await work


async def _run_with_own_worker(settings: Settings, work: Callable[[Settings], Awaitable[T]]) -> T:
    port = free_loopback_port()
    own = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}/0"})
    logs = settings.data_dir.absolute() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="premises-redis-") as folder, OrphanGuard() as guard:
        redis = ChildSpec("redis", redis_command(find_redis_binary(), port, Path(folder)), 5, logs / "own-redis.log")
        worker = replace(worker_children(own)[0], output=logs / "own-worker.log")
        supervisor = Supervisor(child_environment(os.environ, own, own.redis_url), _say, guard)
        try:
            keepers = [asyncio.create_task(supervisor.keep_running(replace(redis, fatal_exit_codes=CANNOT_START)))]
            await wait_for_redis(own.redis_url)
            keepers.append(asyncio.create_task(supervisor.keep_running(replace(worker, fatal_exit_codes=CANNOT_START))))
            return await _first_of(asyncio.ensure_future(work(own)), keepers)
        finally:
            await cancel_and_wait(keepers)
            await supervisor.stop_all()


async def _first_of(working: "asyncio.Future[T]", keepers: Sequence["asyncio.Task[NoReturn]"]) -> T:
    """The result of the work, or the failure of a process that it needs."""
    try:
        either: set[asyncio.Future[Any]] = {working, *keepers}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        for keeper in keepers:
            if keeper.done():
                keeper.result()
        return await working
    finally:
        await cancel_and_wait([working])


def _say(text: str) -> None:
    print(text, file=sys.stderr)
