"""One process of the local server: the leader of a session of its own, with its output and its end."""

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from shared.errors import ChildFailedError

USAGE_EXIT_CODE = 2
"""Exit code of every command whose settings or files cannot be used: starting it again would not help."""

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C has ended, as shells have it."""

LAST_OUTPUT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to start and how to end it."""

    name: str
    command: Sequence[str]
    stop_seconds: float
    """How long the process may take to end after SIGTERM."""
    output: Path | Literal["lines", "inherited"] = "lines"
    """Prefixed lines through the supervisor, the supervisor's own terminal, or a file to append to."""
    fatal_exit_codes: frozenset[int] = frozenset({USAGE_EXIT_CODE})
    """Exit codes after which the process is not started again."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for this process alone."""


class ChildProcess:
    """A started process; `exited` becomes its exit code (negative: the signal that killed it)."""

    def __init__(self, spec: ChildSpec, environment: Mapping[str, str], write: Callable[[str], None]) -> None:
        """Start it inside a running event loop; `write` gets its output line by line, from another thread."""
        self.spec = spec
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = self._loop.create_future()
        self._process = _start(spec, environment)
        reader = threading.Thread(target=self._read, args=(write,), daemon=True)
        reader.start()
        threading.Thread(target=self._wait, args=(reader,), daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id, and id of the process group."""
        return self._process.pid

    async def stop(self) -> None:
        """SIGTERM, a bounded wait, then SIGKILL to everything the process has started."""
        self._process.terminate()
        try:
            await asyncio.wait_for(asyncio.shield(self.exited), self.spec.stop_seconds)
        except TimeoutError:
            self.kill()
            await self.exited

    def kill(self) -> None:
        """SIGKILL to the process and everything it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _read(self, write: Callable[[str], None]) -> None:
        if self._process.stdout is not None:
            with self._process.stdout as lines:
                for line in lines:
                    write(f"{self.spec.name:<6} | {line.rstrip()}")

    def _wait(self, reader: threading.Thread) -> None:
        code = self._process.wait()
        self.kill()  # what it started itself must not outlive it
        reader.join(LAST_OUTPUT_SECONDS)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self.exited.set_result, code)


def describe_exit(code: int) -> str:
    """`exit code 3`, or `killed by SIGKILL` for a negative code."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _start(spec: ChildSpec, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    try:
        if isinstance(spec.output, Path):
            with spec.output.open("a") as log:
                return _popen(spec, environment, log.fileno())
        return _popen(spec, environment, subprocess.PIPE if spec.output == "lines" else None)
    except OSError as error:
        raise ChildFailedError(f"{spec.name} could not be started: {error}.") from None


def _popen(spec: ChildSpec, environment: Mapping[str, str], output: int | None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        spec.command,
        env={**environment, **spec.environment},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )


def end_at_end_of_input() -> None:
    """End this process by SIGTERM when its standard input ends: whoever has started it is gone."""

    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock, held here, would fail the interpreter's end
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()
