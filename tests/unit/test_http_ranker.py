"""Asking a server over HTTP: what its answers, headers and refusals are taken for."""

import asyncio
from collections.abc import Callable

import httpx
import numpy as np
import pytest

from api.evaluation.accessible_premises import AccessiblePremises
from api.evaluation.http_ranker import HttpRanker
from api.evaluation.ranker import QueryRefusedError, Ranking, RankingRequest
from api.evaluation.run import Answerer
from shared.errors import EvaluationError

NOTHING = AccessiblePremises(np.empty(0, np.int64), np.empty(0, np.int64), 0)
PREMISE = {"score": 1.0, "name": "A.t"}

Handler = Callable[[httpx.Request], httpx.Response]


def ask(handler: Handler, *requests: RankingRequest) -> list[list[Ranking]]:
    """The answers of a server that behaves as the handler says."""

    async def asked() -> list[list[Ranking]]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler), base_url="http://host/v1") as client:
            ranker = HttpRanker(client, Answerer(through="http", server="http://host/v1"))
            return [await ranker.rank(request) for request in requests]

    return asyncio.run(asked())


def request(*states: str, selector: str | None = None) -> RankingRequest:
    return RankingRequest(states or ("⊢ True",), NOTHING, 4, selector)


def answering(status: int = 200, json: object = None, **headers: str) -> Handler:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _request: httpx.Response(status, json=[PREMISE] if json is None else json, headers=sent)


def test_one_state_is_answered_by_an_array_and_several_by_a_list_of_arrays() -> None:
    assert ask(answering(), request()) == [[["A.t"]]]
    assert ask(answering(json=[[PREMISE], []]), request("a", "b")) == [[["A.t"], []]]


def test_the_prefix_of_the_address_is_part_of_the_path() -> None:
    paths: list[str] = []

    def note(asked: httpx.Request) -> httpx.Response:
        paths.append(asked.url.path)
        return httpx.Response(200, json=[])

    ask(note, request())
    assert paths == ["/v1/retrieve"]


@pytest.mark.parametrize("body", [{"detail": "hm"}, [1], "x", [["A.t"]]])
def test_what_is_no_ranking_is_told(body: object) -> None:
    with pytest.raises(EvaluationError, match="is no ranking"):
        ask(answering(json=body), request())


def test_another_number_of_rankings_than_states_is_told() -> None:
    with pytest.raises(EvaluationError, match="1 rankings for 2 goals"):
        ask(answering(json=[[PREMISE]]), request("a", "b"))


def test_a_server_that_knows_no_selectors_is_not_taken_for_hybrid() -> None:
    with pytest.raises(EvaluationError, match="--selector hybrid"):
        ask(answering(), request(selector="hybrid"))
    with pytest.raises(EvaluationError, match="ranked by dense"):
        ask(answering(X_Selector="dense"), request(selector="hybrid"))
    assert ask(answering(), request(selector="dense")) == [[["A.t"]]]
    assert ask(answering(X_Selector="hybrid"), request(selector="hybrid")) == [[["A.t"]]]


@pytest.mark.parametrize("header", ["X-Selector", "X-Corpus-Digest", "X-Model-Namespace", "X-Corpus-Revision"])
def test_a_server_that_changes_meanwhile_ends_the_evaluation(header: str) -> None:
    values = iter("aab")

    def change(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[PREMISE], headers={header: next(values)})

    with pytest.raises(EvaluationError, match="than before"):
        ask(change, request(), request(), request())


def test_a_refused_goal_is_a_refusal_and_a_wrong_key_says_where_keys_go() -> None:
    with pytest.raises(QueryRefusedError, match="too long"):
        ask(answering(422, {"detail": "too long"}), request())
    with pytest.raises(EvaluationError, match="PREMISES_API_KEY"):
        ask(answering(401, {"detail": "This server wants a key."}), request())


def test_other_statuses_end_the_evaluation_with_the_server_s_words_or_the_status_s() -> None:
    with pytest.raises(EvaluationError, match="404: nothing here"):
        ask(answering(404, {"detail": "nothing here"}), request())
    with pytest.raises(EvaluationError, match="418: I'm a teapot"):
        ask(lambda _request: httpx.Response(418, text="<html>"), request())
