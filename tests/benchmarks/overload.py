"""Overload: two hundred clients upload ten times what the worker can embed, and come back when they are told to.

The worker is a double of a set speed, the bodies are of the size of real uploads.  Refusals are timed by the server's
own log, from the arrival of the body to the answer.
"""

import asyncio
import random
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import orjson

from tests.acceptance.deployment import Deployment, Replica, deployed
from tests.acceptance.load import JSON, Background, body_of, p95, post, texts
from tests.benchmarks.comparison import Comparison

CLIENTS = 200
PREMISES = 2048
PREMISE_CHARACTERS = 280
"""What a real declaration has on average; the model of the double reads all of them as tokens."""
DEADLINE_SECONDS = 20
SECONDS = 40
SECTION = "Overload"


@dataclass
class Heard:
    """Statuses and times of all clients."""

    accepted_seconds: list[float] = field(default_factory=list)
    refused: int = 0
    others: list[int] = field(default_factory=list)


def measure_overload(folder: Path) -> Iterator[Comparison]:
    """Some two minutes."""
    speed = str(PREMISES * PREMISE_CHARACTERS * CLIENTS // DEADLINE_SECONDS // 10)
    deadline = str(DEADLINE_SECONDS)
    with ExitStack() as stack:
        deployment = stack.enter_context(
            deployed(folder, FAKE_WORKER_TOKENS_PER_SECOND=speed, RETRIEVE_TIMEOUT_SECONDS=deadline)
        )
        deployment.start_worker()
        deployment.prepare()
        replica = deployment.start_replica()
        background = stack.enter_context(Background())
        cached = texts("cached", 50)
        post(replica.url, body_of("⊢ warm", cached))
        editors = background.steady(4, lambda client, number: (replica.url, body_of(f"⊢ {client} {number}", cached)))
        heard = asyncio.run(upload_for_a_while(replica.url))
        states = editors.stop()
        yield from figures(deployment, replica, heard)
        others = len(heard.others) + sum(each.status != 200 for each in states)
        yield Comparison(section=SECTION, what="answers that were neither 200 nor 429", ours=others, unit="", target=0)


def figures(deployment: Deployment, replica: Replica, heard: Heard) -> Iterator[Comparison]:
    """What clients and the server's log tell."""
    refusals = deployment.answer_seconds(429)
    count = f"{CLIENTS} clients, {len(heard.accepted_seconds)} uploads accepted, {heard.refused} refused"
    yield Comparison(
        section=SECTION, what=f"{count}: 429 after the body arrived, p95", ours=1e3 * p95(refusals), unit="ms",
        target=100,
    )  # fmt: skip
    yield Comparison(
        section=SECTION, what="slowest accepted upload", ours=max(heard.accepted_seconds, default=0), unit="s",
        target=DEADLINE_SECONDS,
    )  # fmt: skip
    goals = statistics.quantiles(deployment.answer_seconds(200, "enqueued_jobs=1"), n=100)
    for name, seconds in (("p95", goals[94]), ("p99", goals[98])):
        yield Comparison(
            section=SECTION, what=f"goals with cached premises meanwhile, {name}", ours=1e3 * seconds, unit="ms"
        )
    memory = replica.usage().memory_info().rss / 2**20
    yield Comparison(section=SECTION, what="memory of the API process afterwards", ours=memory, unit="MB")


async def upload_for_a_while(url: str) -> Heard:
    """All clients, until each has been answered after the time is over."""
    heard, until = Heard(), asyncio.get_running_loop().time() + SECONDS
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=120, limits=limits) as client:
        await asyncio.gather(*(upload_repeatedly(client, url, number, heard, until) for number in range(CLIENTS)))
    return heard


async def upload_repeatedly(client: httpx.AsyncClient, url: str, number: int, heard: Heard, until: float) -> None:
    """A client with ever new premises that honours Retry-After."""
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(random.uniform(0, 1))
    uploads = 0
    while clock() < until:
        body = orjson.dumps(
            body_of(f"⊢ {number} {uploads}", texts(f"{number} {uploads}", PREMISES, PREMISE_CHARACTERS))
        )
        started = clock()
        response = await client.post(f"{url}/retrieve", content=body, headers=JSON)
        if response.status_code == 200:
            uploads += 1
            heard.accepted_seconds.append(clock() - started)
        elif response.status_code == 429:
            heard.refused += 1
            await asyncio.sleep(float(response.headers["retry-after"]))
        else:
            heard.others.append(response.status_code)
