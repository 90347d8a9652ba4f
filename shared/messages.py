"""What travels between API and worker: jobs, completions, heartbeats.  JSON only; nothing is ever unpickled."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any, Self

import orjson

from shared.embedding_cache import EmbeddingInput
from shared.worker_counts import WorkerCounts

EMBED_TASK = "premises.embed"

WORKER_LOST = "worker_lost"
"""Kind of failure of a text whose batches ended workers; such a text stays refused until its dead letter is handled."""


FOREIGN_IDS = "foreign_ids"
"""Kind of failure of token ids that are none of this model's: the caller's to mend, so it leaves no dead letter."""


class Priority(IntEnum):
    """Class of a job and its broker priority (0 is served first)."""

    STATE = 0
    BULK = 3
    CORPUS = 9


CLASS_NAMES = {Priority.STATE: "states", Priority.BULK: "premises", Priority.CORPUS: "corpus"}
"""The classes of work, as people are told of them, in the order in which they are served."""


@dataclass(frozen=True, slots=True)
class EmbedJob:
    """One Celery task: embed `texts` in `namespace`, cache the vectors, say so on `reply_channel`.

    A text may also be given as token ids.
    """

    job_id: str
    namespace: str
    priority: Priority
    texts: Sequence[EmbeddingInput]
    reply_channel: str
    deadline: float
    """Epoch seconds after which nobody waits any more."""
    request_id: str = ""
    cache_ttl_seconds: int = 0
    """TTL of the vectors in seconds; 0: the worker's own setting."""
    lease: str = ""
    """Member of the admission ZSET that lives as long as somebody waits; empty: always wanted."""
    enqueued_at: float = 0.0
    """When it was last put on the queue, epoch seconds of the sender; 0: not known."""

    def to_wire(self) -> dict[str, Any]:
        """The task's keyword arguments, JSON types only."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        """Rebuild a job; fields that a newer sender added are ignored."""
        known = {name: wire[name] for name in cls.__slots__ if name in wire}
        return cls(**{**known, "priority": Priority(wire["priority"])})

    @property
    def queue(self) -> str:
        """Broker queue of this job: corpus building has one of its own, so that it can be paused alone."""
        return queue_name(self.namespace, self.priority)


def queue_name(namespace: str, priority: Priority) -> str:
    """Broker queue for a namespace and class of work."""
    return f"{'corpus' if priority is Priority.CORPUS else 'embed'}.{namespace}"


@dataclass(frozen=True, slots=True)
class FailedText:
    """One text of a job that the model could not embed."""

    key: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class JobDone:
    """Completion of a job: every vector not listed in `failed` is in the cache (unless it was evicted since)."""

    job_id: str
    failed: list[FailedText] = field(default_factory=list)

    def to_bytes(self) -> bytes:
        """The message as published."""
        return orjson.dumps(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse a published message."""
        wire = orjson.loads(data)
        return cls(wire["job_id"], [FailedText(**failed) for failed in wire["failed"]])


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a live worker says of itself every few seconds."""

    worker_id: str
    model: str
    namespace: str
    dimension: int
    max_tokens: int
    """Longest text in tokens; longer ones are truncated."""
    device: str
    dtype: str
    cache_dtype: str
    tokens_per_byte: float
    tokens_per_second: float
    held_jobs: list[str]
    started_at: float
    texts_embedded: int = 0
    dropped_jobs: int = 0
    """Jobs that nobody waited for any more when their turn came, or before they were done."""
    failed_texts: int = 0
    """Texts that could not be embedded."""
    waiting_texts: int = 0
    """Texts that this worker holds and has not begun."""
    peak_memory_bytes: int = 0
    """Most memory that the process has had, without a GPU's."""
    model_revision: str = ""
    pooling: str = ""
    """What the operator set in place of the model's own pooling; empty: nothing."""
    normalized: bool = True
    """Whether the model's vectors are of unit length."""
    kernel: str = ""
    """How the model is computed, as measured fastest at the start or as the operator wants it."""
    threads: int = 0
    """CPU threads of the model; 0: it runs on a GPU."""
    node_name: str = ""
    """What the celery program and Flower call this worker."""
    queues: list[str] | None = None
    """Queues that it takes jobs from now; None: a worker of an earlier version, which does not tell."""
    last_job_at: float = 0.0
    """When it was given its latest job, epoch seconds; before the first, when it started."""
    memory_bytes: int = 0
    """Memory of the process now, without a GPU's."""
    gpu_memory_bytes: int = 0
    """Memory of the GPU that the process holds; 0 without one."""
    gpu_memory_limit_bytes: int = 0
    """Memory that the GPU has."""
    counts: WorkerCounts = field(default_factory=WorkerCounts)

    @property
    def takes_jobs(self) -> bool:
        """Whether states and premises are taken from the queue: not while an operator drains this worker."""
        return self.queues is None or queue_name(self.namespace, Priority.STATE) in self.queues

    def to_bytes(self) -> bytes:
        """The heartbeat as stored in Redis."""
        return orjson.dumps(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse a stored heartbeat; unknown fields of newer workers are ignored."""
        wire = orjson.loads(data)
        known = {name: wire[name] for name in cls.__slots__ if name in wire}
        return cls(**{**known, "counts": WorkerCounts.from_wire(wire.get("counts", {}))})
