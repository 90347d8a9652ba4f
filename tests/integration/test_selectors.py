"""The request's choice of a selector, on the demo corpus."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.fake_deployment import fake_deployment
from tests.processes import run_prepare, running_api

GOAL = "n : Nat\n⊢ Eq (HAdd.hAdd n 0) n"
NEW_PREMISE = {"name": "My.only_here", "decl": "theorem My.only_here (n : Nat) : Eq (HAdd.hAdd n 0) n"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("selectors")
    with ExitStack() as stack:
        fake = stack.enter_context(fake_deployment(folder))
        stack.enter_context(fake.worker())
        run_prepare(folder / "prepare.log", fake.environment)
        url = stack.enter_context(running_api(folder / "api.log", fake.environment))
        yield stack.enter_context(httpx.Client(base_url=url, timeout=120))


def ask(server: httpx.Client, **fields: object) -> httpx.Response:
    return server.post("/retrieve", json={"state": GOAL, "k": 8, **fields})


def retrieve(server: httpx.Client, **fields: object) -> list[dict[str, Any]]:
    response = ask(server, **fields)
    assert response.status_code == 200, response.text
    answer: list[dict[str, Any]] = response.json()
    return answer


def test_null_and_absent_mean_the_servers_own_selector(server: httpx.Client) -> None:
    assert retrieve(server) == retrieve(server, selector=None) == retrieve(server, selector="dense")


def test_the_answer_names_what_ranked_it(server: httpx.Client) -> None:
    assert ask(server).headers["X-Selector"] == "dense"
    assert ask(server, selector="hybrid").headers["X-Selector"] == "hybrid"


def test_an_unknown_selector_is_refused_with_those_that_there_are(server: httpx.Client) -> None:
    response = ask(server, selector="sparse")
    assert response.status_code == 422
    assert "'dense' or 'hybrid'" in response.text


def test_hybrid_scores_are_between_0_and_1_best_first(server: httpx.Client) -> None:
    scores = [premise["score"] for premise in retrieve(server, selector="hybrid", k=1024)]
    assert scores == sorted(scores, reverse=True)
    assert scores
    assert all(0 <= score <= 1 for score in scores)


def test_hybrid_ranks_all_that_dense_ranks(server: httpx.Client) -> None:
    both = [{premise["name"] for premise in retrieve(server, selector=name, k=1024)} for name in ("dense", "hybrid")]
    assert both[0] == both[1]


def test_a_new_premise_takes_part_in_the_hybrid_ranking(server: httpx.Client) -> None:
    answer = retrieve(server, selector="hybrid", new_premises=[NEW_PREMISE])
    assert NEW_PREMISE["name"] in [premise["name"] for premise in answer]


def test_hybrid_sees_only_what_is_accessible(server: httpx.Client) -> None:
    answer = retrieve(server, selector="hybrid", new_premises=[NEW_PREMISE], imported_modules=[], k=100)
    assert [premise["name"] for premise in answer] == [NEW_PREMISE["name"]]


def test_each_state_of_a_list_gets_its_own_hybrid_ranking(server: httpx.Client) -> None:
    states = [GOAL, "a b : Nat\n⊢ Eq (HMul.hMul a b) (HMul.hMul b a)"]
    together = ask(server, selector="hybrid", state=states).json()
    assert together == [retrieve(server, selector="hybrid", state=state) for state in states]


def test_the_time_of_the_hybrid_ranking_is_told(server: httpx.Client) -> None:
    assert "rank;dur=" in ask(server, selector="hybrid").headers["Server-Timing"]
    assert "rank;dur=" not in ask(server).headers["Server-Timing"]
