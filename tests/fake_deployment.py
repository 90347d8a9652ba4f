"""Redis and real Celery workers with an encoder that needs no weights, as processes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from shared.settings import Settings
from tests.processes import Process, running, running_redis

MODEL = "fake-model"


@dataclass
class FakeDeployment:
    """A folder for all that it writes, its Redis, and ways to start and hold its workers."""

    settings: Settings
    folder: Path
    client: redis.Redis

    @property
    def gate(self) -> Path:
        """While this file exists, batches wait; its content is the seconds that each batch takes (empty: for ever)."""
        return self.folder / "gate"

    @property
    def environment(self) -> dict[str, str]:
        """Of workers, preparations and replicas."""
        return {
            "REDIS_URL": self.settings.redis_url,
            "MODEL_ID": MODEL,
            "DATA": "demo",
            "DATA_DIR": str(self.folder / "state"),
            "HEARTBEAT_SECONDS": "0.2",
            "VISIBILITY_TIMEOUT_SECONDS": "600",  # no test has a worker killed, and a busy machine takes its time
            "WORKER_STOP_SECONDS": "30",
            "FAKE_WORKER_GATE": str(self.gate),
        }

    @contextmanager
    def worker(self, number: int = 1, **environment: str) -> Iterator[Process]:
        """A worker for the length of a block; what it printed is shown when a test fails."""
        command = [sys.executable, "-m", "tests.fake_worker"]
        with running(command, self.folder / f"worker-{number}.log", self.environment | environment) as process:
            yield process
            sys.stdout.write(process.output()[-4000:])


@contextmanager
def fake_deployment(folder: Path) -> Iterator[FakeDeployment]:
    """Redis up, no worker yet."""
    with running_redis(folder / "redis") as url, redis.Redis.from_url(url) as client:
        settings = Settings(redis_url=url, model_id=MODEL, heartbeat_seconds=0.2)
        yield FakeDeployment(settings, folder, client)
