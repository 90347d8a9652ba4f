"""One of two API processes is killed while it serves."""

import signal
import time

from shared.messages import Priority
from tests.acceptance.conftest import Deploy, Extent
from tests.acceptance.fault_report import Fault
from tests.acceptance.load import Background, body_of, post, texts
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until

STOP_SECONDS = 10
"""What a stopping replica waits for open requests (api/main.py)."""
DEADLINE_SECONDS = 4
GRACE_SECONDS = 5
"""Leases outlive their jobs' deadline by this (api/admission.py)."""


def test_the_other_replica_goes_on_and_what_was_enqueued_is_cached_and_the_leases_expire(
    deploy: Deploy, background: Background, faults: list[Fault]
) -> None:
    with deploy(FAKE_WORKER_TOKENS_PER_SECOND="20000") as deployment:
        deployment.start_worker()
        killed, other = deployment.start_replica(), deployment.start_replica()
        body = body_of("⊢ a goal", texts("cold", 1000, length=40))
        asked = background.post(killed.url, body)
        wait_until(lambda: len(deployment.embedded_texts()) > 1)
        deployment.gate.touch()  # else it could have been answered by now
        killed.process.stop(signal.SIGKILL)
        gone = time.monotonic()
        deployment.gate.unlink()
        assert asked.result(PATIENCE_SECONDS).status == 0
        meanwhile = post(other.url, body_of("⊢ meanwhile", texts("meanwhile", 20)))
        assert (meanwhile.status, meanwhile.wrong) == (200, False), meanwhile.answer
        answered = time.monotonic()
        wait_until(lambda: len(deployment.embedded_texts()) == 1 + 1000 + 1 + 20)
        wait_until(deployment.is_idle)
        embedded = len(deployment.embedded_texts())
        again = post(other.url, body)
        assert (again.status, again.wrong) == (200, False), again.answer
        assert len(deployment.embedded_texts()) == embedded, "what the killed replica had enqueued was not cached"
        faults.append(Fault.seen("API replica killed", [meanwhile, again], answered - gone))


def test_leases_of_a_killed_replica_expire_with_the_deadline_of_their_jobs(
    deploy: Deploy, background: Background, extent: Extent
) -> None:
    extent.only_in_full()
    limits = {"RETRIEVE_TIMEOUT_SECONDS": str(DEADLINE_SECONDS), "MAX_QUEUED_BULK_TOKENS": "2000"}
    with deploy(**limits) as deployment:
        deployment.gate.touch()
        deployment.start_worker()
        killed, other = deployment.start_replica(), deployment.start_replica()
        background.post(killed.url, body_of("⊢ a goal", texts("held", 200, length=40)))
        wait_until(lambda: deployment.leases(Priority.BULK) > 0)
        killed.process.stop(signal.SIGKILL)
        gone = time.monotonic()
        later = body_of("⊢ later", texts("later", 10))
        assert post(other.url, later).status == 429
        wait_until(lambda: post(other.url, later).status != 429, DEADLINE_SECONDS + GRACE_SECONDS + 5)
        assert DEADLINE_SECONDS - 2 < time.monotonic() - gone < 2 * DEADLINE_SECONDS + GRACE_SECONDS + 5
        deployment.gate.unlink()
        wait_until(lambda: post(other.url, later).status == 200)
        wait_until(deployment.is_idle)


def test_a_replica_told_to_stop_answers_what_ends_in_time_and_says_503_to_the_rest(
    deploy: Deploy, background: Background, extent: Extent
) -> None:
    extent.only_in_full()
    with deploy() as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        deployment.gate.touch()
        stuck = background.post(replica.url, body_of("⊢ stuck", texts("stuck", 10)))
        wait_until(lambda: deployment.leases(Priority.BULK) == 1)
        replica.process.popen.send_signal(signal.SIGTERM)
        heard = stuck.result(STOP_SECONDS + 5)
        assert (heard.status, heard.retry_after) == (503, 1), heard
        assert replica.process.popen.wait(PATIENCE_SECONDS) in (0, -signal.SIGTERM)
        assert "Traceback" not in replica.process.output()
        deployment.gate.unlink()
        wait_until(deployment.is_idle)
