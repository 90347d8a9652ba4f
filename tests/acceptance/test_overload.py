"""Ten times more work than the worker can do: who is let in is served in time, who is not hears so at once."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from tests.acceptance.conftest import Deploy, Extent
from tests.acceptance.deployment import Deployment, Replica
from tests.acceptance.fault_report import Fault
from tests.acceptance.load import Background, Body, Heard, ask, body_of, make_client, p95, post, texts
from tests.embedding_fakes import wait_until

PREMISES = 2048
TOKENS_PER_SECOND = 40_000
"""Of 40 tokens each, one upload takes two seconds; forty seconds are the deadline."""
DEADLINE_SECONDS = 40
SLOWEST_REFUSAL_SECONDS = DEADLINE_SECONDS / 4
"""Generous: clients, other tests and the server share two cores.  docs/performance.md has figures measured alone."""
MOST_GROWTH_BYTES = 200 * 1024 * 1024
"""The bodies of all clients together, twice over, and what was admitted of them."""


@dataclass
class Watch:
    """The most memory that each process has had."""

    processes: dict[str, psutil.Process]
    most_bytes: dict[str, int] = field(default_factory=dict)
    before_bytes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.look()
        self.before_bytes = dict(self.most_bytes)

    def look(self) -> bool:
        for name, process in self.processes.items():
            self.most_bytes[name] = max(self.most_bytes.get(name, 0), process.memory_info().rss)
        return all(self.most_bytes[name] < before + MOST_GROWTH_BYTES for name, before in self.before_bytes.items())


async def upload_all(url: str, bodies: Sequence[Body]) -> list[Heard]:
    """All at once, each once."""
    async with make_client() as client:
        return await asyncio.gather(*(ask(client, url, body) for body in bodies))


def test_accepted_uploads_finish_in_time_others_hear_429_and_states_keep_being_served(
    deploy: Deploy, background: Background, faults: list[Fault], extent: Extent
) -> None:
    clients = extent.choose(60, 200)
    settings = {
        "FAKE_WORKER_TOKENS_PER_SECOND": str(TOKENS_PER_SECOND),
        "RETRIEVE_TIMEOUT_SECONDS": str(DEADLINE_SECONDS),
    }
    with deploy(**settings) as deployment:
        worker = deployment.start_worker()
        replica = deployment.start_replica()
        cached = texts("cached", 50)
        assert post(replica.url, body_of("⊢ warm", cached)).status == 200
        watch = watch_of(deployment, replica, worker.popen.pid)
        editors = background.steady(4, lambda client, number: (replica.url, body_of(f"⊢ {client} {number}", cached)))
        bodies = [body_of(f"⊢ upload {number}", texts(f"upload {number}", PREMISES)) for number in range(clients)]
        uploads = background.run(upload_all(replica.url, bodies))
        wait_until(lambda: not watch.look() or uploads.done())
        heard: list[Heard] = uploads.result()
        edited = editors.stop()
        accepted = [each for each in heard if each.status == 200]
        refused = [each for each in heard if each.status == 429]
        assert {each.status for each in heard} == {200, 429}
        assert not any(each.wrong for each in heard)
        assert 1 <= len(accepted) < clients / 2
        assert max(each.seconds for each in accepted) < DEADLINE_SECONDS
        assert all(1 <= each.retry_after <= DEADLINE_SECONDS * 2 for each in refused)
        wait_until(lambda: len(deployment.answer_seconds(429)) == len(refused))  # logged once they are sent
        refusal_seconds = deployment.answer_seconds(429)
        assert p95(refusal_seconds) < SLOWEST_REFUSAL_SECONDS
        assert {each.status for each in edited} == {200}
        assert p95([each.seconds for each in edited]) < DEADLINE_SECONDS / 4
        assert watch.look(), (watch.before_bytes, watch.most_bytes)
        wait_until(deployment.is_idle)
        faults.append(Fault.seen(f"{clients} cold uploads at once", heard, max(each.seconds for each in accepted)))


def test_who_comes_back_after_retry_after_is_let_in(deploy: Deploy, background: Background, extent: Extent) -> None:
    extent.only_in_full()
    settings = {"FAKE_WORKER_TOKENS_PER_SECOND": str(TOKENS_PER_SECOND), "RETRIEVE_TIMEOUT_SECONDS": "10"}
    with deploy(**settings) as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        assert post(replica.url, body_of("⊢ warm", texts("warm", 50))).status == 200
        bodies = [body_of(f"⊢ {number}", texts(f"first {number}", PREMISES)) for number in range(6)]
        first = [background.post(replica.url, body) for body in bodies]
        wait_until(lambda: any(each.done() and each.result().status == 429 for each in first))
        refused = next(each.result() for each in first if each.done() and each.result().status == 429)
        returns_at = time.monotonic() + refused.retry_after
        wait_until(lambda: time.monotonic() > returns_at, refused.retry_after + 5)
        again = post(replica.url, refused.body)
        assert (again.status, again.wrong) == (200, False), again.answer


def test_more_large_bodies_than_are_read_at_once_are_refused_unread_and_counted(deploy: Deploy) -> None:
    with deploy(MAX_BODIES_BYTES="1000000") as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        body = body_of("⊢ large", texts("large", PREMISES, length=100))
        heard = asyncio.run(upload_all(replica.url, [body] * 30))
        assert {each.status for each in heard} == {200, 429}
        assert not any(each.wrong for each in heard)
        wait_until(lambda: replica.status()["replica"]["bodies_bytes"] == 0)
        assert replica.status()["replica"]["unread_bodies"] == sum(each.status == 429 for each in heard)


def watch_of(deployment: Deployment, replica: Replica, worker_pid: int) -> Watch:
    assert deployment.redis_process is not None
    pids = {"api": replica.process.popen.pid, "worker": worker_pid, "redis": deployment.redis_process.popen.pid}
    return Watch({name: psutil.Process(pid) for name, pid in pids.items()})
