"""The health check of a worker's container, against a real Redis and the real heartbeat."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from shared.heartbeats import live_workers
from tests.embedding_fakes import FAKE_HEARTBEAT, PATIENCE_SECONDS, wait_until
from tests.free_ports import free_port
from tests.processes import running_redis, start
from worker.health import is_worker_alive
from worker.heartbeat import HeartbeatThread


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@contextmanager
def reporting_worker(redis_url: str, host: str) -> Iterator[None]:
    heartbeat = replace(FAKE_HEARTBEAT, worker_id=f"{host}-123-abcdef")
    with redis.Redis.from_url(redis_url) as client:
        thread = HeartbeatThread(client, lambda: heartbeat, every_seconds=0.1, ttl_seconds=10)
        thread.start()
        wait_until(lambda: live_workers(client))
        yield
        thread.stop()


def run_check(redis_url: str, folder: Path) -> tuple[int, str]:
    process = start([sys.executable, "-m", "worker.health"], folder / "health.log", {"REDIS_URL": redis_url})
    process.popen.wait(PATIENCE_SECONDS)
    return process.popen.returncode, process.output()


def test_a_worker_is_healthy_while_it_reports(redis_url: str, tmp_path: Path) -> None:
    with reporting_worker(redis_url, socket.gethostname()):
        assert run_check(redis_url, tmp_path) == (0, "")
    code, output = run_check(redis_url, tmp_path)
    assert code == 1
    assert output.startswith("No worker of this host reports")


def test_a_worker_of_another_host_does_not_count(redis_url: str) -> None:
    with reporting_worker(redis_url, "gpu-2"):
        assert is_worker_alive(redis_url, "gpu-2")
        assert not is_worker_alive(redis_url, "gpu")
        assert not is_worker_alive(redis_url, "gpu-2-123")


def test_without_redis_the_check_fails_with_a_sentence(tmp_path: Path) -> None:
    code, output = run_check(f"redis://127.0.0.1:{free_port()}/0", tmp_path)
    assert code == 1
    assert output.startswith("The worker's heartbeat cannot be read: ")
    assert "Traceback" not in output
