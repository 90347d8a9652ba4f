"""Real processes for tests: Redis (or Valkey), a worker, API replicas; on loopback, on free ports, ended by pid."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import redis
from celery import Celery

from api.commands.redis_server import find_redis_binary
from shared.celery_app import celery_configuration
from shared.settings import Settings
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.free_ports import free_port

STOP_SECONDS = 60.0
STATUS_SECONDS = 15.0


@dataclass
class Process:
    """A child in a session of its own, with its output in a file."""

    popen: subprocess.Popen[bytes]
    log: Path

    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait, and kill the whole group if it does not end."""
        if self.popen.poll() is None:
            self.popen.send_signal(sent)
            try:
                self.popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.popen.pid, signal.SIGKILL)
        return self.popen.wait(PATIENCE_SECONDS)


def start(command: list[str], log: Path, environment: Mapping[str, str]) -> Process:
    """Start a command with a clean environment: nothing of the developer's settings leaks in."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    defaults = {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "2"}
    with log.open("ab") as output:
        popen = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**inherited, **defaults, **environment},
            start_new_session=True,
        )
    return Process(popen, log)


@contextmanager
def running(command: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[Process]:
    """A process for the length of a block."""
    process = start(command, log, environment)
    try:
        yield process
    finally:
        process.stop()


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """A Redis server; yields its URL."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        str(find_redis_binary()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
        "--save", "", "--maxmemory-policy", "volatile-lru", "--appendonly", "no",
    ]  # fmt: skip
    with running(command, folder / "redis.log", {}) as process:
        url = f"redis://127.0.0.1:{port}/0"
        with redis.Redis.from_url(url) as client:
            wait_until(lambda: process.popen.poll() is None and answers_ping(client))
        yield url


def answers_ping(client: redis.Redis) -> bool:
    """Whether Redis answers yet."""
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def worker_command() -> list[str]:
    """The real worker."""
    return [sys.executable, "-m", "worker.main"]


def api_command() -> list[str]:
    """One API replica."""
    return [sys.executable, "-m", "api.main"]


def prepare_command() -> list[str]:
    """The one-shot preparation."""
    return [sys.executable, "-m", "api.commands.main", "prepare"]


def celery_client(redis_url: str) -> Celery:
    """A Celery app of the test's own: the one of the program keeps its first broker for the length of a process."""
    app = Celery("tests", set_as_current=False)
    app.conf.update(celery_configuration(Settings(redis_url=redis_url)))
    return app


@contextmanager
def running_api(log: Path, environment: Mapping[str, str], *, ready: bool = True) -> Iterator[str]:
    """An API replica; yields its base URL once it is ready (or merely alive)."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(api_command(), log, {**environment, "PORT": str(port)}) as process:
        path = "/health/ready" if ready else "/health/live"
        wait_until(lambda: process.popen.poll() is not None or status_of(url + path) == 200)
        assert process.popen.poll() is None, process.output()
        yield url


def status_of(url: str) -> int:
    """HTTP status of a GET, 0 when nobody answers."""
    try:
        return httpx.get(url, timeout=STATUS_SECONDS).status_code
    except httpx.TransportError:
        return 0


def run_prepare(log: Path, environment: Mapping[str, str], seconds: float = 4 * PATIENCE_SECONDS) -> Process:
    """Run `premises prepare` to its end; fails when it fails."""
    process = start(prepare_command(), log, environment)
    try:
        process.popen.wait(seconds)
    finally:
        process.stop()
    assert process.popen.returncode == 0, process.output()
    return process
