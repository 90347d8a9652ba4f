"""What `/status` makes of heartbeats and counts."""

from api.deployment_status import class_depths, describe_worker
from api.status_schema import WorkerStatus
from shared.messages import Heartbeat

HEARTBEAT = Heartbeat(
    "host-1-abc", "model", "space", 8, 256, "cpu", "float32", "float32", 0.3, 1000.04, ["a job", "another"], 1.0
)


def test_a_worker_is_told_by_everything_that_its_heartbeat_says() -> None:
    counts_for_prometheus = {"counts"}
    assert set(Heartbeat.__slots__) - counts_for_prometheus <= set(WorkerStatus.model_fields)


def test_of_a_workers_jobs_their_number_is_told() -> None:
    told = describe_worker(HEARTBEAT, "space")
    assert (told.held_jobs, told.tokens_per_second, told.serves_us, told.takes_jobs) == (2, 1000.0, True, True)
    assert not describe_worker(HEARTBEAT, "another space").serves_us


def test_a_class_waits_for_those_that_are_served_before_it() -> None:
    depths = class_depths([1, 4, 2], [100, 1000, 500], 200.0)
    waits = [depths.states.wait_seconds, depths.premises.wait_seconds, depths.corpus.wait_seconds]
    assert waits == [0.5, 5.5, 8.0]
    assert (depths.premises.jobs, depths.premises.tokens) == (4, 1000)


def test_without_a_worker_no_wait_is_estimated() -> None:
    assert class_depths([1, 0, 0], [100, 0, 0], 0.0).states.wait_seconds is None
