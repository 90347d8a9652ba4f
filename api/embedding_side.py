"""Everything between a text and its vector, wired once a process: what all models share, and what each has alone."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import redis.asyncio

from api.admission import Admission, Limit
from api.cancellation import cancel_and_wait, keep_running
from api.completion_listener import CompletionListener
from api.embedding_client import EmbeddingClient
from api.job_publisher import JobPublisher
from api.known_folders import KnownFolders
from api.vector_cache import VectorCache
from api.worker_directory import WorkerDirectory
from shared.errors import NotReadyError, UnknownModelError
from shared.messages import Heartbeat, Priority
from shared.model_catalogue import CatalogueModel
from shared.redis_client import RedisError, async_redis, reply_channel
from shared.settings import Settings

MOST_CORPUS_JOBS = 8
MOST_STATE_JOBS = 4096

EVICTS_ANY_KEY = "allkeys"
EVICTS_NOTHING = "noeviction"
WORKER_WAIT_SECONDS = 900.0
LOOK_FOR_WORKER_SECONDS = 0.2

POLICY_TO_SET = "Set it to volatile-lru, which evicts cached vectors alone."

log = logging.getLogger("api")


@dataclass(frozen=True, slots=True)
class QueueAccess:
    """What all models of a process share: Redis, the vector cache, admission and the broker."""

    client: redis.asyncio.Redis
    cache: VectorCache
    admission: Admission
    publisher: JobPublisher

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Nothing connects yet."""
        client = async_redis(settings.redis_url)
        return cls(client, VectorCache(client), Admission(client, admission_limits(settings)), JobPublisher(settings))

    async def close(self) -> None:
        """End threads and connections."""
        self.publisher.close()
        await self.client.aclose()


@dataclass
class EmbeddingSide:
    """Everything between a text and its vector by one model."""

    client: redis.asyncio.Redis
    directory: WorkerDirectory
    publisher: JobPublisher
    embeddings: EmbeddingClient
    listener: CompletionListener


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of the catalogue and the way to its workers."""

    entry: CatalogueModel
    side: EmbeddingSide

    @property
    def name(self) -> str:
        """What requests call it."""
        return self.entry.public_name


class ServedModels:
    """The models of this process; the default one is the corpus's."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self.default = models[0]
        self._by_name = {model.name: model for model in models}

    def all(self) -> list[ServedModel]:
        """The default one first."""
        return list(self._by_name.values())

    def find(self, name: str) -> ServedModel:
        """The model that a request names, or `UnknownModelError`."""
        if name not in self._by_name:
            raise UnknownModelError(name, list(self._by_name))
        return self._by_name[name]


def make_embedding_side(settings: Settings, model: CatalogueModel, queue: QueueAccess) -> EmbeddingSide:
    """Wire one model's side; nothing connects yet."""
    directory = WorkerDirectory(queue.client, *model.loaded_as)
    embeddings = EmbeddingClient(
        directory=directory,
        cache=queue.cache,
        admission=queue.admission,
        publisher=queue.publisher,
        reply_channel=reply_channel(uuid.uuid4().hex),
    )
    listener = CompletionListener(
        queue.client,
        embeddings,
        lost_after_seconds=3 * settings.heartbeat_seconds,
        missing_seconds=directory.refresh_seconds + 2 * settings.heartbeat_seconds,
    )
    return EmbeddingSide(queue.client, directory, queue.publisher, embeddings, listener)


def admission_limits(settings: Settings) -> dict[Priority, Limit]:
    """Bulk may fill at most half of a worker's slots, so that a state always finds one."""
    return {
        Priority.STATE: Limit(settings.max_queued_state_tokens, MOST_STATE_JOBS, settings.max_queued_state_seconds),
        Priority.BULK: Limit(
            settings.max_queued_bulk_tokens, max(8, settings.worker_concurrency // 2), settings.max_queued_bulk_seconds
        ),
        Priority.CORPUS: Limit(settings.max_queued_bulk_tokens, MOST_CORPUS_JOBS),
    }


async def warn_of_eviction(client: redis.asyncio.Redis) -> None:
    """Say loudly what a full Redis would do to the queue; a Redis that does not tell its policy is left alone."""
    try:
        policy = str((await client.config_get("maxmemory-policy")).get("maxmemory-policy", ""))
    except RedisError:
        return
    if policy.startswith(EVICTS_ANY_KEY):
        log.warning("Redis may evict the job queue: its maxmemory-policy is %s. %s", policy, POLICY_TO_SET)
    if policy == EVICTS_NOTHING:
        log.warning(
            "Redis will refuse jobs once its memory is full: its maxmemory-policy is %s. %s", policy, POLICY_TO_SET
        )


@asynccontextmanager
async def running_models(settings: Settings, catalogue: Sequence[CatalogueModel]) -> AsyncIterator[ServedModels]:
    """The models with their background tasks; all are ended on exit."""
    queue = QueueAccess.of(settings)
    models = [ServedModel(model, make_embedding_side(settings, model, queue)) for model in catalogue]
    for model in models:
        await model.side.directory.refresh()
    await warn_of_eviction(queue.client)
    known = KnownFolders(settings.data_dir, queue.cache.known)
    await known.refresh()
    tasks = [task for model in models for task in _background_tasks(model.side)]
    tasks.append(keep_running(known.watch, "looking for known vectors"))
    try:
        yield ServedModels(models)
    finally:
        await cancel_and_wait(tasks)
        for model in models:
            await model.side.embeddings.close()
        await queue.close()


def _background_tasks(side: EmbeddingSide) -> list[asyncio.Task[None]]:
    return [
        keep_running(side.directory.watch, "watching workers"),
        keep_running(side.listener.listen, "hearing completions"),
        keep_running(side.listener.sweep, "the sweep"),
    ]


@asynccontextmanager
async def running_embedding_side(settings: Settings) -> AsyncIterator[EmbeddingSide]:
    """The default model's side alone."""
    async with running_models(settings, settings.catalogue()[:1]) as models:
        yield models.default.side


async def wait_for_worker(side: EmbeddingSide) -> Heartbeat:
    """The worker says in which namespace and dimension it embeds: wait until one is up."""
    gives_up_at = time.monotonic() + WORKER_WAIT_SECONDS
    if not side.directory.serving():
        log.info("waiting for a worker: it says which vectors fit (%s)", side.directory.why_not_serving())
    while not (serving := side.directory.serving()):
        if time.monotonic() > gives_up_at:
            raise NotReadyError(f"{side.directory.why_not_serving()} Waited {WORKER_WAIT_SECONDS:.0f} seconds.")
        await asyncio.sleep(LOOK_FOR_WORKER_SECONDS)
    return serving[0]
