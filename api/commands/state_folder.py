"""The state folder of the local server: where things lie in it, and the lock that keeps it to one server."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.commands.running_server import LOCK_FILE
from shared.errors import SettingsError


class StateFolder:
    """The folder `DATA_DIR` as the local server uses it; `path` is absolute."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.redis = self.path / "redis"
        self.logs = self.path / "logs"

    def create(self) -> None:
        """Make the folders (Redis's for its owner alone: goals pass through it); raises `SettingsError`."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            self.redis.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"DATA_DIR={self.path} cannot be used: {error.strerror}. Name another folder."
            ) from None

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the folder for this process; yields the lock's descriptor.

        A process that inherits the descriptor keeps the lock after this one has died.  Raises `SettingsError` when
        another server holds the folder.
        """
        self.create()
        with (self.path / LOCK_FILE).open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SettingsError(self._in_use((self.path / LOCK_FILE).read_text().strip())) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield lock.fileno()

    def _in_use(self, pid: str) -> str:
        return (
            f"The state folder {self.path} is in use by process {pid or 'unknown'}: stop that server first "
            "(after a crash its parts need some seconds to end), or name another folder with DATA_DIR."
        )
