"""What `/status` and `/queue` tell: corpus, model, workers, and what waits, as this replica knows it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import accumulate
from typing import TYPE_CHECKING

import redis.asyncio

from api.embedding_side import EmbeddingSide, ServedModel, ServedModels
from api.served_corpus import ServedCorpus
from api.status_schema import (
    ClassDepth,
    CorpusStatus,
    DeploymentStatus,
    ManifestStatus,
    ModelQueue,
    ModelStatus,
    NamedQueue,
    QueueClasses,
    QueueDepth,
    Queues,
    RedisStatus,
    ReplicaStatus,
    ServedModelStatus,
    WorkerStatus,
)
from shared.celery_app import PRIORITY_STEPS
from shared.dead_letters import LETTERS_KEY
from shared.messages import CLASS_NAMES, Heartbeat, queue_name
from shared.redis_client import UNACKED_KEY, RedisError, leases_key, priority_list

if TYPE_CHECKING:
    from api.service import Service

ANSWER_SECONDS = 1.5
REDIS_IS_SLOW = "Redis does not answer in time: try again in a few seconds."

COUNT = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local counts = {redis.call('HLEN', KEYS[1]), redis.call('HLEN', KEYS[2])}
local classes = tonumber(ARGV[1])
for i = 3, 2 + classes do
  local tokens, leases = 0, redis.call('ZRANGEBYSCORE', KEYS[i], now, '+inf')
  for _, member in ipairs(leases) do tokens = tokens + tonumber(string.match(member, ':(%d+)$')) end
  counts[#counts + 1] = #leases
  counts[#counts + 1] = tokens
end
local waiting = 0
for i = 3 + classes, #KEYS do waiting = waiting + redis.call('LLEN', KEYS[i]) end
counts[#counts + 1] = waiting
return counts
"""


async def queue_depth(client: redis.asyncio.Redis, namespace: str, tokens_per_second: float) -> QueueDepth | None:
    """Count in Redis, all at one moment; None where Redis does not answer within seconds."""
    leases = [leases_key(namespace, priority) for priority in CLASS_NAMES]
    queues = {queue_name(namespace, priority) for priority in CLASS_NAMES}
    lists = [priority_list(queue, step) for queue in sorted(queues) for step in PRIORITY_STEPS]
    keys = [UNACKED_KEY, LETTERS_KEY, *leases, *lists]
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            held, letters, *counts, waiting = await client.eval(COUNT, len(keys), *keys, len(leases))
    except (RedisError, TimeoutError):
        return None
    return QueueDepth(
        classes=class_depths(counts[::2], counts[1::2], tokens_per_second),
        waiting_jobs=waiting,
        held_jobs=held,
        dead_letters=letters,
    )


def class_depths(jobs: Sequence[int], tokens: Sequence[int], tokens_per_second: float) -> QueueClasses:
    """Depths from the counts of each class, in the order of serving: a class waits for those before it, too."""
    waits = [round(ahead / tokens_per_second, 2) if tokens_per_second else None for ahead in accumulate(tokens)]
    depths = [
        ClassDepth(jobs=jobs_of_class, tokens=tokens_of_class, wait_seconds=wait)
        for jobs_of_class, tokens_of_class, wait in zip(jobs, tokens, waits, strict=True)
    ]
    return QueueClasses(**dict(zip(CLASS_NAMES.values(), depths, strict=True)))


async def current_queues(models: ServedModels) -> Queues | None:
    """What `/queue` answers; None while no worker of the default model has been seen, or Redis is away."""
    depths = await _depths_by_model(models)
    default = depths[models.default.name]
    if default is None:
        return None
    named = [
        NamedQueue(
            name=model.name,
            namespace=str(model.side.directory.pinned_namespace),
            classes=depth.classes,
            waiting_jobs=depth.waiting_jobs,
        )
        for model in models.all()
        if (depth := depths[model.name])
    ]
    return Queues(**dict(default), models=named)


async def _depths_by_model(models: ServedModels) -> dict[str, QueueDepth | None]:
    every = models.all()
    depths = await asyncio.gather(*(_depth_of(model.side) for model in every))
    return dict(zip((model.name for model in every), depths, strict=True))


async def _depth_of(side: EmbeddingSide) -> QueueDepth | None:
    """Of one model's queue; None while no worker of it has been seen, or Redis is away."""
    directory = side.directory
    if directory.pinned_namespace is None and not directory.serving():
        return None
    return await queue_depth(side.client, str(directory.pinned_namespace), directory.tokens_per_second())


async def describe(service: "Service", corpus: ServedCorpus) -> DeploymentStatus:
    """What `/status` answers at a corpus's paths."""
    directory = service.side.directory
    depths = await _depths_by_model(service.models)
    reasons = service.reasons_not_ready(corpus)
    return DeploymentStatus(
        ready=not reasons,
        reasons=reasons,
        corpus=_describe_corpus(corpus),
        corpora=[told for each in service.corpora.all() if (told := _describe_corpus(each))],
        model=ModelStatus(
            id=directory.model,
            revision=directory.model_revision,
            namespace=directory.pinned_namespace,
            tokens_per_second=round(directory.tokens_per_second(), 1),
        ),
        models=[_describe_model(model, depths[model.name]) for model in service.models.all()],
        workers=[describe_worker(worker, directory.pinned_namespace) for worker in directory.workers],
        redis=RedisStatus(reachable=not directory.redis_away),
        queue=depths[service.models.default.name],
        replica=_describe_replica(service),
    )


def _describe_model(model: ServedModel, depth: QueueDepth | None) -> ServedModelStatus:
    directory = model.side.directory
    return ServedModelStatus(
        name=model.name,
        id=directory.model,
        revision=directory.model_revision,
        pooling=directory.pooling,
        namespace=directory.pinned_namespace,
        live_workers=len(directory.serving()),
        tokens_per_second=round(directory.tokens_per_second(), 1),
        queue=ModelQueue(classes=depth.classes, waiting_jobs=depth.waiting_jobs) if depth else None,
    )


def _describe_corpus(corpus: ServedCorpus) -> CorpusStatus | None:
    if corpus.retriever is None:
        return None
    snapshot = corpus.retriever.snapshot
    manifest = asdict(snapshot.manifest)
    files = manifest.pop("files")
    return CorpusStatus(
        prefix=corpus.prefix,
        state=corpus.state,
        revision=snapshot.manifest.revision,
        digest=snapshot.manifest.corpus_digest,
        premises=snapshot.manifest.rows,
        modules=len(snapshot.modules),
        namespace=snapshot.manifest.namespace,
        manifest=ManifestStatus(**manifest, bytes=sum(files.values())),
    )


def describe_worker(worker: Heartbeat, namespace: str | None) -> WorkerStatus:
    """What a heartbeat tells to people; of its jobs only how many there are."""
    told = {name: getattr(worker, name) for name in Heartbeat.__slots__} | {
        "serves_us": worker.namespace == namespace,
        "takes_jobs": worker.takes_jobs,
        "held_jobs": len(worker.held_jobs),
        "tokens_embedded": worker.counts.tokens,
        "returned_jobs": worker.counts.returned_jobs,
        "tokens_per_second": round(worker.tokens_per_second, 1),
    }
    return WorkerStatus(**{name: told[name] for name in WorkerStatus.model_fields})


def _describe_replica(service: "Service") -> ReplicaStatus:
    side = service.side
    return ReplicaStatus(
        up_seconds=round(time.time() - service.started_at, 1),
        subscribed=side.listener.subscribed,
        awaited_jobs=len(side.embeddings.awaited),
        published_jobs=side.publisher.published_jobs,
        reenqueued_jobs=side.listener.reenqueued_jobs,
        refused_requests=side.embeddings.admission.refused_requests,
        unread_bodies=service.room.unread_bodies,
        bodies_bytes=service.room.held_bytes,
        cache_hits=side.embeddings.cache.hits,
        cache_misses=side.embeddings.cache.misses,
    )
