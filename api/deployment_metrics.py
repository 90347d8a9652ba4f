"""What `/metrics` tells of the whole deployment: Redis, the queue, the workers, the corpus.

Every API process would say the same of them, so none of it is counted in processes and added up: it is read when
`/metrics` is asked for, by one look at Redis that waits for at most `ANSWER_SECONDS`, and from the heartbeats that the
directory of workers saw last.  While Redis is away its families are left out: 0 would be a lie.
"""

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import redis.asyncio
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from api.deployment_status import ANSWER_SECONDS, queue_depth
from api.embedding_side import ServedModel
from api.status_schema import QueueDepth
from api.worker_metrics import worker_families
from shared.redis_client import RedisError

if TYPE_CHECKING:
    from api.served_corpus import ServedCorpora
    from api.service import Service


@dataclass(frozen=True, slots=True)
class RedisState:
    """One look at Redis."""

    depths: dict[str, QueueDepth]
    """By the name of the model."""
    memory: dict[str, Any]
    stats: dict[str, Any]


async def deployment_families(service: "Service") -> list[Metric]:
    """The families of the deployment, as of now; answers within `ANSWER_SECONDS` whatever Redis does."""
    directory = service.side.directory
    state = None if directory.redis_away else await look_at_redis(service)
    serving = {model.name: len(model.side.directory.serving()) for model in service.models.all()}
    return [
        *_build(),
        *_corpora(service.corpora),
        *_redis(state),
        *worker_families(directory.workers, serving),
    ]


async def look_at_redis(service: "Service") -> RedisState | None:
    """Queues, memory and evictions; None where Redis does not answer in time.

    A cancellation that arrives while redis-py reads an answer can be swallowed there, so the end of the reading is not
    waited for.
    """
    reading = asyncio.ensure_future(_read(service.side.client, service.models.all()))
    await asyncio.wait({reading}, timeout=ANSWER_SECONDS)
    if not reading.done():
        reading.cancel()
        return None
    return reading.result()


async def _read(client: redis.asyncio.Redis, models: Sequence[ServedModel]) -> RedisState | None:
    directories = [model.side.directory for model in models]
    try:
        memory, stats, *depths = await asyncio.gather(
            client.info("memory"),
            client.info("stats"),
            *(queue_depth(client, each.pinned_namespace or "", each.tokens_per_second()) for each in directories),
        )
    except RedisError:
        return None
    told = {model.name: depth for model, depth in zip(models, depths, strict=True) if depth is not None}
    return RedisState(told, memory, stats) if len(told) == len(models) else None


def _build() -> Iterator[Metric]:
    family = GaugeMetricFamily("premises_build_info", "The version that is running", labels=["version"])
    family.add_metric([version("lean-premise-server")], 1)
    yield family


def _corpora(corpora: "ServedCorpora") -> Iterator[Metric]:
    """The default corpus, whose prefix is empty, is there from the start; others as long as they are wanted."""
    info = GaugeMetricFamily(
        "premises_corpus_info", "The corpora that are mapped", labels=["prefix", "revision", "digest"]
    )
    rows = GaugeMetricFamily(
        "premises_corpus_premises", "Premises that are searched; 0 while a corpus loads", labels=["prefix"]
    )
    modules = GaugeMetricFamily("premises_corpus_modules", "Modules of a corpus; 0 while it loads", labels=["prefix"])
    ready = GaugeMetricFamily("premises_corpus_ready", "1 while a corpus is answered from", labels=["prefix"])
    for corpus in corpora.all():
        snapshot = corpus.retriever.snapshot if corpus.retriever else None
        if snapshot is not None:
            info.add_metric([corpus.prefix, snapshot.manifest.revision, snapshot.manifest.corpus_digest], 1)
        rows.add_metric([corpus.prefix], snapshot.manifest.rows if snapshot else 0)
        modules.add_metric([corpus.prefix], len(snapshot.modules) if snapshot else 0)
        ready.add_metric([corpus.prefix], corpus.state == "ready")
    yield from (info, rows, modules, ready)


def _redis(state: RedisState | None) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "premises_redis_up", "1 when Redis answered this scrape; what it would tell is missing otherwise", bool(state)
    )
    if state is None:
        return
    yield GaugeMetricFamily("premises_redis_memory_bytes", "Memory that Redis uses", state.memory["used_memory"])
    yield GaugeMetricFamily(
        "premises_redis_memory_limit_bytes", "Memory that Redis may use; 0: no limit", state.memory["maxmemory"]
    )
    yield CounterMetricFamily(
        "premises_redis_evicted_keys",
        "Cached vectors that Redis let go for want of memory",
        state.stats["evicted_keys"],
    )
    yield from _queue(state.depths)


def _queue(depths: Mapping[str, QueueDepth]) -> Iterator[Metric]:
    labels = ["model", "class"]
    jobs = GaugeMetricFamily(
        "premises_queue_jobs", "Jobs admitted and not finished, by model and class of work", labels=labels
    )
    tokens = GaugeMetricFamily("premises_queue_tokens", "The same in estimated tokens", labels=labels)
    wait = GaugeMetricFamily(
        "premises_queue_estimated_wait_seconds",
        "Until a class and those served before it are done, at the speed that the workers report; infinite without one",
        labels=labels,
    )
    waiting = GaugeMetricFamily("premises_queue_waiting_jobs", "Jobs that no worker has taken", labels=["model"])
    for model, depth in depths.items():
        for name, of_class in depth.classes:
            jobs.add_metric([model, name], of_class.jobs)
            tokens.add_metric([model, name], of_class.tokens)
            without_worker = math.inf if of_class.tokens else 0.0
            wait.add_metric([model, name], without_worker if of_class.wait_seconds is None else of_class.wait_seconds)
        waiting.add_metric([model], depth.waiting_jobs)
    yield from (jobs, tokens, wait, waiting)
    of_all_models = next(iter(depths.values()))
    yield GaugeMetricFamily("premises_queue_held_jobs", "Jobs that workers of any model hold", of_all_models.held_jobs)
    yield GaugeMetricFamily(
        "premises_dead_letters", "Jobs kept because no worker can embed them", of_all_models.dead_letters
    )
