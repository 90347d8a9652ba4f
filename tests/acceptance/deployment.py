"""A whole deployment as processes that a test may kill, freeze and start again: Redis, workers, API replicas.

Redis runs with the options of production, its append-only file included, always on the same port.  Workers have an
encoder without weights whose vectors the test can compute itself, so that every answer can be checked.
"""

import json
import os
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import redis

from api.commands.redis_server import find_redis_binary, redis_command
from shared.celery_commands import waiting_jobs
from shared.heartbeats import live_workers
from shared.messages import Heartbeat, Priority
from shared.redis_client import UNACKED_KEY, leases_key
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.free_ports import free_port
from tests.processes import Process, answers_ping, api_command, run_prepare, start, status_of

MODEL = "fake-model"
NAMESPACE = "fake"
REPLY_VARIABLES = ("CELERY_STATUS_TIMEOUT", "CELERY_INSPECT_TIMEOUT", "CELERY_CONTROL_TIMEOUT")
"""How long the celery program waits for answers of workers: its one second is short for a busy machine."""
SOON = {"HEARTBEAT_TTL_SECONDS": "5", "VISIBILITY_TIMEOUT_SECONDS": "8"}
"""For tests in which a worker is killed: its jobs are given to another one soon.

In other tests these times are the server's own, so that a worker on a busy machine is not taken for lost.
"""


@dataclass
class Replica:
    """One API process; it keeps its port when it is started again."""

    process: Process
    port: int
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def status(self) -> dict[str, Any]:
        body: dict[str, Any] = httpx.get(f"{self.url}/status", timeout=30).json()
        return body

    def is_ready(self) -> bool:
        return status_of(f"{self.url}/health/ready") == 200

    def usage(self) -> psutil.Process:
        return psutil.Process(self.process.popen.pid)


@dataclass
class Deployment:
    """One folder, one Redis, one prepared corpus; workers and replicas as the test wants them."""

    folder: Path
    stack: ExitStack
    append_only: bool = True
    redis_options: Mapping[str, str] = field(default_factory=dict)
    redis_port: int = field(default_factory=free_port)
    redis_process: Process | None = None
    overrides: dict[str, str] = field(default_factory=dict)
    _started: Counter[str] = field(default_factory=Counter)

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    @property
    def gate(self) -> Path:
        """While this file exists batches wait: see tests/fake_worker.py."""
        return self.folder / "gate"

    @property
    def journal(self) -> Path:
        """A line for each text that was embedded."""
        return self.folder / "embedded"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "REDIS_URL": self.redis_url,
            "MODEL_ID": MODEL,
            "DATA": "demo",
            "DATA_DIR": str(self.folder / "state"),
            "HEARTBEAT_SECONDS": "0.3",
            "RETRIEVE_TIMEOUT_SECONDS": "400",  # some requests wait while commands are run
            "WORKER_STOP_SECONDS": "30",
            **dict.fromkeys(REPLY_VARIABLES, "4"),
            "FAKE_WORKER_GATE": str(self.gate),
            "FAKE_WORKER_JOURNAL": str(self.journal),
            **self.overrides,
        }

    @cached_property
    def client(self) -> redis.Redis:
        """A client of its Redis, for looking behind the scenes."""
        client = redis.Redis.from_url(self.redis_url, socket_timeout=30)
        self.stack.callback(client.close)
        return client

    def start_redis(self) -> Self:
        """Start it, or start it again after a kill, and wait until it answers."""
        folder = self.folder / "redis"
        folder.mkdir(exist_ok=True)
        command = redis_command(find_redis_binary(), self.redis_port, folder)
        if not self.append_only:
            command += ["--appendonly", "no"]
        command += [word for name, value in self.redis_options.items() for word in (f"--{name}", value)]
        self.redis_process = self._keep(start(command, folder / "redis.log", {}))
        with redis.Redis.from_url(self.redis_url, socket_timeout=30) as client:
            wait_until(lambda: answers_ping(client))
        return self

    def kill_redis(self) -> None:
        """SIGKILL."""
        assert self.redis_process is not None
        self.redis_process.stop(signal.SIGKILL)

    @contextmanager
    def frozen_redis(self) -> Iterator[None]:
        """SIGSTOP for the length of a block: connections stay open and nothing is answered."""
        assert self.redis_process is not None
        self.redis_process.popen.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.redis_process.popen.send_signal(signal.SIGCONT)

    def start_worker(self, **environment: str) -> Process:
        """A worker that reports already."""
        self._started["worker"] += 1
        log = self.folder / f"worker-{self._started['worker']}.log"
        before = {worker.worker_id for worker in self.workers()}
        process = self._keep(start([sys.executable, "-m", "tests.fake_worker"], log, self.environment | environment))
        wait_until(lambda: process.popen.poll() is not None or self._reports(process, before))
        assert process.popen.poll() is None, process.output()
        return process

    def prepare(self) -> Self:
        """Make the snapshot of the demo corpus; a worker has to run."""
        run_prepare(self.folder / "prepare.log", self.environment)
        return self

    def start_replica(self, port: int | None = None, *, ready: bool = True, **environment: str) -> Replica:
        """An API process that is ready (or merely alive)."""
        self._started["api"] += 1
        port = port or free_port()
        log = self.folder / f"api-{self._started['api']}.log"
        settings = self.environment | environment | {"PORT": str(port)}
        replica = Replica(self._keep(start(api_command(), log, settings)), port, settings)
        path = "/health/ready" if ready else "/health/live"
        wait_until(lambda: replica.process.popen.poll() is not None or status_of(replica.url + path) == 200)
        assert replica.process.popen.poll() is None, replica.process.output()
        return replica

    def workers(self) -> list[Heartbeat]:
        """Who reports at the moment."""
        with redis.Redis.from_url(self.redis_url, socket_timeout=30) as client:
            return live_workers(client)

    def leases(self, priority: Priority) -> int:
        """Leases of one class, expired ones included."""
        return self.client.zcard(leases_key(NAMESPACE, priority))

    def embedded_texts(self) -> list[str]:
        """Digest of each text that was embedded, as often as it was."""
        return self.journal.read_text().split() if self.journal.exists() else []

    def backlog(self) -> dict[str, Any]:
        """What the command `backlog` counts."""
        done = self.run_celery("backlog", "--json")
        assert done.popen.returncode == 0, done.output()
        counts: dict[str, Any] = json.loads(done.output().splitlines()[-1])
        return counts

    def is_idle(self) -> bool:
        """Nothing waits, nothing is held, nothing is admitted."""
        leases = sum(map(self.leases, Priority))
        return not (sum(waiting_jobs(self.client).values()) or self.client.hlen(UNACKED_KEY) or leases)

    def run_celery(self, *arguments: str, seconds: float = PATIENCE_SECONDS) -> Process:
        """The celery program to its end."""
        self._started["celery"] += 1
        log = self.folder / f"celery-{self._started['celery']}.log"
        command = [sys.executable, "-m", "celery", "-A", "shared.celery_app", *arguments]
        process = start(command, log, self.environment)
        try:
            process.popen.wait(seconds)
        finally:
            process.stop()
        return process

    def logs(self, name: str) -> str:
        """All that the processes of that name have printed."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob(f"{name}-*.log")))

    def answer_seconds(self, status: int, field: str = "") -> list[float]:
        """Seconds from the body's arrival to each answer, by the replicas' logs; `field` is to be in the line."""
        answers = [line for line in self.logs("api").splitlines() if f"POST /retrieve {status}" in line]
        lines = [line for line in answers if not field or field in line.split()]
        times = [dict(re.findall(r"(total_ms|receive_ms)=([\d.]+)", line)) for line in lines]
        return [(float(each["total_ms"]) - float(each.get("receive_ms", 0))) / 1000 for each in times]

    def _keep(self, process: Process) -> Process:
        self.stack.callback(_end, process)
        return process

    def _reports(self, process: Process, before: set[str]) -> bool:
        new = {worker.worker_id for worker in self.workers()} - before
        return any(f"-{process.popen.pid}-" in worker_id for worker_id in new)


def _end(process: Process) -> None:
    if process.popen.poll() is None:
        process.popen.send_signal(signal.SIGCONT)  # a frozen one could not end
        os.killpg(process.popen.pid, signal.SIGKILL)
    process.popen.wait(PATIENCE_SECONDS)


@contextmanager
def deployed(
    folder: Path, *, snapshot: Path | None = None, append_only: bool = True, **overrides: str
) -> Iterator[Deployment]:
    """Redis and a prepared corpus, no worker and no replica; everything ends with the block.

    `snapshot` is the state folder of an earlier deployment with the same corpus, which saves the preparation.
    """
    with ExitStack() as stack:
        deployment = Deployment(folder, stack, append_only=append_only, overrides=overrides)
        deployment.start_redis()
        if snapshot:
            shutil.copytree(snapshot, folder / "state")
        yield deployment
