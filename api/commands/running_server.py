"""Where the local server of a data folder is, so that other commands find its Redis and its model by DATA_DIR alone."""

import fcntl
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orjson

from api.file_replacement import replacing
from shared.settings import Settings

SERVER_FILE = "server.json"
LOCK_FILE = "serve.lock"

MODEL_FIELDS = frozenset({"model_id", "model_revision", "pooling"})


@dataclass(frozen=True, slots=True)
class RunningServer:
    """What a command needs to know of a local server."""

    redis_url: str
    model_id: str
    model_revision: str
    pooling: str

    @classmethod
    def of(cls, settings: Settings, redis_url: str) -> Self:
        """A server with these settings and a Redis of its own."""
        return cls(redis_url, settings.model_id, settings.model_revision, settings.pooling)

    @classmethod
    def find(cls, data_dir: Path) -> Self | None:
        """The server that holds this data folder, None where none does."""
        try:
            server = cls(**orjson.loads((data_dir / SERVER_FILE).read_bytes()))
        except (OSError, ValueError, TypeError):  # there is none, or it is starting
            return None
        return server if _is_held(data_dir / LOCK_FILE) else None

    def write(self, data_dir: Path) -> None:
        """Tell others, until `forget`; what a killed server leaves is not believed, since its lock is gone."""
        with replacing(data_dir / SERVER_FILE) as unfinished:
            unfinished.write_bytes(orjson.dumps(self))

    @staticmethod
    def forget(data_dir: Path) -> None:
        """The server ends."""
        (data_dir / SERVER_FILE).unlink(missing_ok=True)

    def complete(self, settings: Settings) -> Settings:
        """The settings with this server's Redis, and its model unless somebody has set another."""
        ours = {"redis_url": self.redis_url}
        if MODEL_FIELDS.isdisjoint(settings.model_fields_set):
            ours |= {"model_id": self.model_id, "model_revision": self.model_revision, "pooling": self.pooling}
        return settings.model_copy(update=ours)


def of_running_server(settings: Settings) -> Settings:
    """The settings with Redis and model of the server that runs over their DATA_DIR, where nobody set others."""
    server = RunningServer.find(settings.data_dir)
    return server.complete(settings) if server and "redis_url" not in settings.model_fields_set else settings


def _is_held(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
