"""API processes over a prepared corpus, as benchmarks measure them: no worker is needed.

A heartbeat without expiry stands in Redis, and so do the vectors of the goals that a benchmark asks for.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path

import orjson
import psutil
import redis

from api.commands.redis_server import free_loopback_port
from api.snapshot_writer import publish_snapshot, write_snapshot
from shared.corpus import Corpus
from shared.embedding_cache import CachedVector, VectorCodec, text_key
from shared.heartbeats import write_heartbeat
from tests.corpora import unit_vectors
from tests.embedding_fakes import FAKE_HEARTBEAT, wait_until
from tests.processes import api_command, running, running_redis

MODEL = "benchmark-model"
NAMESPACE = "benchmark"
START_SECONDS = 60.0
A_DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class Backend:
    """A prepared corpus and a Redis, as API processes need them."""

    environment: Mapping[str, str]
    goals: Sequence[str]
    """Goals whose vectors are cached."""
    folder: Path
    """Where processes write their logs."""
    snapshot_seconds: float
    """What it took to write the snapshot."""


@contextmanager
def running_backend(folder: Path, corpus: Corpus, *, dimension: int, goals: int) -> Iterator[Backend]:
    """Write a snapshot with random vectors of `dimension` numbers, start Redis, cache the vectors of some goals."""
    state = folder / "state"
    vectors = unit_vectors(len(corpus.premises), dimension)
    started = time.perf_counter()
    publish_snapshot(state, write_snapshot(corpus, vectors, data_dir=state, model=MODEL, namespace=NAMESPACE))
    snapshot_seconds = time.perf_counter() - started
    texts = [f"a b : Nat\n⊢ a + {number} = {number} + a" for number in range(goals)]
    with running_redis(folder / "redis") as url, redis.Redis.from_url(url) as client:
        announce_worker(client, dimension)
        cache_vectors(client, texts, dimension)
        environment = {"REDIS_URL": url, "DATA_DIR": str(state), "MODEL_ID": MODEL}
        yield Backend(environment, texts, folder, snapshot_seconds)


def announce_worker(client: redis.Redis, dimension: int) -> None:
    """Put a heartbeat that outlives every benchmark."""
    heartbeat = replace(
        FAKE_HEARTBEAT,
        worker_id="benchmark",
        model=MODEL,
        namespace=NAMESPACE,
        dimension=dimension,
        tokens_per_byte=0.3,
        tokens_per_second=1_000_000.0,
        started_at=time.time(),
    )
    write_heartbeat(client, heartbeat, ttl_seconds=A_DAY_SECONDS)


def cache_vectors(client: redis.Redis, texts: Sequence[str], dimension: int) -> None:
    """Put random vectors where the API looks for those of the texts."""
    codec = VectorCodec(NAMESPACE, dimension)
    vectors = unit_vectors(len(texts), dimension, seed=1)
    client.mset(
        {
            codec.redis_key(text_key(text)): codec.encode(CachedVector(vector, 20))
            for text, vector in zip(texts, vectors, strict=True)
        }
    )


@dataclass(frozen=True, slots=True)
class MeasuredApi:
    """A ready API process."""

    process: psutil.Process
    port: int
    ready_seconds: float
    """From its launch until `/health/ready` answered 200."""

    def cpu_seconds(self) -> float:
        """CPU time that it has taken since its launch, in user and kernel mode, to 10 ms."""
        times = self.process.cpu_times()
        return times.user + times.system

    def proportional_bytes(self) -> int:
        """Its memory, where pages that n processes map count as 1/n (PSS)."""
        return int(self.process.memory_full_info().pss)

    def private_bytes(self) -> int:
        """Its memory that no other process maps (USS)."""
        return int(self.process.memory_full_info().uss)


@contextmanager
def running_measured_api(backend: Backend, name: str = "api") -> Iterator[MeasuredApi]:
    """An API process for the length of a block, once it is ready."""
    port = free_loopback_port()
    launched = time.perf_counter()
    environment = {**backend.environment, "PORT": str(port)}
    with running(api_command(), backend.folder / f"{name}.log", environment) as process:
        wait_until(lambda: process.popen.poll() is not None or is_ready(port), START_SECONDS)
        assert process.popen.poll() is None, process.output()
        yield MeasuredApi(psutil.Process(process.popen.pid), port, time.perf_counter() - launched)


def is_ready(port: int) -> bool:
    """Whether the API on this port answers requests."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def retrieval(goal: str, *, k: int = 32, modules: Sequence[int] | None = None) -> bytes:
    """The body of a request to `/retrieve`; without modules the whole corpus is searched."""
    return orjson.dumps({"state": goal, "k": k, "imported_modules": modules, "new_premises": []})
