"""Redis is killed or frozen while clients ask."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import Deploy, Extent
from tests.acceptance.deployment import Deployment, Replica
from tests.acceptance.fault_report import Fault
from tests.acceptance.load import Background, Body, Heard, Steady, body_of, post, texts
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.fake_worker import journal_line

CLIENTS = 12
SETTINGS = {"FAKE_WORKER_TOKENS_PER_SECOND": "40000", "VISIBILITY_TIMEOUT_SECONDS": "8"}
SHORT_OUTAGE_SECONDS = 2
SLOWEST_REFUSAL_SECONDS = 30.0
"""A connection that went dead is given up after 5 s, once for the look-up and once on the way to the queue;
the rest is for a busy machine.  A request that waits for a lost job does so to its deadline."""
AT_ONCE_SECONDS = 8.0
BLOCKED_SECONDS = 4.0
"""Of the five for which a connection that went dead would block who waits for it."""


def fresh_requests(replicas: Sequence[Replica], label: str) -> Any:  # noqa: ANN401 - a closure
    """Requests of which every state and every premise is new; clients are spread over the replicas."""

    def make(client: int, number: int) -> tuple[str, Body]:
        name = f"{label} {client} {number}"
        return replicas[client % len(replicas)].url, body_of(f"⊢ {name}", texts(name, 40))

    return make


def judge(heard: Sequence[Heard]) -> None:
    """Every answer is right or says in time why there is none."""
    wrong = [(each.status, each.answer) for each in heard if each.wrong]
    assert not wrong, wrong[:3]
    assert {each.status for each in heard} <= {200, 503}, "a job was lost: its request ran into its deadline"
    refused = [each for each in heard if each.status == 503]
    assert all(each.retry_after > 0 for each in refused)
    assert max((each.seconds for each in refused), default=0.0) < SLOWEST_REFUSAL_SECONDS


def waited(heard: Sequence[Heard], gone: float, back: float) -> int:
    """Requests that were under way when Redis went and were answered rightly after it had come back."""
    return sum(each.status == 200 and each.started < gone and each.started + each.seconds > back for each in heard)


def recovered(replica: Replica, label: str) -> float:
    """Seconds until a request with new texts is answered rightly again."""
    started = time.monotonic()
    attempts = 0
    while True:
        attempts += 1
        heard = post(replica.url, body_of(f"⊢ {label} {attempts}", texts(f"{label} {attempts}", 10)))
        if heard.status == 200 and not heard.wrong:
            return time.monotonic() - started
        assert time.monotonic() - started < PATIENCE_SECONDS, heard


def wait_for_more(load: Steady) -> None:
    """Until each client has heard about two answers more."""
    answered = len(load.heard)
    wait_until(lambda: len(load.heard) > answered + 2 * CLIENTS)


def wait_for_held_jobs(deployment: Deployment) -> None:
    """Close the gate, until half of the clients wait for the worker."""
    deployment.gate.touch()
    wait_until(lambda: len(deployment.workers()[0].held_jobs) >= CLIENTS // 2)


def embedded_times(deployment: Deployment, body: Body) -> set[int]:
    """How often the premises of a request have been embedded."""
    counts = Counter(deployment.embedded_texts())
    return {counts[journal_line(new["decl"])] for new in body["new_premises"]}


def settle(deployment: Deployment) -> None:
    wait_until(deployment.is_idle)
    assert deployment.backlog()["dead_letters"] == 0


@pytest.mark.parametrize("away_seconds", [SHORT_OUTAGE_SECONDS, 10])
def test_a_killed_redis_costs_no_answer_and_no_job(
    deploy: Deploy, background: Background, faults: list[Fault], extent: Extent, away_seconds: int
) -> None:
    if away_seconds > SHORT_OUTAGE_SECONDS:
        extent.only_in_full()
    tries = extent.choose(1, 2 if away_seconds == SHORT_OUTAGE_SECONDS else 1)
    with deploy(**SETTINGS) as deployment:
        deployment.start_worker()
        replicas = [deployment.start_replica() for _ in range(2)]
        slowest, in_flight = 0.0, 0
        outages: list[tuple[float, float]] = []
        load = background.steady(CLIENTS, fresh_requests(replicas, f"away {away_seconds}"))
        for _ in range(tries):
            wait_for_more(load)
            wait_for_held_jobs(deployment)
            in_flight += load.in_flight
            deployment.kill_redis()
            gone = time.monotonic()
            deployment.gate.unlink()
            for replica in replicas:
                assert httpx.get(f"{replica.url}/health/live", timeout=AT_ONCE_SECONDS).status_code == 200
                refused = post(replica.url, body_of(f"⊢ while away {gone}", []))
                assert (refused.status, refused.retry_after > 0, refused.seconds < AT_ONCE_SECONDS) == (503, True, True)
            threading.Event().wait(away_seconds)  # the fault itself
            deployment.start_redis()
            outages.append((gone, time.monotonic()))
            slowest = max(slowest, *(recovered(replica, f"after {gone}") for replica in replicas))
        heard = load.stop()
        judge(heard)
        settle(deployment)
        assert all(waited(heard, gone, back) for gone, back in outages), "no request waited for Redis to come back"
        faults.append(Fault.seen(f"Redis killed for {away_seconds} s, AOF", heard, slowest, in_flight=in_flight))
        assert deployment.logs("worker").count("ready.") == 1, "the worker had to be started again"


def test_without_aof_the_cache_is_gone_and_fills_again_and_nothing_hangs(
    deploy: Deploy, background: Background, faults: list[Fault]
) -> None:
    with deploy(append_only=False, **SETTINGS) as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        known = body_of("⊢ known", texts("known", 50))
        assert post(replica.url, known).status == 200
        assert embedded_times(deployment, known) == {1}
        load = background.steady(CLIENTS, fresh_requests([replica], "no aof"))
        wait_for_more(load)
        in_flight = load.in_flight
        deployment.kill_redis()
        deployment.start_redis()
        slowest = recovered(replica, "after")
        heard = load.stop()
        judge(heard)
        settle(deployment)
        again = post(deployment.start_replica().url, known)
        assert (again.status, again.wrong) == (200, False)
        assert embedded_times(deployment, known) == {2}, "the cache was not gone"
        faults.append(Fault.seen("Redis killed, no AOF", heard, slowest, in_flight=in_flight))


def test_a_frozen_redis_blocks_no_event_loop(
    deploy: Deploy, background: Background, faults: list[Fault], extent: Extent
) -> None:
    with deploy(**SETTINGS) as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        load = background.steady(CLIENTS, fresh_requests([replica], "frozen"))
        wait_for_more(load)
        in_flight = load.in_flight
        with deployment.frozen_redis():
            frozen = time.monotonic()
            while time.monotonic() - frozen < extent.choose(6, 10):
                asked = time.monotonic()
                assert httpx.get(f"{replica.url}/health/live", timeout=AT_ONCE_SECONDS).status_code == 200
                assert time.monotonic() - asked < BLOCKED_SECONDS
        slowest = recovered(replica, "thawed")
        heard = load.stop()
        judge(heard)
        settle(deployment)
        name = f"Redis frozen for {extent.choose(6, 10)} s"
        faults.append(Fault.seen(name, heard, slowest, in_flight=in_flight))
        assert deployment.logs("worker").count("ready.") == 1, "the worker had to be started again"


def test_no_request_outlives_an_editors_deadline_while_redis_is_frozen(
    deploy: Deploy, background: Background, extent: Extent
) -> None:
    extent.only_in_full()
    editors_seconds = 10
    with deploy(**SETTINGS, RETRIEVE_TIMEOUT_SECONDS="9") as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        load = background.steady(5 * CLIENTS, fresh_requests([replica], "editors"))
        wait_until(lambda: len(load.heard) > 5 * CLIENTS)
        with deployment.frozen_redis():
            threading.Event().wait(15)  # the fault itself
        heard = load.stop()
        assert not any(each.wrong for each in heard)
        assert {each.status for each in heard} <= {200, 429, 503, 504}
        lines = [line for line in deployment.logs("api").splitlines() if "POST /retrieve" in line]
        assert max(float(line.partition("total_ms=")[2].split()[0]) for line in lines) < 1000 * editors_seconds
        settle(deployment)
