"""What `/status`, `/queue` and `/health` answer, as the OpenAPI document tells it.  No texts, no names of premises."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.corpus_reports import CorpusState


class Answer(BaseModel):
    """A part of an answer; the words under its fields stand in the OpenAPI document."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ClassDepth(Answer):
    """What one class of work has admitted and not finished."""

    jobs: int
    tokens: int
    """Estimated."""
    wait_seconds: float | None
    """Until the last of them is done, with what is served before them, at the speed that the workers report; null while
    no worker takes jobs."""


class QueueClasses(Answer):
    """The classes of work, in the order in which they are served."""

    states: ClassDepth
    """Goals."""
    premises: ClassDepth
    """New premises of requests."""
    corpus: ClassDepth
    """Premises of a corpus that is being prepared."""


class ModelQueue(Answer):
    """What waits for the workers of one model, counted at one moment."""

    classes: QueueClasses
    waiting_jobs: int
    """On the broker's lists."""


class QueueDepth(ModelQueue):
    """What waits for the default model, the one of all corpora."""

    held_jobs: int
    """Taken by workers, of every model."""
    dead_letters: int
    """Kept texts that could not be embedded: `celery … dead-letters`."""


class NamedQueue(ModelQueue):
    """What waits for one of the models that requests may name."""

    name: str
    """What requests call it."""
    namespace: str


class Queues(QueueDepth):
    """What waits for the default model, and for each model by itself."""

    models: list[NamedQueue]
    """Of all models of which a worker has been seen, the default one first."""


class ManifestStatus(Answer):
    """What the snapshot that is mapped was made of."""

    format_version: int
    digest: str
    """Of corpus, vectors, model and namespace: replicas with equal ones give equal answers."""
    corpus_digest: str
    revision: str
    rows: int
    """Premises that are searched, after the filters."""
    dimension: int
    """Of the vectors."""
    unfiltered_rows: int
    """Entries of `/indexed-premises`."""
    modules: int
    model: str
    """As MODEL_ID was when it was made."""
    namespace: str | None
    bytes: int
    """Of all its files."""


class CorpusStatus(Answer):
    """A corpus that this replica serves."""

    prefix: str
    """First segment of its paths; empty: the default corpus."""
    state: CorpusState
    """`mapping`, `ready`, `conflict` or `failed`; `/corpora` tells of those that are not mapped, too."""
    revision: str
    digest: str
    """Of names and order: replicas with different ones are never ready together."""
    premises: int
    modules: int
    namespace: str | None
    """The embedding space of its vectors; null where its maker did not say."""
    manifest: ManifestStatus


class ModelStatus(Answer):
    """The model that this replica asks for."""

    id: str
    revision: str
    namespace: str | None
    """Its embedding space; null before a worker has been seen."""
    tokens_per_second: float
    """All workers together that take its jobs."""


class ServedModelStatus(ModelStatus):
    """One of the models that requests may name."""

    name: str
    """What requests call it."""
    pooling: str
    """What replaces its own pooling; empty: nothing."""
    live_workers: int
    queue: ModelQueue | None
    """Null while no worker of it has been seen, or Redis is away."""


class WorkerStatus(Answer):
    """A live worker, by its latest heartbeat.  Times are epoch seconds."""

    worker_id: str
    node_name: str
    """Its name for the celery program (`-d`) and in Flower."""
    model: str
    model_revision: str
    namespace: str
    serves_us: bool
    """Whether it embeds in this replica's namespace."""
    takes_jobs: bool
    """False while an operator drains it."""
    queues: list[str] | None
    """The queues that it takes jobs from; null where an earlier version does not tell."""
    device: str
    dtype: str
    cache_dtype: str
    kernel: str
    """How the model is computed."""
    threads: int
    """CPU threads of the model; 0: it runs on a GPU."""
    dimension: int
    max_tokens: int
    """Longest text; longer ones are truncated."""
    pooling: str
    """What replaces the model's own pooling; empty: nothing."""
    normalized: bool
    tokens_per_byte: float
    tokens_per_second: float
    held_jobs: int
    waiting_texts: int
    """Of its jobs, not begun."""
    texts_embedded: int
    tokens_embedded: int
    failed_texts: int
    dropped_jobs: int
    """Nobody waited for them any more."""
    returned_jobs: int
    """Given back to the queue, in part or whole."""
    memory_bytes: int
    """Of the process now, without a GPU's."""
    peak_memory_bytes: int
    """The most that it has had, without a GPU's."""
    gpu_memory_bytes: int
    """Held by the process; 0 without a GPU."""
    gpu_memory_limit_bytes: int
    """What the GPU has."""
    started_at: float
    last_job_at: float
    """When it was given its latest job; before the first, when it started."""


class RedisStatus(Answer):
    """Whether this replica reaches Redis."""

    reachable: bool


class ReplicaStatus(Answer):
    """What this API process counts since its start."""

    up_seconds: float
    subscribed: bool
    """Whether it hears of finished jobs."""
    awaited_jobs: int
    published_jobs: int
    reenqueued_jobs: int
    refused_requests: int
    """429: the queue was full."""
    unread_bodies: int
    """429: there was no room for the body."""
    bodies_bytes: int
    """Of request bodies held now."""
    cache_hits: int
    cache_misses: int


class DeploymentStatus(Answer):
    """Corpus, model, workers, queue, and what this replica counts; also while parts are away."""

    ready: bool
    reasons: list[str]
    """Why it is not ready, one sentence each."""
    corpus: CorpusStatus | None
    """The default one, below a prefix that of the prefix; null until it is mapped."""
    corpora: list[CorpusStatus]
    """All that are mapped, the default one first."""
    model: ModelStatus
    models: list[ServedModelStatus]
    """All of the catalogue, the corpus's first."""
    workers: list[WorkerStatus]
    """All that live, of every model, oldest first."""
    redis: RedisStatus
    queue: QueueDepth | None
    """Of the default model; null while no worker of it has been seen, or Redis is away."""
    replica: ReplicaStatus


class Alive(Answer):
    """The port is open."""

    status: Literal["alive"] = "alive"


class Ready(Answer):
    """Requests can be answered."""

    status: Literal["ready"] = "ready"
    revision: str
    """Of the corpus."""
    digest: str
    """Of the corpus."""


class NotReady(Answer):
    """Requests cannot be answered yet, or for the moment."""

    status: Literal["not ready"] = "not ready"
    detail: str
    """All reasons in one line."""
    reasons: list[str]
    """One sentence each."""
