"""What a worker counts arrives in the API as it was counted."""

import orjson
import pytest

from shared.messages import Heartbeat, Priority
from shared.worker_counts import Distribution, WorkerCounts
from worker.work_counts import Histogram, WorkCounts


def counted() -> WorkerCounts:
    counts = WorkCounts()
    counts.job_taken(Priority.STATE, 0.3)
    counts.job_taken(Priority.STATE, -2.0)
    counts.batch_formed(Priority.BULK, 0.5, [0.2, 7.0])
    counts.batch_done(Priority.BULK, 100, 0.004)
    counts.job_returned()
    return counts.snapshot()


def test_a_value_counts_to_the_first_bound_that_it_does_not_exceed() -> None:
    histogram = Histogram((1, 2, 5))
    histogram.observe([0.5, 1, 1.5, 5, 6, 100])
    told = histogram.snapshot()
    assert told.cumulative() == [(1, 2), (2, 3), (5, 4), (float("inf"), 6)]
    assert told.total == 114


def test_jobs_and_batches_count_to_their_class() -> None:
    told = counted()
    assert (told.tokens, told.returned_jobs) == (100, 1)
    states, premises = told.classes["states"], told.classes["premises"]
    assert (sum(states.job_wait_seconds.counts), sum(premises.job_wait_seconds.counts)) == (2, 0)
    assert (sum(states.text_wait_seconds.counts), sum(premises.text_wait_seconds.counts)) == (0, 2)
    assert premises.batch_seconds.total == 0.004
    assert told.classes.keys() == {"states", "premises", "corpus"}


def test_a_clock_that_is_ahead_makes_no_negative_wait() -> None:
    assert counted().classes["states"].job_wait_seconds.total == 0.3


def test_counts_survive_the_heartbeat() -> None:
    told = counted()
    assert WorkerCounts.from_wire(orjson.loads(orjson.dumps(told))) == told


def test_the_heartbeat_of_a_worker_that_counts_less_or_more_is_understood() -> None:
    required = {"worker_id": "w", "model": "m", "namespace": "n", "dimension": 8, "max_tokens": 16, "device": "cpu",
                "dtype": "float32", "cache_dtype": "float32", "tokens_per_byte": 0.4, "tokens_per_second": 1.0,
                "held_jobs": [], "started_at": 0.0}  # fmt: skip
    assert Heartbeat.from_bytes(orjson.dumps(required)).counts == WorkerCounts()
    newer = required | {"counts": {"tokens": 5, "something_new": 1}}
    assert Heartbeat.from_bytes(orjson.dumps(newer)).counts == WorkerCounts(tokens=5)


def test_a_histogram_whose_parts_do_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="one count more"):
        Distribution.from_wire({"bounds": [1, 2], "counts": [0, 0], "total": 0})
