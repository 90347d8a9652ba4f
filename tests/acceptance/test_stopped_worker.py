"""A worker is told to stop, by a signal or by the celery program."""

import signal
import time
from collections import Counter

from tests.acceptance.conftest import Deploy, Extent
from tests.acceptance.deployment import SOON, Deployment
from tests.acceptance.fault_report import Fault
from tests.acceptance.load import Background, body_of, post, texts
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.processes import Process

STOP_SECONDS = 30
"""WORKER_STOP_SECONDS of these deployments."""


def seconds_to_end(worker: Process, code: int) -> float:
    """SIGTERM; waits for the exit code and returns how long that took."""
    started = time.monotonic()
    worker.popen.send_signal(signal.SIGTERM)
    assert worker.popen.wait(STOP_SECONDS + 5) == code, worker.output()
    return time.monotonic() - started


def wait_for_texts(deployment: Deployment, count: int) -> None:
    wait_until(lambda: len(deployment.embedded_texts()) > count)


def test_a_worker_told_to_stop_under_load_ends_its_batch_and_hands_the_rest_back(
    deploy: Deploy, background: Background, faults: list[Fault], extent: Extent
) -> None:
    clients, premises = 6, 300
    with deploy(FAKE_WORKER_TOKENS_PER_SECOND="20000") as deployment:
        worker = deployment.start_worker()
        replica = deployment.start_replica()
        bodies = [body_of(f"⊢ {number}", texts(f"client {number}", premises)) for number in range(clients)]
        asked = [background.post(replica.url, body) for body in bodies]
        slowest = 0.0
        for stops in range(1, extent.choose(1, 3) + 1):
            wait_for_texts(deployment, stops * 100)
            slowest = max(slowest, seconds_to_end(worker, 0))
            assert deployment.backlog()["held"] == 0, "a job was kept"
            worker = deployment.start_worker()
        heard = [each.result(PATIENCE_SECONDS) for each in asked]
        assert [(each.status, each.wrong) for each in heard] == [(200, False)] * clients
        assert set(Counter(deployment.embedded_texts()).values()) == {1}, "a text was embedded twice"
        assert "Traceback" not in deployment.logs("worker")
        wait_until(deployment.is_idle)
        faults.append(Fault.seen("worker told to stop under load", heard, slowest))


def test_a_worker_told_to_stop_while_redis_is_frozen_ends_in_time(
    deploy: Deploy, background: Background, extent: Extent
) -> None:
    extent.only_in_full()
    with deploy(**SOON, FAKE_WORKER_TOKENS_PER_SECOND="20000") as deployment:
        worker = deployment.start_worker()
        replica = deployment.start_replica()
        body = body_of("⊢ a goal", texts("frozen", 500))
        asked = background.post(replica.url, body)
        wait_for_texts(deployment, 100)
        with deployment.frozen_redis():
            worker.popen.send_signal(signal.SIGTERM)
            worker.popen.wait(STOP_SECONDS + 5)
        deployment.start_worker()
        heard = asked.result(PATIENCE_SECONDS)
        assert (heard.status, heard.wrong) == (200, False), heard.answer


def test_waiting_for_a_worker_that_holds_jobs_ends_with_an_exit_code(deploy: Deploy, background: Background) -> None:
    with deploy() as deployment:
        deployment.gate.touch()
        deployment.start_worker()
        replica = deployment.start_replica()
        background.post(replica.url, body_of("⊢ held", []))
        wait_until(lambda: deployment.backlog()["held"] == 1)
        waited = deployment.run_celery("backlog", "--wait", "0.5")
        assert waited.popen.returncode == 1
        assert "held by workers: 1" in waited.output()
        deployment.gate.unlink()
        assert post(replica.url, body_of("⊢ held", [])).status == 200
