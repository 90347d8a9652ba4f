"""Background tasks of asyncio: kept running, and ended for certain."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

CANCEL_AGAIN_SECONDS = 0.2
RESTART_SECONDS = 1.0

log = logging.getLogger("api")


def keep_running(work: Callable[[], Awaitable[None]], name: str) -> asyncio.Task[None]:
    """A task that does endless work until it is cancelled; an unexpected failure is logged and the work begun anew."""

    async def run() -> None:
        while True:
            try:
                await work()
            except Exception:
                log.exception("%s failed; starting again", name)
            await asyncio.sleep(RESTART_SECONDS)

    return asyncio.create_task(run(), name=name)


async def cancel_and_wait(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks until all have ended.

    Once is not enough: a cancellation that arrives while redis-py reads an answer can be swallowed there (seen with
    redis 8.1), and the task would go on as if nothing had happened.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
