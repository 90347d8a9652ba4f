"""A worker is killed or frozen while a request waits for it."""

import signal
import time
from collections import Counter

from shared.embedding_cache import text_key
from tests.acceptance.conftest import Deploy, Extent
from tests.acceptance.deployment import NAMESPACE, SOON, Deployment
from tests.acceptance.fault_report import Fault
from tests.acceptance.load import Background, Heard, body_of, texts
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.fake_worker import journal_line

PREMISES = 2048
SETTINGS = SOON | {"FAKE_WORKER_TOKENS_PER_SECOND": "10000"}


def cached(deployment: Deployment, premises: list[str]) -> set[str]:
    """The premises whose vectors are in the cache."""
    values = deployment.client.mget([f"emb:{NAMESPACE}:{text_key(text)}" for text in premises])
    return {text for text, value in zip(premises, values, strict=True) if value is not None}


def kill_in_a_batch(deployment: Deployment, background: Background) -> tuple[Heard, float]:
    """Kill the worker of a request, start another; returns what was heard, and the seconds from its start to that."""
    first = deployment.start_worker()
    replica = deployment.start_replica()
    premises = texts("cold", PREMISES, length=30)
    asked = background.post(replica.url, body_of("⊢ a goal", premises))
    wait_until(lambda: len(cached(deployment, premises)) > PREMISES / 4)
    first.stop(signal.SIGKILL)
    kept = cached(deployment, premises)
    assert len(kept) < PREMISES, "the worker was killed too late"
    deployment.start_worker()
    restarted = time.monotonic()
    heard = asked.result(PATIENCE_SECONDS)
    answered = time.monotonic()
    assert (heard.status, heard.wrong) == (200, False), heard.answer
    counts = Counter(deployment.embedded_texts())
    assert {counts[journal_line(text)] for text in kept} == {1}
    assert min(counts[journal_line(text)] for text in premises) == 1
    wait_until(deployment.is_idle)
    return heard, answered - restarted


def test_the_request_of_a_killed_worker_is_answered_by_the_next_and_nothing_cached_is_embedded_again(
    deploy: Deploy, background: Background, faults: list[Fault], extent: Extent
) -> None:
    for attempt in range(extent.choose(1, 2)):
        with deploy(f"kill-{attempt}", **SETTINGS) as deployment:
            heard, recovery = kill_in_a_batch(deployment, background)
        faults.append(Fault.seen("worker killed in a batch", [heard], recovery))


def test_a_frozen_workers_jobs_go_to_another_and_its_late_vectors_do_no_harm(
    deploy: Deploy, background: Background, faults: list[Fault]
) -> None:
    with deploy(**SETTINGS) as deployment:
        first = deployment.start_worker()
        replica = deployment.start_replica()
        premises = texts("cold", 512, length=30)
        body = body_of("⊢ a goal", premises)
        asked = background.post(replica.url, body)
        wait_until(lambda: cached(deployment, premises))
        first.popen.send_signal(signal.SIGSTOP)
        frozen = time.monotonic()
        deployment.start_worker()
        heard = asked.result(PATIENCE_SECONDS)
        recovery = time.monotonic() - frozen
        assert (heard.status, heard.wrong) == (200, False), heard.answer
        first.popen.send_signal(signal.SIGCONT)
        wait_until(deployment.is_idle)
        wait_until(lambda: len(deployment.workers()) == 2)
        again = background.post(replica.url, body).result(PATIENCE_SECONDS)
        assert (again.status, again.wrong) == (200, False), again.answer
        faults.append(Fault.seen("worker frozen in a batch", [heard], recovery))
