"""Asking a server over HTTP: what its answers, headers and refusals are taken for."""

import asyncio
from collections.abc import Callable

import httpx
import numpy as np
import pytest

from api.evaluation.accessible_premises import AccessiblePremises
from api.evaluation.http_ranker import DEFAULT_RETRY_SECONDS, HttpRanker, open_http_ranker, retry_after_seconds
from api.evaluation.ranker import QueryRefusedError, Ranking, RankingRequest
from api.evaluation.run import Answerer
from shared.corpus import read_corpus
from shared.demo import demo_corpus_path
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


def look_at(handler: Handler) -> None:
    """The first look at a server that behaves as the handler says."""

    corpus = read_corpus(demo_corpus_path())

    async def looked() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler), base_url="http://host/v1") as client:
            ranker = HttpRanker(client, Answerer(through="http", server="http://host/v1"))
            await ranker.check(corpus, request())

    asyncio.run(looked())


def open_and_close(address: str, key: str | None) -> None:
    async def opened() -> None:
        async with open_http_ranker(address, key, connections=1):
            pass

    asyncio.run(opened())


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


@pytest.mark.parametrize("body", [{"detail": "hm"}, [1], "x", [["A.t"]], [{"name": []}], {}])
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


@pytest.mark.parametrize("status", [413, 422])
def test_a_refused_goal_is_a_refusal(status: int) -> None:
    with pytest.raises(QueryRefusedError, match="too long"):
        ask(answering(status, {"detail": "too long"}), request())


def test_a_wrong_key_says_where_keys_go() -> None:
    with pytest.raises(EvaluationError, match="PREMISES_API_KEY"):
        ask(answering(401, {"detail": "This server wants a key."}), request())


def test_other_statuses_end_the_evaluation_with_the_server_s_words_or_the_status_s() -> None:
    with pytest.raises(EvaluationError, match="404: nothing here"):
        ask(answering(404, {"detail": "nothing here"}), request())
    with pytest.raises(EvaluationError, match="418: I'm a teapot"):
        ask(lambda _request: httpx.Response(418, text="<html>"), request())


@pytest.mark.parametrize(
    ("status", "content"), [(200, b"<html>"), (204, b""), (200, b"5"), (200, b"[5]"), (200, b'{"name": "A"}')]
)
def test_what_is_no_list_of_names_is_told_before_the_first_goal(status: int, content: bytes) -> None:
    with pytest.raises(EvaluationError, match="is no list of names"):
        look_at(lambda _request: httpx.Response(status, content=content))


def test_what_is_not_compressed_as_it_says_is_told_at_once() -> None:
    asked: list[httpx.Request] = []

    def damage(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"[]"))

    for refused in (lambda: look_at(damage), lambda: ask(damage, request())):
        with pytest.raises(EvaluationError, match="Content-Encoding"):
            refused()
    assert len(asked) == 2


@pytest.mark.parametrize("told", ["9" * 6000, "9" * 10, "Fri, 31 Dec 1999 23:59:59 GMT", "-1", ""])
def test_a_time_to_come_back_that_nobody_can_mean_is_a_short_one(told: str) -> None:
    assert retry_after_seconds(httpx.Response(429, headers={"Retry-After": told})) == DEFAULT_RETRY_SECONDS


@pytest.mark.parametrize("address", ["http://[::", "http://☃", "http://host:port", "http://a\x01", "host:8000", ""])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(EvaluationError, match="--server takes an address"):
        open_and_close(address, None)


@pytest.mark.parametrize("key", ["kéy", "a key", "key\n"])
def test_a_key_that_no_header_can_carry_is_told_and_not_shown(key: str) -> None:
    with pytest.raises(EvaluationError, match="PREMISES_API_KEY") as told:
        open_and_close("http://host", key)
    assert key not in str(told.value)
