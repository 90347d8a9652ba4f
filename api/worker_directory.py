"""Which workers live, and in which embedding space: read from their heartbeats."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import redis.asyncio

from shared.embedding_cache import VectorCodec
from shared.errors import NotReadyError
from shared.heartbeats import read_live_workers
from shared.messages import Heartbeat
from shared.redis_client import RedisError

log = logging.getLogger(__name__)


@dataclass
class WorkerDirectory:
    """Live workers of one model.  The first namespace seen (or the corpus's own) is pinned for the process's life."""

    client: redis.asyncio.Redis
    model: str
    model_revision: str = ""
    pooling: str = ""
    refresh_seconds: float = 1.0
    pinned_namespace: str | None = None
    workers: Sequence[Heartbeat] = field(default_factory=list)
    redis_away: bool = False
    _known: Heartbeat | None = None

    async def watch(self) -> None:
        """Keep `workers` fresh until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self.refresh_seconds)

    async def refresh(self) -> None:
        """Read the heartbeats once; Redis being away empties the list of workers."""
        try:
            self.workers = await read_live_workers(self.client)
            self.redis_away = False
        except RedisError as error:
            if not self.redis_away:
                log.warning("Redis is away: %s", type(error).__name__)
            self.workers = []
            self.redis_away = True

    def pin(self, namespace: str) -> None:
        """Accept workers of this namespace alone: the one that the corpus was embedded in."""
        self.pinned_namespace = namespace

    def serving(self) -> list[Heartbeat]:
        """Live workers of our model in the pinned namespace."""
        wanted = (self.model, self.model_revision, self.pooling)
        ours = [worker for worker in self.workers if _loaded_as(worker) == wanted]
        if self.pinned_namespace is None and ours:
            self.pinned_namespace = ours[0].namespace
        return [worker for worker in ours if worker.namespace == self.pinned_namespace]

    def known_model(self) -> Heartbeat:
        """What workers of the pinned namespace say of their model; once known it stays known while none lives.

        Raises `NotReadyError` where none has been seen yet.
        """
        return self.last_known() or self.require_worker()

    def last_known(self) -> Heartbeat | None:
        """The same, or None where no worker has been seen yet."""
        if serving := self.serving():
            self._known = serving[0]
        return self._known

    def codec(self) -> VectorCodec:
        """How vectors of the pinned namespace are cached; known as long as `known_model`."""
        return codec_of(self.known_model())

    def require_worker(self) -> Heartbeat:
        """A live worker of our namespace, or `NotReadyError` that says what is missing."""
        serving = self.serving()
        if not serving:
            raise NotReadyError(self.why_not_serving())
        return serving[0]

    def why_not_serving(self) -> str:
        """One sentence on why no worker serves this replica."""
        if self.redis_away:
            return "Redis cannot be reached: try again in a few seconds."
        if not self.workers:
            return "No embedding worker is alive: try again when one has started."
        wanted = (self.model, self.model_revision, self.pooling)
        if any(_loaded_as(worker) == wanted for worker in self.workers):
            return "The live workers embed in another namespace (weights or dtype differ) than the corpus."
        others = ", ".join(sorted({_describe(*_loaded_as(worker)) for worker in self.workers}))
        return f"No worker serves the model {_describe(*wanted)}: the live ones serve {others}."

    def taking_jobs(self) -> list[Heartbeat]:
        """Those of `serving` that take jobs from the queue: not the ones that an operator drains."""
        return [worker for worker in self.serving() if worker.takes_jobs]

    def tokens_per_second(self) -> float:
        """Measured speed of all workers that take our jobs."""
        return sum(worker.tokens_per_second for worker in self.taking_jobs())

    def holds(self, job_id: str) -> bool:
        """Whether a live worker says that it works on the job."""
        return any(job_id in worker.held_jobs for worker in self.workers)


def codec_of(model: Heartbeat) -> VectorCodec:
    """How a model's vectors are cached."""
    return VectorCodec(model.namespace, model.dimension, model.cache_dtype, model.normalized)


def _loaded_as(worker: Heartbeat) -> tuple[str, str, str]:
    return (worker.model, worker.model_revision, worker.pooling)


def _describe(model: str, revision: str, pooling: str) -> str:
    """A model as it is loaded, in words."""
    at_revision = f" at {revision}" if revision else ""
    return f"{model}{at_revision}" + (f" with {pooling} pooling" if pooling else "")
