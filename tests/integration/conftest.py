"""The whole server as processes, started once for the tests that only use it."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import redis

from tests.embedding_fakes import PATIENCE_SECONDS
from tests.processes import Process, run_prepare, running, running_api, running_redis, worker_command


@dataclass
class Server:
    """Two API replicas over one Redis and one MiniLM worker."""

    urls: list[str]
    logs: list[Path]
    redis_url: str
    environment: dict[str, str]
    worker: Process
    clients: list[httpx.Client]
    redis: redis.Redis

    @property
    def url(self) -> str:
        return self.urls[0]

    def client(self, replica: int = 0) -> httpx.Client:
        return self.clients[replica]


def make_server(stack: ExitStack, folder: Path, *, replicas: int, **environment: str) -> Server:
    """Start Redis, worker, preparation and replicas; all end with the stack."""
    url = stack.enter_context(running_redis(folder / "redis"))
    settings = {"REDIS_URL": url, "DATA": "demo", "DATA_DIR": str(folder / "state"), "MODEL_ID": "demo", **environment}
    worker = stack.enter_context(running(worker_command(), folder / "worker.log", settings))
    run_prepare(folder / "prepare.log", settings)
    logs = [folder / f"api-{number}.log" for number in range(replicas)]
    urls = [stack.enter_context(running_api(log, settings)) for log in logs]
    clients = [stack.enter_context(httpx.Client(base_url=api, timeout=1.5 * PATIENCE_SECONDS)) for api in urls]
    client = stack.enter_context(redis.Redis.from_url(url))
    return Server(urls, logs, url, settings, worker, clients, client)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ExitStack() as stack:
        yield make_server(stack, tmp_path_factory.mktemp("server"), replicas=2)
