"""Doubles of what we own: an encoder that needs no weights, a vector store in memory, a clock that is set by hand."""

import hashlib
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.dead_letters import DeadLetter
from shared.embedding_cache import CachedVector, Vector
from shared.messages import FOREIGN_IDS, WORKER_LOST, EmbedJob, Heartbeat, JobDone
from worker.gpu_memory import GpuMemory

DIMENSION = 8
PATIENCE_SECONDS = 120.0
"""How long tests wait for what has to happen: longer than on any busy machine, and it costs nothing elsewhere."""

FAKE_HEARTBEAT = Heartbeat(
    worker_id="w",
    model="fake",
    namespace="fake",
    dimension=DIMENSION,
    max_tokens=512,
    device="cpu",
    dtype="float32",
    cache_dtype="float32",
    tokens_per_byte=0.4,
    tokens_per_second=1000.0,
    held_jobs=[],
    started_at=0.0,
)
"""What a worker with the fake encoder might say of itself."""


def fake_vector(token_ids: NDArray[np.int32]) -> Vector:
    """A unit vector that depends on the token ids alone; texts can ask for one that is none."""
    text = token_ids.astype(np.uint8).tobytes()
    for asked, value in ((b"give zeros", 0.0), (b"give nan", np.nan)):
        if asked in text:
            return np.full(DIMENSION, value, np.float32)
    seed = int.from_bytes(hashlib.sha256(token_ids.tobytes()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


@dataclass
class FakeEncoder:
    """One token a byte.  Texts that contain `poison` make it raise; `gate` holds batches back until it is set."""

    poison: str = "poison"
    lost: bool = False
    gate: threading.Event = field(default_factory=threading.Event)
    batches: list[list[int]] = field(default_factory=list)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    namespace: str = "fake"
    dimension: int = DIMENSION
    max_tokens: int = 512
    vocabulary_size: int = 256
    normalized: bool = True
    memory_tokens: int = 1_000_000
    device: str = "cpu"
    dtype: str = "float32"
    kernel: str = "fake"
    threads: int = 1
    tokens_per_second: float = 1_000_000.0
    pads: bool = True
    batches_ahead: int = 0
    fetched: list[int] = field(default_factory=list)
    """How many batches had been launched when each was fetched."""

    def __post_init__(self) -> None:
        self.gate.set()

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        if any("untokenizable" in text for text in texts):
            raise ValueError("no tokens for this text")
        return [np.frombuffer(text.encode(), np.uint8)[: self.max_tokens].astype(np.int32) for text in texts]

    def tokenize_and_count(self, texts: Sequence[str]) -> tuple[list[NDArray[np.int32]], list[int]]:
        return self.tokenize(texts), [len(text.encode()) for text in texts]

    def launch(self, batch: Sequence[NDArray[np.int32]]) -> "FakeLaunched":
        self.entered.release()
        self.gate.wait(PATIENCE_SECONDS)
        lengths = [len(token_ids) for token_ids in batch]
        self.batches.append(lengths)
        if self.cost_tokens(len(lengths), max(lengths), sum(lengths)) > self.memory_tokens:
            raise MemoryError
        poisoned = any(self.poison.encode() in token_ids.astype(np.uint8).tobytes() for token_ids in batch)
        if self.lost or (poisoned and not self.batches_ahead):
            raise RuntimeError("poisoned batch")
        return FakeLaunched(batch, self, poisoned=poisoned)

    def cost_tokens(self, count: int, longest: int, total: int) -> int:
        return count * longest if self.pads else total

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError)

    def gpu_memory(self) -> GpuMemory:
        return GpuMemory()

    def check(self) -> None:
        if self.lost:
            raise RuntimeError("the device is lost")


@dataclass
class FakeLaunched:
    """A batch of the fake encoder; where batches are launched ahead, poison shows when its vectors are fetched."""

    batch: Sequence[NDArray[np.int32]]
    encoder: FakeEncoder
    poisoned: bool

    def vectors(self) -> Vector:
        self.encoder.fetched.append(len(self.encoder.batches))
        if self.poisoned:
            raise RuntimeError("poisoned batch")
        return np.stack([fake_vector(token_ids) for token_ids in self.batch])


@dataclass
class FakeVectorStore:
    """`worker.vector_store.VectorStore` in a dictionary."""

    entries: dict[str, CachedVector] = field(default_factory=dict)
    told: list[tuple[str, JobDone]] = field(default_factory=list)
    leases: set[str] = field(default_factory=set)
    ttls: set[int] = field(default_factory=set)
    attempted: dict[str, int] = field(default_factory=dict)
    letters: list[DeadLetter] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)

    def fetch(self, keys: Sequence[str]) -> dict[str, CachedVector]:
        return {key: self.entries[key] for key in keys if key in self.entries}

    def store(self, entries: Mapping[str, CachedVector], ttl_seconds: int) -> None:
        self.entries.update(entries)
        self.ttls.add(ttl_seconds)
        self._forget_attempts(entries)

    def finish(self, job: EmbedJob, entries: Mapping[str, CachedVector], ttl_seconds: int, done: JobDone) -> None:
        self.store(entries, ttl_seconds)
        if failed := [text for text in done.failed if text.kind != FOREIGN_IDS]:
            self.letters.append(DeadLetter.of(job, failed))
            self._forget_attempts([text.key for text in done.failed if text.kind != WORKER_LOST])
        self.leases.discard(job.lease)
        self.told.append((job.reply_channel, done))

    def is_wanted(self, job: EmbedJob) -> bool:
        return not job.lease or job.lease in self.leases

    def attempts(self, keys: Sequence[str]) -> dict[str, int]:
        return {key: self.attempted[key] for key in keys if key in self.attempted}

    def in_other_models(self, keys: Collection[str]) -> set[str]:
        return self.elsewhere & set(keys)

    def _forget_attempts(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.attempted.pop(key, None)


@dataclass
class HandClock:
    """A clock that stands still until it is moved."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition with a deadline; fails when it does not come true."""
    deadline = threading.Event()
    timer = threading.Timer(seconds, deadline.set)
    timer.start()
    pause = threading.Event()
    try:
        while not condition():
            assert not deadline.is_set(), f"did not happen within {seconds} seconds"
            pause.wait(0.01)
    finally:
        timer.cancel()
