"""Keeps the processes of the local server running and stops them in order."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NoReturn

from api.commands.child_process import ChildProcess, ChildSpec, describe_exit
from api.commands.orphan_guard import OrphanGuard
from shared.errors import ChildFailedError

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A process that has run this long starts with the first delay again."""


def restart_delay(previous: float | None, uptime_seconds: float) -> float:
    """Seconds to wait before the next start: doubled after each death, short again after a steady run."""
    if previous is None or uptime_seconds >= STEADY_SECONDS:
        return FIRST_DELAY_SECONDS
    return min(2 * previous, LONGEST_DELAY_SECONDS)


class Supervisor:
    """Starts processes, starts them again when they die, and stops them in the reverse order of their first start."""

    def __init__(
        self,
        environment: Mapping[str, str],
        write: Callable[[str], None],
        guard: OrphanGuard,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`write` gets whole lines, the children's from other threads; `clock` and `sleep` measure the restarts."""
        self._environment = environment
        self._write = write
        self._guard = guard
        self._clock = clock
        self._sleep = sleep
        self._children: dict[str, ChildProcess] = {}

    async def keep_running(self, spec: ChildSpec) -> NoReturn:
        """Run the process until cancelled; raises `ChildFailedError` where another start would not help."""
        delay: float | None = None
        while True:
            started = self._clock()
            code = await self._run(spec)
            if code in spec.fatal_exit_codes:
                raise ChildFailedError(f"{spec.name} ended ({describe_exit(code)}): {_where_it_says_why(spec)}.")
            delay = restart_delay(delay, self._clock() - started)
            self._write(f"{spec.name} ended ({describe_exit(code)}); it is started again in {delay:g} s.")
            await self._sleep(delay)

    async def run_to_end(self, spec: ChildSpec) -> None:
        """Run the process once; raises `ChildFailedError` unless it exits with 0."""
        code = await self._run(spec)
        if code != 0:
            raise ChildFailedError(f"{spec.name} ended ({describe_exit(code)}): {_where_it_says_why(spec)}.")

    async def stop_all(self) -> None:
        """Stop one process after the other, the last one first; cancel what keeps them running before."""
        for child in reversed(self._children.values()):
            await child.stop()

    def kill_all(self) -> None:
        """SIGKILL to every process that is left; a waiting `stop_all` then ends by itself."""
        for child in self._children.values():
            if not child.exited.done():
                child.kill()

    async def _run(self, spec: ChildSpec) -> int:
        child = ChildProcess(spec, self._environment, self._write)
        self._guard.watch(spec.name, child.pid, spec.stop_seconds)
        child.exited.add_done_callback(partial(self._forget, spec.name))
        self._children[spec.name] = child
        return await asyncio.shield(child.exited)

    def _forget(self, name: str, _exited: asyncio.Future[int]) -> None:
        self._guard.forget(name)


def _where_it_says_why(spec: ChildSpec) -> str:
    where = f"the end of {spec.output}" if spec.output not in ("lines", "inherited") else "what it wrote above"
    return f"{where} says why"
