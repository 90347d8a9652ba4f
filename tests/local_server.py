"""`premises serve` as a process, with all that it has written."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from shared.settings import Settings
from tests.free_ports import free_port

READY_SECONDS = 300
STOP_SECONDS = 120


class LocalServer:
    """`premises serve` as a process, with all that it has written."""

    def __init__(self, state: Path, port: int, *options: str, environment: Mapping[str, str] | None = None) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.lines: list[str] = []
        self._state = state
        self._changed = threading.Condition()
        clean = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "api.commands.main",
                "serve",
                f"--port={port}",
                f"--data-dir={state}",
                *options,
            ],
            cwd=state.parent,
            env={**clean, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._note(line.rstrip())
        self._note("")

    def _note(self, line: str) -> None:
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, text: str, times: int = 1) -> None:
        with self._changed:
            came = self._changed.wait_for(
                lambda: self.output.count(text) >= times or self.process.poll() is not None, READY_SECONDS
            )
        assert came, f"{text!r} was not written:\n{self.output}"
        assert self.output.count(text) >= times, f"ended without {text!r}:\n{self.output}"

    def wait(self, timeout_seconds: float = STOP_SECONDS) -> int:
        code = self.process.wait(timeout_seconds)
        self._reader.join(STOP_SECONDS)
        return code

    def parts(self) -> list[psutil.Process]:
        """Every live process of this server but the first, whoever its parent is by now."""
        return [process for process in psutil.process_iter() if self._is_part(process)]

    def part(self, word: str) -> psutil.Process:
        return next(process for process in self.parts() if word in " ".join(process.cmdline()))

    def _is_part(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            named = process.environ().get("DATA_DIR") == str(self._state)  # Redis writes its title over that
            return process.pid != self.process.pid and (named or self._state in Path(process.cwd()).parents)
        return False


@contextmanager
def running_server(
    state: Path, *options: str, port: int | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[LocalServer]:
    """A server for the length of a block, with the options of the command and further settings in its environment."""
    server = LocalServer(state, port or free_port(), *options, environment=environment)
    try:
        yield server
    finally:
        server.process.terminate()
        server.wait()
