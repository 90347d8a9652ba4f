"""What `/status` and `/queue` tell: corpus, model, workers, and what waits, as this replica knows it."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import redis.asyncio

from shared.celery_app import PRIORITY_STEPS
from shared.dead_letters import LETTERS_KEY
from shared.messages import Heartbeat, Priority, queue_name
from shared.redis_client import UNACKED_KEY, RedisError, leases_key, priority_list

if TYPE_CHECKING:
    from api.service import Service

ANSWER_SECONDS = 1.5
REDIS_IS_SLOW = "Redis does not answer in time: try again in a few seconds."

CLASSES = {Priority.STATE: "states", Priority.BULK: "premises", Priority.CORPUS: "corpus"}

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


@dataclass(frozen=True, slots=True)
class ClassDepth:
    """What one class of work has admitted and not finished."""

    jobs: int
    tokens: int
    """Estimated."""
    wait_seconds: float | None
    """Until the last of them is done, at the speed that the workers report; null without a worker."""


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """What waits in the queue of this replica's model."""

    classes: dict[str, ClassDepth]
    waiting_jobs: int
    """On the broker's lists."""
    held_jobs: int
    """Taken by workers, of every model."""
    dead_letters: int


async def queue_depth(client: redis.asyncio.Redis, namespace: str, tokens_per_second: float) -> QueueDepth | None:
    """Count in Redis, all at one moment; None where Redis does not answer within seconds."""
    leases = [leases_key(namespace, priority) for priority in CLASSES]
    queues = {queue_name(namespace, priority) for priority in CLASSES}
    lists = [priority_list(queue, step) for queue in sorted(queues) for step in PRIORITY_STEPS]
    keys = [UNACKED_KEY, LETTERS_KEY, *leases, *lists]
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            held, letters, *counts, waiting = await client.eval(COUNT, len(keys), *keys, len(leases))
    except (RedisError, TimeoutError):
        return None
    jobs_and_tokens = zip(CLASSES.values(), counts[::2], counts[1::2], strict=True)
    classes = {name: _class_depth(jobs, tokens, tokens_per_second) for name, jobs, tokens in jobs_and_tokens}
    return QueueDepth(classes, waiting_jobs=waiting, held_jobs=held, dead_letters=letters)


def _class_depth(jobs: int, tokens: int, tokens_per_second: float) -> ClassDepth:
    return ClassDepth(jobs, tokens, round(tokens / tokens_per_second, 2) if tokens_per_second else None)


async def current_depth(service: "Service") -> QueueDepth | None:
    """The depth of the queue that this replica uses; None while no model is known or Redis is away."""
    directory = service.side.directory
    if directory.pinned_namespace is None and not directory.serving():
        return None
    return await queue_depth(service.side.client, str(directory.pinned_namespace), directory.tokens_per_second())


async def describe(service: "Service") -> dict[str, object]:
    """Body of `/status`.  No texts, no names of premises."""
    directory = service.side.directory
    depth = await current_depth(service)
    return {
        "ready": not service.reasons_not_ready(),
        "reasons": service.reasons_not_ready(),
        "corpus": _describe_corpus(service),
        "model": {
            "id": directory.model,
            "revision": directory.model_revision,
            "namespace": directory.pinned_namespace,
            "tokens_per_second": round(directory.tokens_per_second(), 1),
        },
        "workers": [_describe_worker(worker, directory.pinned_namespace) for worker in directory.workers],
        "redis": {"reachable": not directory.redis_away},
        "queue": asdict(depth) if depth else None,
        "replica": _describe_replica(service),
    }


def _describe_corpus(service: "Service") -> Mapping[str, object] | None:
    if service.retriever is None:
        return None
    snapshot = service.retriever.snapshot
    return {
        "revision": snapshot.manifest.revision,
        "digest": snapshot.manifest.corpus_digest,
        "premises": snapshot.manifest.rows,
        "modules": len(snapshot.modules),
        "namespace": snapshot.manifest.namespace,
    }


def _describe_worker(worker: Heartbeat, namespace: str | None) -> dict[str, object]:
    described = asdict(worker) | {"serves_us": worker.namespace == namespace}
    described["held_jobs"] = len(worker.held_jobs)
    described["tokens_per_second"] = round(worker.tokens_per_second, 1)
    return described


def _describe_replica(service: "Service") -> dict[str, object]:
    side = service.side
    return {
        "up_seconds": round(time.time() - service.started_at, 1),
        "subscribed": side.listener.subscribed,
        "awaited_jobs": len(side.embeddings.awaited),
        "published_jobs": side.publisher.published_jobs,
        "reenqueued_jobs": side.listener.reenqueued_jobs,
        "refused_requests": side.embeddings.admission.refused_requests,
        "unread_bodies": service.room.unread_bodies,
        "bodies_bytes": service.room.held_bytes,
        "cache_hits": side.embeddings.cache.hits,
        "cache_misses": side.embeddings.cache.misses,
    }
