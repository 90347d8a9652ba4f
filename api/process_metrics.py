"""What the parts of an API process count for themselves, carried over into metrics.

The parts hold plain numbers, which `/status` tells too; `update` brings the metrics up to them.  It runs when this
process is asked, and once a second, so that the others of API_PROCESSES know.
"""

import asyncio
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

from shared.process_memory import resident_memory_bytes

if TYPE_CHECKING:
    from api.service import Service

UPDATE_SECONDS = 1.0

PROCESS_TIER, CORPUS_TIER, REDIS_TIER = "process", "corpus", "redis"


@dataclass
class _Carried:
    """A counter that follows a number which only grows."""

    counter: Counter
    read: Callable[[], float]
    carried: float = 0.0

    def update(self) -> None:
        now = self.read()
        if now > self.carried:
            self.counter.inc(now - self.carried)
            self.carried = now


class ProcessMetrics:
    """Counters and gauges of this process.  Without `follow` they stay at 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._hits = _counter(
            registry,
            "premises_cache_hits",
            "Texts whose vector was found in the process, in a corpus of this host, or in Redis",
            "tier",
        )
        self._misses = _counter(
            registry,
            "premises_cache_misses",
            "Texts whose vector was not found there: what a tier lacks is looked up in the next",
            "tier",
        )
        for tier in (PROCESS_TIER, CORPUS_TIER, REDIS_TIER):
            self._hits.labels(tier)
            self._misses.labels(tier)
        self._evictions = _counter(
            registry,
            "premises_cache_process_evictions",
            "Vectors that an API process let go to make room for newer ones",
        )
        self._cache_bytes = _gauge(registry, "premises_cache_process_bytes", "Memory of vectors kept in API processes")
        self._known_texts = Gauge(
            "premises_known_texts",
            "Texts whose vectors an API process knows from corpora of its host",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._published = _counter(registry, "premises_jobs_published", "Jobs put on the queue, of every class")
        self._reenqueued = _counter(
            registry, "premises_jobs_reenqueued", "Jobs that the broker had lost and that were enqueued again"
        )
        self._awaited = _gauge(registry, "premises_jobs_awaited", "Jobs that API processes wait for")
        self._body_bytes = _gauge(registry, "premises_request_bodies_bytes", "Request bodies held in memory")
        self._large_bodies = _gauge(registry, "premises_large_bodies_in_progress", "Large bodies being worked on")
        self._ready = Gauge(
            "premises_ready",
            "1 while /health/ready says ready, in every API process of this port",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._processes = _gauge(registry, "premises_api_processes", "API processes on this port")
        self._memory_bytes = _gauge(
            registry,
            "premises_api_resident_memory_bytes",
            "Memory of the API processes; what they share counts in each",
        )
        self._cpu_seconds = _counter(registry, "premises_api_cpu_seconds", "CPU time of the API processes")
        self._carried: list[_Carried] = []
        self._service: Service | None = None

    def follow(self, service: "Service") -> None:
        """Take the numbers from the parts of this service from now on."""
        self._service = service
        cache, publisher = service.side.embeddings.cache, service.side.publisher  # those of all models
        listeners = [model.side.listener for model in service.models.all()]
        self._carried = [
            _Carried(self._hits.labels(PROCESS_TIER), lambda: cache.process_hits),
            _Carried(self._misses.labels(PROCESS_TIER), lambda: cache.known_hits + cache.redis_hits + cache.misses),
            _Carried(self._hits.labels(CORPUS_TIER), lambda: cache.known_hits),
            _Carried(self._misses.labels(CORPUS_TIER), lambda: cache.redis_hits + cache.misses),
            _Carried(self._hits.labels(REDIS_TIER), lambda: cache.redis_hits),
            _Carried(self._misses.labels(REDIS_TIER), lambda: cache.misses),
            _Carried(self._evictions, lambda: cache.evictions),
            _Carried(self._published, lambda: publisher.published_jobs),
            _Carried(self._reenqueued, lambda: sum(listener.reenqueued_jobs for listener in listeners)),
            _Carried(self._cpu_seconds, cpu_seconds),
        ]

    def update(self) -> None:
        """Bring the metrics up to the numbers of now."""
        if self._service is None:
            return
        for carried in self._carried:
            carried.update()
        service = self._service
        self._cache_bytes.set(service.side.embeddings.cache.held_bytes)
        self._known_texts.set(service.side.embeddings.cache.known.texts())
        self._awaited.set(sum(len(model.side.embeddings.awaited) for model in service.models.all()))
        self._body_bytes.set(service.room.held_bytes)
        self._large_bodies.set(service.room.large_bodies)
        self._ready.set(not service.reasons_not_ready())
        self._processes.set(1)
        self._memory_bytes.set(resident_memory_bytes())

    async def keep_up_to_date(self) -> None:
        """Update until cancelled."""
        while True:
            self.update()
            await asyncio.sleep(UPDATE_SECONDS)


def cpu_seconds() -> float:
    """CPU time of this process, in all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _counter(registry: CollectorRegistry, name: str, meaning: str, *labels: str) -> Counter:
    return Counter(name, meaning, labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, meaning: str) -> Gauge:
    """A gauge whose values are added up over the processes that live."""
    return Gauge(name, meaning, multiprocess_mode="livesum", registry=registry)
