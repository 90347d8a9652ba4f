"""Ranks by asking a running server, as Lean clients do."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

import httpx
import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError

from api.evaluation.ranker import FIRST_TRIES, QueryRefusedError, Ranking, RankingRequest, patiently
from api.evaluation.run import Answerer
from api.provenance import DIGEST_HEADER, NAMESPACE_HEADER, PROVENANCE_HEADERS, REVISION_HEADER, SELECTOR_HEADER
from shared.corpus import Corpus
from shared.errors import DeadlineExceededError, EvaluationError, NotReadyError, OverloadedError

TIMEOUT_SECONDS = 150.0
"""Longer than the server's own deadline, so that it is the server that says what went wrong."""

DEFAULT_RETRY_SECONDS = 1
MOST_RETRY_DIGITS = 9
"""Some thirty years: what is longer is no time that a server can mean."""

KEY = re.compile(r"[!-~]+", re.ASCII)
"""What a header can carry as a key: visible ASCII."""


class _CorpusPart(BaseModel):
    revision: str | None = None
    digest: str | None = None


class _ModelPart(BaseModel):
    id: str | None = None
    namespace: str | None = None


class _Status(BaseModel):
    """What is read of `/status`."""

    corpus: _CorpusPart | None = None
    model: _ModelPart | None = None


class _RankedPremise(BaseModel):
    """What is read of each premise of a ranking."""

    name: str


_NAMES = TypeAdapter(list[str])
_RANKINGS = TypeAdapter(list[list[_RankedPremise]])


@dataclass
class HttpRanker:
    """Asks one server; `answerer` is known after `check`."""

    client: httpx.AsyncClient
    answerer: Answerer
    selector: str | None = None
    _origins: set[tuple[str | None, ...]] = field(default_factory=set)

    async def rank(self, request: RankingRequest) -> list[Ranking]:
        """See `Ranker`."""
        response = await patiently(lambda: self._post(request.body()))
        self._check_origin(response, request.selector)
        answers = _answers(response, many=len(request.states) > 1)
        if len(answers) != len(request.states):
            raise EvaluationError(
                f"{self.answerer.server} gave {len(answers)} rankings for {len(request.states)} goals."
            )
        return answers

    async def check(self, corpus: Corpus, probe: RankingRequest) -> None:
        """Make sure that the server's positions are those of the corpus, and learn what it says of itself.

        `probe` is a small request: its answer tells who ranks.  Raises `EvaluationError` where the server serves
        another corpus, wants a key, or is not there.
        """
        await self._require_equal("/indexed-modules", corpus.modules, "modules")
        await self._require_equal("/indexed-premises", corpus.unfiltered_names, "premises")
        status = await self._status()
        response = await patiently(lambda: self._post(probe.body()), tries=FIRST_TRIES)
        self._check_origin(response, probe.selector)
        told, served, model = response.headers, status.corpus or _CorpusPart(), status.model or _ModelPart()
        self.answerer = self.answerer.model_copy(
            update={
                "corpus_digest": told.get(DIGEST_HEADER, served.digest),
                "revision": unquote(told.get(REVISION_HEADER, served.revision or "")) or None,
                "model": model.id,
                "namespace": told.get(NAMESPACE_HEADER, model.namespace),
                "selector": told.get(SELECTOR_HEADER),
            }
        )

    async def _post(self, body: bytes) -> httpx.Response:
        try:
            response = await self.client.post("/retrieve", content=body, headers={"Content-Type": "application/json"})
        except httpx.TransportError as error:
            raise NotReadyError(f"{self.answerer.server} does not answer ({type(error).__name__}).") from error
        except httpx.DecodingError as error:
            raise _unreadable(self.answerer) from error
        _raise_for_status(response, str(self.answerer.server))
        return response

    async def _get(self, path: str) -> httpx.Response:
        try:
            response = await self.client.get(path)
        except httpx.TransportError as error:
            raise EvaluationError(
                f"No server answers at {self.answerer.server} ({type(error).__name__}): start one (`make serve`), "
                "name it by --server, or evaluate without one (--in-process)."
            ) from error
        except httpx.DecodingError as error:
            raise _unreadable(self.answerer) from error
        return response

    async def _require_equal(self, path: str, ours: Sequence[str], what: str) -> None:
        response = await patiently(lambda: self._get_list(path), tries=FIRST_TRIES)
        theirs = _names(response)
        if theirs != list(ours):
            raise EvaluationError(
                f"{self.answerer.server} serves another corpus than the one named here: its list of {what} has "
                f"{len(theirs)} names, ours has {len(ours)}, and they differ. Name its corpus by --data."
            )

    async def _get_list(self, path: str) -> httpx.Response:
        response = await self._get(path)
        _raise_for_status(response, str(self.answerer.server))
        return response

    async def _status(self) -> _Status:
        """What the server says of itself; a server of another kind says nothing."""
        response = await self._get("/status")
        try:
            return _Status.model_validate_json(response.content) if response.is_success else _Status()
        except ValidationError:
            return _Status()

    def _check_origin(self, response: httpx.Response, wanted: str | None) -> None:
        """Servers that know no selectors ignore the field, and would be measured under a false name."""
        told = response.headers.get(SELECTOR_HEADER)
        if wanted is not None and (told or "dense") != wanted:
            raise EvaluationError(
                f"{self.answerer.server} ranked by {told or 'the only way that it knows'}, though --selector {wanted} "
                "was asked for: leave --selector out, or ask a server that knows it."
            )
        self._origins.add(tuple(response.headers.get(name) for name in PROVENANCE_HEADERS))
        if len(self._origins) > 1:
            raise EvaluationError(
                f"{self.answerer.server} ranks by another corpus, model or selector than before: its replicas differ, "
                "or it was changed meanwhile. Evaluate anew once it is settled."
            )


def _answers(response: httpx.Response, *, many: bool) -> list[Ranking]:
    """The names of each ranking."""
    try:
        answer = orjson.loads(response.content)
        rankings = _RANKINGS.validate_python(answer if many else [answer])
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise _of_another_kind(response, "ranking") from error
    return [[premise.name for premise in ranking] for ranking in rankings]


def _names(response: httpx.Response) -> list[str]:
    """A list of names, as `/indexed-modules` gives it."""
    try:
        return _NAMES.validate_json(response.content)
    except ValidationError as error:
        raise _of_another_kind(response, "list of names") from error


def _of_another_kind(response: httpx.Response, wanted: str) -> EvaluationError:
    return EvaluationError(
        f"The answer of {response.url.copy_with(userinfo=b'')} is no {wanted}: is it a premise server? Name one by "
        "--server."
    )


def _unreadable(answerer: Answerer) -> EvaluationError:
    return EvaluationError(
        f"An answer of {answerer.server} is not compressed as its Content-Encoding says: ask the server without the "
        "proxy in between, or name another by --server."
    )


def _raise_for_status(response: httpx.Response, server: str) -> None:
    """The server's own errors by their names here, so that those worth another try are tried again."""
    if response.is_success:
        return
    why = f"{server} answered {response.status_code}: {_detail(response)}"
    match response.status_code:
        case 429:
            raise OverloadedError(f"{why} Try again later, or with less --concurrency.", retry_after_seconds(response))
        case 502 | 503:
            raise NotReadyError(why)
        case 504:
            raise DeadlineExceededError(why)
        case 413 | 422:  # of several goals in one body: each is asked for alone then
            raise QueryRefusedError(why)
        case 401:
            raise EvaluationError(f"{why} PREMISES_API_KEY, --key or the address (http://user:<key>@host) holds one.")
        case _:
            raise EvaluationError(why)


def _detail(response: httpx.Response) -> str:
    try:
        return str(orjson.loads(response.content)["detail"])
    except (orjson.JSONDecodeError, KeyError, TypeError):  # a proxy in between has answered
        return f"{response.reason_phrase}."


def retry_after_seconds(response: httpx.Response) -> int:
    """What a busy server says of when to come back; how long is in fact waited is bounded by `patiently`."""
    told = response.headers.get("Retry-After", "")
    return int(told) if told.isdecimal() and len(told) <= MOST_RETRY_DIGITS else DEFAULT_RETRY_SECONDS


@asynccontextmanager
async def open_http_ranker(address: str, key: str | None, *, connections: int) -> AsyncIterator[HttpRanker]:
    """A ranker by a server's address, `http://host:port/prefix`, with or without `user:key@`.

    Raises `EvaluationError` where the address or the key is none.
    """
    url = _read_address(address)
    if key and not KEY.fullmatch(key):
        raise EvaluationError(
            "The key has characters that no request can carry: give --key or PREMISES_API_KEY one of visible ASCII, "
            "without spaces and line ends."
        )
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    shown = Answerer(through="http", server=str(url.copy_with(userinfo=b"")))
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=TIMEOUT_SECONDS, limits=httpx.Limits(max_connections=connections)
    ) as client:
        yield HttpRanker(client, shown)


def _read_address(address: str) -> httpx.URL:
    try:
        url = httpx.URL(address.rstrip("/"))
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise EvaluationError("--server takes an address like http://127.0.0.1:8000 or http://host/v4.32.0.")
    return url
