"""What the workers' heartbeats tell, as metrics: a worker has no HTTP port of its own.

Every API process tells the same of every worker: take the maximum over processes, not the sum.  A worker's series end
with it; the next one has another name.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from shared.messages import Heartbeat
from shared.worker_counts import ClassCounts, Distribution

Number = Callable[[Heartbeat], float]

GAUGES: dict[str, tuple[str, Number]] = {
    "premises_worker_tokens_per_second": (
        "Speed of a worker's model, a moving average over its batches",
        lambda worker: worker.tokens_per_second,
    ),
    "premises_worker_held_jobs": (
        "Jobs that a worker has taken and not finished",
        lambda worker: len(worker.held_jobs),
    ),
    "premises_worker_waiting_texts": (
        "Texts that a worker holds and has in no batch yet",
        lambda worker: worker.waiting_texts,
    ),
    "premises_worker_memory_bytes": (
        "Memory of a worker's process, without a GPU's",
        lambda worker: worker.memory_bytes,
    ),
    "premises_worker_peak_memory_bytes": (
        "Most memory that a worker's process has had",
        lambda worker: worker.peak_memory_bytes,
    ),
    "premises_worker_gpu_memory_bytes": (
        "Memory of the GPU that a worker holds; 0 without one",
        lambda worker: worker.gpu_memory_bytes,
    ),
    "premises_worker_gpu_memory_limit_bytes": (
        "Memory that a worker's GPU has; 0 without one",
        lambda worker: worker.gpu_memory_limit_bytes,
    ),
    "premises_worker_takes_jobs": (
        "1 while a worker takes jobs from the queue, 0 while an operator drains it",
        lambda worker: worker.takes_jobs,
    ),
    "premises_worker_start_time_seconds": (
        "When a worker began to consume, in seconds since 1970",
        lambda worker: worker.started_at,
    ),
}

COUNTERS: dict[str, tuple[str, Number]] = {
    "premises_worker_texts": ("Texts that a worker has embedded", lambda worker: worker.texts_embedded),
    "premises_worker_tokens": ("Tokens of these texts, without padding", lambda worker: worker.counts.tokens),
    "premises_worker_failed_texts": ("Texts that could not be embedded", lambda worker: worker.failed_texts),
    "premises_worker_dropped_jobs": (
        "Jobs dropped because nobody waited for them any more",
        lambda worker: worker.dropped_jobs,
    ),
    "premises_worker_returned_jobs": (
        "Jobs given back to the queue, in part or whole: the worker stopped, or they took too long",
        lambda worker: worker.counts.returned_jobs,
    ),
}

HISTOGRAMS: dict[str, tuple[str, Callable[[Heartbeat], Distribution | None]]] = {
    "premises_worker_batch_tokens": (
        "Tokens of a batch, without padding; its count is the number of batches",
        lambda worker: worker.counts.batch_tokens,
    ),
    "premises_worker_batch_fill_ratio": (
        "What a batch costs as a share of what it might, with padding",
        lambda worker: worker.counts.batch_fill,
    ),
}

HISTOGRAMS_BY_CLASS: dict[str, tuple[str, Callable[[ClassCounts], Distribution]]] = {
    "premises_worker_job_wait_seconds": (
        "From the moment a job was put on the queue until a worker took it",
        lambda counts: counts.job_wait_seconds,
    ),
    "premises_worker_text_wait_seconds": (
        "From the moment a worker had read a text until it was in a batch",
        lambda counts: counts.text_wait_seconds,
    ),
    "premises_worker_batch_seconds": (
        "Time that a batch takes in the model",
        lambda counts: counts.batch_seconds,
    ),
}


def worker_families(workers: Sequence[Heartbeat], serving: Mapping[str, int]) -> Iterator[Metric]:
    """Everything about the workers that live; `serving`: how many of them serve each of this API's models."""
    yield GaugeMetricFamily("premises_workers", "Live workers, of any model", len(workers))
    of_model = GaugeMetricFamily(
        "premises_serving_workers", "Live workers of a model and namespace that are served here", labels=["model"]
    )
    for model, count in serving.items():
        of_model.add_metric([model], count)
    yield of_model
    info = GaugeMetricFamily(
        "premises_worker_info",
        "What a worker runs",
        labels=["worker", "model", "namespace", "device", "dtype", "kernel"],
    )
    for worker in workers:
        what = [worker.model, worker.namespace, worker.device, worker.dtype, worker.kernel]
        info.add_metric([worker.worker_id, *what], 1)
    yield info
    for name, (meaning, read) in GAUGES.items():
        yield _add_each(GaugeMetricFamily(name, meaning, labels=["worker"]), workers, read)
    for name, (meaning, read) in COUNTERS.items():
        yield _add_each(CounterMetricFamily(name, meaning, labels=["worker"]), workers, read)
    yield from _histograms(workers)


def _add_each(
    family: GaugeMetricFamily | CounterMetricFamily, workers: Sequence[Heartbeat], read: Number
) -> GaugeMetricFamily | CounterMetricFamily:
    for worker in workers:
        family.add_metric([worker.worker_id], read(worker))
    return family


def _histograms(workers: Sequence[Heartbeat]) -> Iterator[Metric]:
    for name, (meaning, read) in HISTOGRAMS.items():
        family = HistogramMetricFamily(name, meaning, labels=["worker"])
        for worker in workers:
            _add_histogram(family, [worker.worker_id], read(worker))
        yield family
    for name, (meaning, read_class) in HISTOGRAMS_BY_CLASS.items():
        family = HistogramMetricFamily(name, meaning, labels=["worker", "class"])
        for worker in workers:
            for class_name, counts in worker.counts.classes.items():
                _add_histogram(family, [worker.worker_id, class_name], read_class(counts))
        yield family


def _add_histogram(family: HistogramMetricFamily, labels: list[str], distribution: Distribution | None) -> None:
    if distribution is not None:
        buckets = [(_bound(bound), float(count)) for bound, count in distribution.cumulative()]
        family.add_metric(labels, buckets, distribution.total)


def _bound(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else str(float(bound))
