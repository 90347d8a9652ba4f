"""Many requests of every kind: afterwards nothing has grown, and nothing is left over."""

import asyncio
import gzip
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.acceptance.conftest import Deploy, Extent
from tests.acceptance.deployment import Deployment, Replica
from tests.acceptance.fault_report import Fault
from tests.acceptance.load import Background, Body, body_of, is_right, texts
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.processes import Process

CLIENTS = 16
WARM_UP_SHARE = 0.3
MOST_GROWTH = 1.10
UPLOADS = 8
SPARE_DESCRIPTORS = 8
MOST_THREADS = 160
"""A worker has one for each job that it may hold; an API process some forty."""
EXPECTED = {
    "fresh": {200},
    "cached": {200},
    "upload": {200, 429},
    "new upload": {200, 429},
    "replay": {200, 429},
    "poison": {422},
    "not json": {422},
    "wrong types": {422},
    "too large": {413},
    "status": {200},
    "leaves": {0, 200},
}
RECORDED = Path(__file__).parents[3] / "shared" / "data" / "requests.jsonl.gz"


@dataclass(frozen=True)
class Shot:
    """One request of the mixture."""

    kind: str
    content: bytes = b""
    body: Body | None = None
    """Where the answer is to be checked."""
    path: str = "/retrieve"
    leave_after_seconds: float | None = None


def recorded_bodies() -> list[bytes]:
    """Requests of real sessions, where they are at hand; they name modules that the demo corpus does not have."""
    if not RECORDED.exists():
        return []
    with gzip.open(RECORDED, "rt") as lines:
        return [json.dumps(json.loads(line)["body"]).encode() for line in lines]


def mixture(seed: int) -> Iterator[Shot]:
    """Endless requests, most of them small, in an order of their own."""
    choice = random.Random(seed)
    recorded = recorded_bodies()
    cached = [checked("cached", f"⊢ known {number}", texts(f"known {number % 20}", 10)) for number in range(200)]
    makers: dict[str, tuple[int, Callable[[int], Shot]]] = {
        "fresh": (30, lambda n: checked("fresh", f"⊢ {seed} {n}", texts(f"pool {n % 40}", 5))),
        "cached": (47, lambda _: choice.choice(cached)),
        "upload": (1, lambda n: checked("upload", f"⊢ up {seed} {n}", texts(f"upload {n % UPLOADS}", 1000))),
        "new upload": (1, lambda n: checked("new upload", f"⊢ new {seed} {n}", texts(f"new {seed} {n}", 60))),
        "poison": (2, lambda n: Shot("poison", encoded(f"⊢ {n}", [f"a poison {n % 10}"]))),
        "not json": (4, lambda _: Shot("not json", b'{"state": ')),
        "wrong types": (4, lambda _: Shot("wrong types", b'{"state": 7, "k": []}')),
        "too large": (1, lambda _: Shot("too large", b" " * 2_200_000)),
        "status": (4, lambda _: Shot("status", path="/status")),
        "leaves": (6, lambda n: Shot("leaves", encoded(f"⊢ gone {seed} {n}", []), leave_after_seconds=0.002)),
    }
    if recorded:
        makers["replay"] = (1, lambda n: Shot("replay", recorded[n % len(recorded)]))
    weights = [weight for weight, _ in makers.values()]
    for number in itertools.count():
        [kind] = choice.choices(list(makers), weights)
        yield makers[kind][1](number)


def checked(kind: str, state: str, premises: list[str]) -> Shot:
    body = body_of(state, premises, k=20)
    return Shot(kind, json.dumps(body).encode(), body)


def encoded(state: str, premises: list[str]) -> bytes:
    return json.dumps(body_of(state, premises, k=20)).encode()


WRONG = -1
"""In the place of a status: an answer that was not right."""


async def fire(client: httpx.AsyncClient, url: str, shot: Shot) -> int:
    """The status; 0 for a client that left first."""
    if shot.path != "/retrieve":
        return (await client.get(url + shot.path)).status_code
    asked = client.post(url + shot.path, content=shot.content, headers={"Content-Type": "application/json"})
    try:
        response = await asyncio.wait_for(asked, shot.leave_after_seconds or 1.5 * PATIENCE_SECONDS)
    except TimeoutError:
        if shot.leave_after_seconds is None:
            raise
        return 0
    if response.status_code == 200 and shot.body is not None and not is_right(shot.body, response.json()):
        return WRONG
    return response.status_code


async def soak(urls: list[str], count: int, first_seed: int) -> dict[str, Counter[int]]:
    """`count` requests by all clients together; returns the statuses of each kind."""
    heard: dict[str, Counter[int]] = {}

    async def one_client(number: int) -> None:
        url = urls[number % len(urls)]
        async with httpx.AsyncClient(timeout=1.5 * PATIENCE_SECONDS) as client:
            for shot in itertools.islice(mixture(first_seed + number), count // CLIENTS):
                heard.setdefault(shot.kind, Counter())[await fire(client, url, shot)] += 1

    await asyncio.gather(*map(one_client, range(CLIENTS)))
    return heard


async def fill_caches(urls: list[str]) -> None:
    """Every large body once to every replica, so that what they remember of them is there before it is measured."""
    async with httpx.AsyncClient(timeout=1.5 * PATIENCE_SECONDS) as client:
        for body in [*recorded_bodies(), *(encoded("⊢ up", texts(f"upload {n}", 1000)) for n in range(UPLOADS))]:
            for url in urls:
                await fire(client, url, Shot("upload", body))


@dataclass(frozen=True)
class Usage:
    """What the processes hold."""

    memory_bytes: dict[str, int]
    descriptors: dict[str, int]
    threads: dict[str, int]
    redis_clients: int


def usage(deployment: Deployment, worker: Process, replicas: list[Replica]) -> Usage:
    processes = {f"api {replica.port}": replica.usage() for replica in replicas}
    processes["worker"] = psutil.Process(worker.popen.pid)
    return Usage(
        {name: process.memory_info().rss for name, process in processes.items()},
        {name: process.num_fds() for name, process in processes.items()},
        {name: process.num_threads() for name, process in processes.items()},
        len(deployment.client.client_list()),
    )


def grown_descriptors(before: Usage, after: Usage) -> dict[str, int]:
    """The processes that hold more than a few descriptors more."""
    held = after.descriptors.items()
    return {name: number for name, number in held if number > before.descriptors[name] + SPARE_DESCRIPTORS}


def seen_in_soak(*heard: dict[str, Counter[int]], asked: int) -> Fault:
    counts = [(kind, status, n) for each in heard for kind, statuses in each.items() for status, n in statuses.items()]
    wrong = sum(n for kind, status, n in counts if status not in EXPECTED[kind])
    return Fault("soak of mixed requests", 1, asked, asked - sum(n for _, _, n in counts), wrong, 0.0)


@pytest.mark.timeout(1500)
def test_nothing_grows_and_nothing_is_left_over(
    deploy: Deploy, background: Background, faults: list[Fault], extent: Extent
) -> None:
    count = extent.choose(800, 20_000)
    with deploy(MAX_BODY_BYTES="2000000") as deployment:
        worker = deployment.start_worker()
        replicas = [deployment.start_replica() for _ in range(2)]
        urls = [replica.url for replica in replicas]
        background.run(fill_caches(urls)).result(400)
        asked = [int(count * share) // CLIENTS * CLIENTS for share in (WARM_UP_SHARE, 1 - WARM_UP_SHARE)]
        heard = background.run(soak(urls, asked[0], 0)).result(500)
        wait_until(deployment.is_idle)
        before = usage(deployment, worker, replicas)
        more = background.run(soak(urls, asked[1], 1000)).result(500)
        wait_until(deployment.is_idle)
        wait_until(lambda: not grown_descriptors(before, usage(deployment, worker, replicas)))  # of clients that left
        after = usage(deployment, worker, replicas)
        for kind, statuses in more.items():
            assert set(statuses) | set(heard[kind]) <= EXPECTED[kind], (kind, statuses)
        for name, size in after.memory_bytes.items():
            assert size < before.memory_bytes[name] * MOST_GROWTH, (name, before.memory_bytes, after.memory_bytes)
        assert max(after.threads.values()) < MOST_THREADS, after.threads
        assert after.redis_clients <= before.redis_clients + SPARE_DESCRIPTORS
        for replica in replicas:
            told: dict[str, Any] = replica.status()["replica"]
            assert (told["awaited_jobs"], told["bodies_bytes"], told["reenqueued_jobs"]) == (0, 0, 0)
        counts = deployment.backlog()
        assert (counts["held"], sum(counts["waiting"].values())) == (0, 0)
        assert 0 < counts["dead_letters"] <= 10
        faults.append(seen_in_soak(heard, more, asked=sum(asked)))
