"""The state folder of the local server: where things lie in it, and the lock that keeps it to one server."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from shared.errors import SettingsError
from shared.settings import Settings


class StateFolder:
    """The folder `DATA_DIR` as the local server uses it; `path` is absolute."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.redis = self.path / "redis"
        self.logs = self.path / "logs"
        self._redis_url = self.path / "redis-url"

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
        with (self.path / "serve.lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SettingsError(self._in_use((self.path / "serve.lock").read_text().strip())) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield lock.fileno()

    def note_redis(self, url: str | None) -> None:
        """Let commands that are given this folder find its server's Redis; None: it has gone."""
        if url is None:
            self._redis_url.unlink(missing_ok=True)
        else:
            self._redis_url.write_text(f"{url}\n")

    def noted_redis(self) -> str | None:
        """The Redis of the server that runs in this folder, None where none runs (or it has ended badly)."""
        return self._redis_url.read_text().strip() if self._redis_url.exists() else None

    def _in_use(self, pid: str) -> str:
        return (
            f"The state folder {self.path} is in use by process {pid or 'unknown'}: stop that server first "
            "(after a crash its parts need some seconds to end), or name another folder with DATA_DIR."
        )


def of_running_server(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """The settings with the Redis of the server that runs in their DATA_DIR, where REDIS_URL names none."""
    noted = None if environment.get("REDIS_URL") else StateFolder(settings.data_dir).noted_redis()
    return settings.model_copy(update={"redis_url": noted}) if noted else settings
