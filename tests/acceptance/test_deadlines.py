"""Every caller hears something in time: no worker, a stuck worker, and partial answers."""

import signal
import time

import httpx

from shared.messages import Priority
from shared.redis_client import leases_key
from tests.acceptance.conftest import Deploy
from tests.acceptance.deployment import NAMESPACE, SOON
from tests.acceptance.fault_report import Fault
from tests.acceptance.load import Background, body_of, is_right, post, texts
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until

AT_ONCE_SECONDS = 8.0
"""On a busy machine; what waits does so to its deadline."""


def test_without_a_worker_a_new_request_hears_503_at_once_and_an_accepted_one_waits_to_its_deadline(
    deploy: Deploy, background: Background, faults: list[Fault]
) -> None:
    deadline_seconds = 20
    with deploy(**SOON, RETRIEVE_TIMEOUT_SECONDS=str(deadline_seconds)) as deployment:
        worker = deployment.start_worker()
        replica = deployment.start_replica()
        known = body_of("⊢ known", texts("known", 10))
        assert post(replica.url, known).status == 200
        deployment.gate.touch()
        accepted = background.post(replica.url, body_of("⊢ accepted", texts("accepted", 10)))
        wait_until(lambda: any(each.held_jobs for each in deployment.workers()))
        worker.stop(signal.SIGKILL)
        wait_until(lambda: not deployment.workers())
        wait_until(lambda: not replica.is_ready())
        refused = post(replica.url, body_of("⊢ new", texts("new", 10)))
        assert refused.status == 503
        assert refused.seconds < AT_ONCE_SECONDS
        assert refused.retry_after > 0
        assert post(replica.url, known).status == 200, "what is cached needs no worker"
        joining = post(replica.url, body_of("⊢ accepted", texts("accepted", 10)))
        assert (joining.status, joining.seconds < AT_ONCE_SECONDS) == (503, True), "it joined a wait without hope"
        late = accepted.result(PATIENCE_SECONDS)
        assert late.status == 504
        assert deadline_seconds - 1 < late.seconds < deadline_seconds + AT_ONCE_SECONDS
        deployment.gate.unlink()
        deployment.start_worker()
        wait_until(deployment.is_idle)
        assert len(deployment.embedded_texts()) == 11, "work that nobody waits for any more was done"
        faults.append(Fault.seen("no worker at all", [refused, joining, late], refused.seconds))


def test_a_stuck_worker_costs_a_504_at_the_deadline_and_what_it_had_done_is_kept(deploy: Deploy) -> None:
    with deploy(RETRIEVE_TIMEOUT_SECONDS="3", FAKE_WORKER_TOKENS_PER_SECOND="2000") as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        body = body_of("⊢ slow", texts("slow", 200))  # 8,000 tokens: 4 seconds
        late = post(replica.url, body)
        assert late.status == 504
        assert 2.5 < late.seconds < 3 + AT_ONCE_SECONDS
        assert isinstance(late.answer, dict)
        assert "try again" in late.answer["detail"]

        def answered() -> bool:
            wait_until(deployment.is_idle)  # else a text that is just being stored is not in the cache yet
            return post(replica.url, body).status == 200

        wait_until(answered)
        assert len(deployment.embedded_texts()) == 201, "a text was embedded twice"


def test_with_a_deadline_before_its_own_an_editor_that_gives_up_after_ten_seconds_hears_why(deploy: Deploy) -> None:
    with deploy(RETRIEVE_TIMEOUT_SECONDS="4") as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        lean_lsp = {"state": "⊢ True", "new_premises": [], "k": 5}
        response = httpx.post(f"{replica.url}/retrieve", json=lean_lsp, timeout=10)
        assert (response.status_code, len(response.json())) == (200, 5)
        deployment.gate.touch()
        response = httpx.post(f"{replica.url}/retrieve", json=lean_lsp | {"state": "⊢ stuck"}, timeout=10)
        assert response.status_code == 504
        assert "try again" in response.json()["detail"]
        deployment.gate.unlink()
        wait_until(deployment.is_idle)


def test_a_job_lives_as_long_as_the_longest_of_those_who_wait_for_it(deploy: Deploy, background: Background) -> None:
    with deploy(RETRIEVE_TIMEOUT_SECONDS="18") as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        deployment.gate.touch()
        body = body_of("⊢ shared", texts("shared", 5))
        first = background.post(replica.url, body)
        leases = leases_key(NAMESPACE, Priority.STATE)
        wait_until(lambda: deployment.client.zcard(leases) == 1)
        [lease] = deployment.client.zrange(leases, 0, -1)
        assert isinstance(lease, bytes)
        lease_ends = float(deployment.client.zscore(leases, lease) or 0)  # five seconds after the first one's deadline
        wait_until(lambda: time.time() > lease_ends - 12)
        second = background.post(replica.url, body)
        assert first.result(PATIENCE_SECONDS).status == 504
        wait_until(lambda: time.time() > lease_ends + 0.5)
        deployment.gate.unlink()
        heard = second.result(PATIENCE_SECONDS)
        assert (heard.status, heard.wrong) == (200, False), heard.answer
        assert replica.status()["replica"]["reenqueued_jobs"] == 0
        assert sum(worker.dropped_jobs for worker in deployment.workers()) == 0


def test_a_partial_answer_holds_what_is_embedded_and_the_rest_goes_on_for_the_next_call(
    deploy: Deploy, faults: list[Fault]
) -> None:
    settings = {"PARTIAL_RESULTS": "true", "PARTIAL_AFTER_SECONDS": "4", "FAKE_WORKER_TOKENS_PER_SECOND": "1000"}
    with deploy(**settings) as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        body = body_of("⊢ a goal", texts("cold", 300))  # 12,000 tokens: 12 seconds
        partial = post(replica.url, body)
        assert partial.status == 200
        took_part, asked_for = map(int, partial.headers["x-partial-results"].split("/"))
        assert asked_for == 300
        assert 0 < took_part < 300
        assert 3.9 < partial.seconds < 11
        assert is_right(body, partial.answer, missing=300 - took_part)
        wait_until(lambda: len(deployment.embedded_texts()) == 301)
        whole = post(replica.url, body)
        assert (whole.status, whole.wrong, "x-partial-results" in whole.headers) == (200, False, False)
        assert len(deployment.embedded_texts()) == 301, "the rest was embedded twice"
        wait_until(deployment.is_idle)
        assert replica.status()["replica"]["awaited_jobs"] == 0
        faults.append(Fault.seen("new premises later than PARTIAL_AFTER_SECONDS", [whole], partial.seconds))


def test_a_partial_answer_waits_for_its_state_and_an_unembedded_premise_leaves_the_indexed_one_in_its_place(
    deploy: Deploy,
) -> None:
    settings = {"PARTIAL_RESULTS": "true", "PARTIAL_AFTER_SECONDS": "0.5", "RETRIEVE_TIMEOUT_SECONDS": "60"}
    with deploy(**settings) as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        deployment.gate.write_text("3.0")
        body = {
            "state": "⊢ patient",
            "new_premises": [{"name": "Nat.add_comm", "decl": "a new spelling"}],
            "local_premises": ["Nat.add_comm"],
            "imported_modules": [],
            "k": 5,
        }
        response = httpx.post(f"{replica.url}/retrieve", json=body, timeout=PATIENCE_SECONDS)
        assert response.status_code == 200
        assert response.headers["x-partial-results"] == "0/1"
        assert [premise["name"] for premise in response.json()] == ["Nat.add_comm"]


def test_a_partial_hybrid_answer_is_that_to_the_request_without_what_was_left_out(deploy: Deploy) -> None:
    with deploy(PARTIAL_RESULTS="true", PARTIAL_AFTER_SECONDS="0.5", SELECTOR="hybrid") as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        ready = {"name": "My.ready", "decl": "theorem My.ready (n : Nat) : Eq (HAdd.hAdd n 0) n"}
        late = {"name": "Nat.add_zero", "decl": "theorem Nat.add_zero (n : Nat) : Eq n (HAdd.hAdd n 0)"}

        def ask(*new_premises: dict[str, str]) -> httpx.Response:
            body = {"state": "n : Nat\n⊢ Eq (HAdd.hAdd n 0) n", "new_premises": new_premises, "k": 1024}
            return httpx.post(f"{replica.url}/retrieve", json=body, timeout=PATIENCE_SECONDS).raise_for_status()

        wait_until(lambda: "x-partial-results" not in ask(ready).headers)
        deployment.gate.touch()
        without = ask(ready)
        partial = ask(late, ready)
        assert (partial.headers["x-partial-results"], partial.headers["x-selector"]) == ("1/2", "hybrid")
        assert partial.json() == without.json()
        assert {"My.ready", "Nat.add_zero"} <= {premise["name"] for premise in partial.json()}
        deployment.gate.unlink()
        wait_until(lambda: "x-partial-results" not in ask(late, ready).headers)
        assert ask(late, ready).json() != partial.json()
