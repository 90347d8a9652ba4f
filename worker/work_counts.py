"""Counts what a worker does, for its heartbeat: the model thread and the job threads write, the heartbeat reads."""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from shared.messages import CLASS_NAMES, Priority
from shared.worker_counts import ClassCounts, Distribution, WorkerCounts

WAIT_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
BATCH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCH_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
BATCH_FILL = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)


class Histogram:
    """Counts values by bounds, as Prometheus does: a value counts to the first bound that it does not exceed."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, values: Iterable[float]) -> None:
        """Count values; the caller holds the lock."""
        for value in values:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._total += value

    def snapshot(self) -> Distribution:
        """What was counted so far."""
        return Distribution(self._bounds, tuple(self._counts), self._total)


class _OfClass:
    def __init__(self) -> None:
        self.job_waits = Histogram(WAIT_SECONDS)
        self.text_waits = Histogram(WAIT_SECONDS)
        self.batch_seconds = Histogram(BATCH_SECONDS)

    def snapshot(self) -> ClassCounts:
        return ClassCounts(self.job_waits.snapshot(), self.text_waits.snapshot(), self.batch_seconds.snapshot())


class WorkCounts:
    """Cumulative since the worker's start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens = 0
        self._returned_jobs = 0
        self._batch_tokens = Histogram(BATCH_TOKENS)
        self._batch_fill = Histogram(BATCH_FILL)
        self._classes = {priority: _OfClass() for priority in Priority}

    def job_taken(self, priority: Priority, waited_seconds: float) -> None:
        """A job was taken from the queue.  Its maker's clock may be ahead of ours: that is no negative wait."""
        with self._lock:
            self._classes[priority].job_waits.observe([max(0.0, waited_seconds)])

    def job_returned(self) -> None:
        """A job, or what is left of it, goes back to the queue."""
        with self._lock:
            self._returned_jobs += 1

    def batch_formed(self, priority: Priority, fill: float, waited_seconds: Iterable[float]) -> None:
        """A batch is about to enter the model; `waited_seconds` of each of its texts."""
        with self._lock:
            self._batch_fill.observe([fill])
            self._classes[priority].text_waits.observe(waited_seconds)

    def batch_done(self, priority: Priority, tokens: int, seconds: float) -> None:
        """A batch has left the model with vectors; `tokens` without padding."""
        with self._lock:
            self._tokens += tokens
            self._batch_tokens.observe([tokens])
            self._classes[priority].batch_seconds.observe([seconds])

    def snapshot(self) -> WorkerCounts:
        """What was counted so far, all at one moment."""
        with self._lock:
            return WorkerCounts(
                tokens=self._tokens,
                returned_jobs=self._returned_jobs,
                batch_tokens=self._batch_tokens.snapshot(),
                batch_fill=self._batch_fill.snapshot(),
                classes={CLASS_NAMES[priority]: counts.snapshot() for priority, counts in self._classes.items()},
            )
