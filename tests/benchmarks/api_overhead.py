"""CPU time of the API process for requests that need no embedding, over the demo corpus.

The cheapest route shows what server, framework and middleware take; what `/retrieve` takes beyond it is its own.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Literal

from shared.corpus import read_corpus
from shared.demo import demo_corpus_path
from tests.benchmarks.comparison import Comparison
from tests.benchmarks.measured_api import MeasuredApi, retrieval, running_backend, running_measured_api

DIMENSION = 384
REQUESTS = 500
WARM_UP_REQUESTS = 100

Connection = Literal["kept", "new"]


@dataclass(frozen=True, slots=True)
class OverheadRow:
    """One kind of request, sent one after the other."""

    request: str
    connection: Connection
    """`kept` alive, or `new` for each request, as Lean's curl does."""
    requests: int
    cpu_ms: float
    """CPU time of the whole API process for one request."""
    wall_ms: float
    """Median time at the client."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request that is sent again and again."""

    name: str
    method: str
    path: str
    body: bytes | None = None


def measure_overhead(folder: Path, *, requests: int = REQUESTS) -> list[OverheadRow]:
    """Measure an API process of its own over the demo corpus."""
    corpus = read_corpus(demo_corpus_path())
    with running_backend(folder, corpus, dimension=DIMENSION, goals=1) as backend:
        questions = [
            Question("GET /max-new-premises", "GET", "/max-new-premises"),
            Question("POST /retrieve, k = 32, all modules", "POST", "/retrieve", retrieval(backend.goals[0])),
            Question(
                "POST /retrieve, k = 32, by modules",
                "POST",
                "/retrieve",
                retrieval(backend.goals[0], modules=list(range(len(corpus.modules)))),
            ),
        ]
        with running_measured_api(backend) as api:
            return [
                measure(api, question, connection, requests) for question in questions for connection in ("kept", "new")
            ]


def measure(api: MeasuredApi, question: Question, connection: Connection, requests: int) -> OverheadRow:
    """Send one question `requests` times, after a few to warm up."""
    send(api, question, connection, WARM_UP_REQUESTS)
    before = api.cpu_seconds()
    walls = send(api, question, connection, requests)
    cpu = api.cpu_seconds() - before
    return OverheadRow(question.name, connection, requests, 1000 * cpu / requests, 1000 * statistics.median(walls))


def send(api: MeasuredApi, question: Question, connection: Connection, requests: int) -> list[float]:
    """Ask one question again and again; returns the seconds that each answer took."""
    client = HTTPConnection("127.0.0.1", api.port, timeout=60)
    walls = []
    for _ in range(requests):
        started = time.perf_counter()
        client.request(question.method, question.path, question.body)
        response = client.getresponse()
        content = response.read()
        walls.append(time.perf_counter() - started)
        assert response.status == 200, content
        if connection == "new":
            client.close()
    client.close()
    return walls


def compare_overhead(folder: Path) -> Iterator[Comparison]:
    """The rows as figures of a report."""
    for row in measure_overhead(folder):
        target = 3 if row.request.startswith("POST") else None
        what = f"{row.request}, {row.connection} connection"
        section = "Cached requests over the demo corpus"
        yield Comparison(section=section, what=f"{what}: API CPU", ours=row.cpu_ms, unit="ms", target=target)
        yield Comparison(section=section, what=f"{what}: at the client", ours=row.wall_ms, unit="ms")
