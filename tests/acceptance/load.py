"""Requests whose answers the test knows, sent by many clients at once."""

import asyncio
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import httpx
import orjson

from shared.embedding_cache import Vector
from tests.embedding_fakes import PATIENCE_SECONDS, FakeEncoder, fake_vector

Body = Mapping[str, Any]

ANSWERS_ON_PURPOSE = {200, 429, 503, 504}
SAME_SCORE = 1e-4
JSON = {"Content-Type": "application/json"}


def body_of(state: str, premises: Sequence[str], k: int = 1024) -> dict[str, Any]:
    """A request that ranks its new premises alone."""
    new = [{"name": f"new_{number}", "decl": text} for number, text in enumerate(premises)]
    return {"state": state, "imported_modules": [], "local_premises": [], "new_premises": new, "k": k}


def texts(label: str, count: int, length: int = 40) -> list[str]:
    """Distinct premises of `length` tokens, as the fake encoder counts them."""
    return [f"{label} {number} ".ljust(length, "x") for number in range(count)]


def is_right(body: Body, answer: object, missing: int = 0) -> bool:
    """Whether an answer is the right ranking of the body's new premises; `missing` of them may be absent."""
    if not isinstance(answer, list):
        return False
    state, *decls = _vectors([body["state"], *(new["decl"] for new in body["new_premises"])])
    scores = {new["name"]: float(state @ decl) for new, decl in zip(body["new_premises"], decls, strict=True)}
    names, told = [entry["name"] for entry in answer], [entry["score"] for entry in answer]
    complete = len(set(names)) == len(names) == min(len(scores) - missing, body["k"])
    exact = all(abs(scores[name] - score) < SAME_SCORE for name, score in zip(names, told, strict=True))
    ranked = all(first >= second for first, second in pairwise(told))
    best = sorted(scores.values(), reverse=True)[: len(told)]
    return complete and exact and ranked and (missing > 0 or not told or told[-1] >= best[-1] - SAME_SCORE)


@lru_cache(maxsize=10_000)
def _vector(text: str) -> Vector:
    [token_ids] = FakeEncoder().tokenize([text])
    return fake_vector(token_ids)


def _vectors(of: Sequence[str]) -> list[Vector]:
    return list(map(_vector, of))


@dataclass(frozen=True)
class Heard:
    """What a client heard; status 0: the connection broke."""

    status: int
    started: float
    """time.monotonic"""
    seconds: float
    body: Body
    answer: object
    headers: Mapping[str, str]

    @property
    def wrong(self) -> bool:
        """An answer that is not right, or one that nobody meant to give."""
        if self.status == 200:
            return not is_right(self.body, self.answer)
        return self.status not in ANSWERS_ON_PURPOSE or not isinstance(self.answer, dict)

    @property
    def retry_after(self) -> int:
        return int(self.headers["retry-after"])


def p95(values: Sequence[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else max(values, default=0.0)


async def ask(client: httpx.AsyncClient, url: str, body: Body) -> Heard:
    """One `/retrieve`."""
    started = time.monotonic()
    try:
        response = await client.post(f"{url}/retrieve", content=orjson.dumps(body), headers=JSON)
    except httpx.TransportError as error:
        return Heard(0, started, time.monotonic() - started, body, type(error).__name__, {})
    seconds = time.monotonic() - started
    return Heard(response.status_code, started, seconds, body, response.json(), dict(response.headers))


async def ask_until_answered(client: httpx.AsyncClient, url: str, body: Body, deadline_seconds: float) -> list[Heard]:
    """Ask as a patient client does: again after `Retry-After`, until 200 or the deadline."""
    gives_up_at = time.monotonic() + deadline_seconds
    heard = [await ask(client, url, body)]
    while heard[-1].status != 200 and time.monotonic() < gives_up_at:
        await asyncio.sleep(min(1.0, float(heard[-1].headers.get("retry-after", 0.2))))
        heard.append(await ask(client, url, body))
    return heard


def make_client(timeout_seconds: float = 4 * PATIENCE_SECONDS) -> httpx.AsyncClient:
    """A client without limits of its own."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(timeout=timeout_seconds, limits=limits)


def post(url: str, body: Body, timeout_seconds: float = 4 * PATIENCE_SECONDS) -> Heard:
    """One `/retrieve`, waited for."""

    async def session() -> Heard:
        async with make_client(timeout_seconds) as client:
            return await ask(client, url, body)

    return asyncio.run(session())


class Background:
    """An event loop in a thread, so that a test can break things while requests are under way."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="clients", daemon=True)

    def __enter__(self) -> "Background":
        self._thread.start()
        self._client = self.run(_entered(make_client())).result()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(_cancel_others()).result(PATIENCE_SECONDS)  # of a test that failed
        self.run(self._client.aclose()).result(PATIENCE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()

    def run(self, work: Awaitable[Any]) -> Future[Any]:
        """Start work on the loop."""

        async def awaited() -> Any:  # noqa: ANN401 - whatever the work gives
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop)

    def post(self, url: str, body: Body) -> "Future[Heard]":
        """Send one request and go on."""
        return self.run(ask(self._client, url, body))

    def steady(self, clients: int, make_request: Callable[[int, int], tuple[str, Body]]) -> "Steady":
        """Clients that ask one request after the other until stopped; `make_request(client, number)` makes them."""
        return Steady(self, self._client, clients, make_request)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _entered(client: httpx.AsyncClient) -> httpx.AsyncClient:
    return await client.__aenter__()


@dataclass
class Steady:
    """Clients under way; `stop` ends them after the request that each has open and returns what all heard."""

    background: Background
    client: httpx.AsyncClient
    clients: int
    make_request: Callable[[int, int], tuple[str, Body]]
    heard: list[Heard] = field(default_factory=list)
    in_flight: int = 0
    _stopping: bool = False

    def __post_init__(self) -> None:
        self._running = [self.background.run(self._client(number)) for number in range(self.clients)]

    async def _client(self, number: int) -> None:
        count = 0
        while not self._stopping:
            url, body = self.make_request(number, count)
            self.in_flight += 1
            heard = await ask(self.client, url, body)
            self.in_flight -= 1
            self.heard.append(heard)
            count += 1
            if heard.status != 200:
                await asyncio.sleep(0.1)

    def stop(self, seconds: float = 2 * PATIENCE_SECONDS) -> list[Heard]:
        self._stopping = True
        for running in self._running:
            running.result(seconds)
        return self.heard
