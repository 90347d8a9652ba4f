"""Ends what the local server started when the server itself is killed and cannot.

A small process in a session of its own reads from a pipe which processes it has to watch.  The kernel closes the pipe
when the server dies, however it dies; what is still being watched then is stopped, the last one first.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

POLL_SECONDS = 0.05


class OrphanGuard:
    """The server's end of the pipe; leaving the context ends the guard, which stops whatever is still watched."""

    def __init__(self, *, keep_open: tuple[int, ...] = ()) -> None:
        """Start the guard; the descriptors in `keep_open` (the state folder's lock) stay open as long as it lives."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__],
            stdin=subprocess.PIPE,
            pass_fds=keep_open,
            start_new_session=True,
        )

    def watch(self, name: str, pid: int, stop_seconds: float) -> None:
        """Stop the process group of `pid` if this process dies; between SIGTERM and SIGKILL lie `stop_seconds`."""
        self._tell(f"{pid} {stop_seconds} {name}\n")

    def forget(self, name: str) -> None:
        """The process of that name has ended; its place in the order of stopping stays."""
        self._tell(f"0 0 {name}\n")

    def _tell(self, line: str) -> None:
        if self._process.stdin is None:
            raise RuntimeError("the orphan guard was started without a pipe")
        with suppress(BrokenPipeError):  # somebody killed the guard: the server does without
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()


def stop_what_is_left(lines: Iterable[str]) -> None:
    """Read the pipe to its end, then stop the watched process groups in the reverse order of their first start."""
    watched: dict[str, tuple[int, float]] = {}
    for line in lines:
        leader, seconds, name = line.rstrip("\n").split(" ", 2)  # a name may hold spaces
        watched[name] = (int(leader), float(seconds))
    for pid, stop_seconds in reversed(watched.values()):
        if pid:
            stop_group(pid, stop_seconds)


def stop_group(pid: int, stop_seconds: float) -> None:
    """SIGTERM to a process that is not our child, a bounded wait, SIGKILL to its whole group."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + stop_seconds
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(POLL_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    stop_what_is_left(sys.stdin)
