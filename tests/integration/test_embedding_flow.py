"""From the embedding client through a real broker to a real Celery worker (with an encoder that needs no weights)."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import pytest

from api.embedding_client import Embedded, EmbeddingOrder, TextGroup
from api.embedding_side import EmbeddingSide, running_embedding_side
from api.job_publisher import JobPublisher
from shared.errors import DeadlineExceededError, NotReadyError, OverloadedError, TextRejectedError
from shared.messages import EmbedJob, Priority
from shared.redis_client import leases_key
from shared.settings import Settings
from tests.embedding_fakes import PATIENCE_SECONDS, FakeEncoder, fake_vector, wait_until
from tests.fake_deployment import FakeDeployment, fake_deployment
from tests.processes import Process

T = TypeVar("T")


class Deployment:
    """A fake deployment and replicas of the API's embedding side in this process."""

    def __init__(self, fake: FakeDeployment) -> None:
        self.fake = fake
        self.settings = fake.settings
        self.gate = fake.gate
        self.client = fake.client

    def run(self, use: Callable[[EmbeddingSide], Awaitable[T]], settings: Settings | None = None) -> T:
        """Use an embedding side of its own, as one API replica would."""

        async def session() -> T:
            async with running_embedding_side(settings or self.settings) as side:
                await until(lambda: bool(side.directory.serving()) and side.listener.subscribed)
                return await use(side)

        return asyncio.run(session())


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with fake_deployment(tmp_path_factory.mktemp("flow")) as fake:
        yield Deployment(fake)


@pytest.fixture(scope="module")
def worker(deployment: Deployment) -> Iterator[Process]:
    with deployment.fake.worker() as process:
        yield process


@pytest.fixture(autouse=True)
def open_gate(deployment: Deployment) -> Iterator[None]:
    yield
    deployment.gate.unlink(missing_ok=True)


@dataclass
class ForgetfulPublisher:
    """A broker that loses the first message, as a kill between BRPOP and the unacked list does."""

    publisher: JobPublisher
    forgotten: bool = False

    async def publish(self, jobs: Sequence[EmbedJob]) -> None:
        if self.forgotten:
            await self.publisher.publish(jobs)
        self.forgotten = True


async def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {seconds} seconds"
        await asyncio.sleep(0.01)


def order(seconds: float = PATIENCE_SECONDS) -> EmbeddingOrder:
    return EmbeddingOrder(time.time() + seconds, "test")


def states(*texts: str) -> list[TextGroup]:
    return [TextGroup(texts, Priority.STATE)]


def expected(text: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    [token_ids] = FakeEncoder().tokenize([text])
    return fake_vector(token_ids)


def jobs_on_queue(deployment: Deployment) -> int:
    return sum(deployment.client.llen(key) for key in deployment.client.keys("embed.fake*"))


def test_texts_come_back_as_their_vectors_in_order(deployment: Deployment, worker: Process) -> None:
    premises = [f"premise {number}" for number in range(300)]

    async def use(side: EmbeddingSide) -> Embedded:
        groups = [*states("a goal"), TextGroup([*premises, premises[0]], Priority.BULK)]
        return await side.embeddings.embed(groups, order())

    embedded = deployment.run(use)
    np.testing.assert_array_equal(embedded.vectors[0], [expected("a goal")])
    np.testing.assert_array_equal(embedded.vectors[1], [expected(text) for text in [*premises, premises[0]]])
    assert (embedded.cached_texts, embedded.embedded_texts, embedded.enqueued_jobs) == (0, 301, 5)


def test_a_second_identical_request_enqueues_nothing_on_any_replica(deployment: Deployment, worker: Process) -> None:
    async def use(side: EmbeddingSide) -> tuple[Embedded, int]:
        return await side.embeddings.embed(states("seen before"), order()), side.publisher.published_jobs

    first, _ = deployment.run(use)
    again, published = deployment.run(use)
    assert first.enqueued_jobs == 1
    assert (again.cached_texts, again.enqueued_jobs, published) == (1, 0, 0)
    np.testing.assert_array_equal(first.vectors[0], again.vectors[0])


def test_requests_at_the_same_time_share_a_job(deployment: Deployment, worker: Process) -> None:
    async def use(side: EmbeddingSide) -> list[int]:
        asked = [side.embeddings.embed(states("asked by all"), order()) for _ in range(10)]
        embedded = await asyncio.gather(*asked)
        assert side.embeddings.awaited == {}
        return [answer.enqueued_jobs for answer in embedded]

    assert sorted(deployment.run(use)) == [0] * 9 + [1]


def test_a_text_that_the_model_cannot_embed_fails_alone(deployment: Deployment, worker: Process) -> None:
    async def use(side: EmbeddingSide) -> list[object]:
        asked = [side.embeddings.embed(states(text), order()) for text in ("a poison", "a remedy")]
        return await asyncio.gather(*asked, return_exceptions=True)

    failed, fine = deployment.run(use)
    assert isinstance(failed, TextRejectedError)
    assert isinstance(fine, Embedded)


def test_the_deadline_ends_the_wait_and_what_was_computed_stays(deployment: Deployment, worker: Process) -> None:
    deployment.gate.touch()

    async def use(side: EmbeddingSide) -> Embedded:
        with pytest.raises(DeadlineExceededError):
            await side.embeddings.embed(states("late"), order(0.5))
        deployment.gate.unlink()
        await until(lambda: deployment.client.zcard(leases_key("fake", Priority.STATE)) == 0)
        return await side.embeddings.embed(states("late"), order())

    assert deployment.run(use).vectors[0].shape == (1, 8)


def test_a_caller_that_leaves_gives_its_lease_back(deployment: Deployment, worker: Process) -> None:
    deployment.gate.touch()
    key = leases_key("fake", Priority.STATE)

    async def use(side: EmbeddingSide) -> None:
        asked = asyncio.ensure_future(side.embeddings.embed(states("left alone"), order()))
        await until(lambda: deployment.client.zcard(key) == 1)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert side.embeddings.awaited == {}
        await until(lambda: deployment.client.zcard(key) == 0)

    deployment.run(use)


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(deployment: Deployment, worker: Process) -> None:
    deployment.gate.touch()
    tight = deployment.settings.model_copy(update={"max_queued_bulk_tokens": 50})

    async def use(side: EmbeddingSide) -> OverloadedError:
        first = asyncio.ensure_future(side.embeddings.embed([TextGroup(["x" * 400], Priority.BULK)], order()))
        await until(lambda: side.publisher.published_jobs == 1)
        with pytest.raises(OverloadedError) as refused:
            await side.embeddings.embed([TextGroup(["y" * 400], Priority.BULK)], order())
        assert side.publisher.published_jobs == 1
        deployment.gate.unlink()
        assert (await first).embedded_texts == 1
        return refused.value

    assert 1 <= deployment.run(use, tight).retry_after_seconds <= 120


def test_a_job_that_the_broker_lost_is_enqueued_again(deployment: Deployment, worker: Process) -> None:
    async def use(side: EmbeddingSide) -> int:
        side.listener.lost_after_seconds = 1.0
        side.embeddings.publisher = cast("JobPublisher", ForgetfulPublisher(side.publisher))
        embedded = await side.embeddings.embed(states("lost on the way"), order())
        np.testing.assert_array_equal(embedded.vectors[0], [expected("lost on the way")])
        return side.listener.reenqueued_jobs

    assert deployment.run(use) == 1


def test_an_idle_subscription_outlives_the_socket_timeout(deployment: Deployment, worker: Process) -> None:
    async def use(side: EmbeddingSide) -> bool:
        idle_until = time.monotonic() + 7  # longer than the socket timeout of 5 s
        await until(lambda: time.monotonic() > idle_until or not side.listener.subscribed)
        return side.listener.subscribed

    assert deployment.run(use)


def test_without_a_worker_nothing_is_enqueued(deployment: Deployment) -> None:
    other = replace_model(deployment.settings, "a model that nobody serves")

    async def session() -> None:
        async with running_embedding_side(other) as side:
            with pytest.raises(NotReadyError):
                await side.embeddings.embed(states("anything"), order())
            assert side.publisher.published_jobs == 0

    asyncio.run(session())


def test_a_worker_told_to_stop_gives_its_jobs_to_the_next(tmp_path: Path) -> None:
    with ExitStack() as stack:
        deployment = Deployment(stack.enter_context(fake_deployment(tmp_path)))
        deployment.gate.touch()
        first = stack.enter_context(deployment.fake.worker(1))

        async def use(side: EmbeddingSide) -> Embedded:
            texts = [f"{number:03d}" * 100 for number in range(40)]
            asked = asyncio.ensure_future(side.embeddings.embed([TextGroup(texts, Priority.BULK)], order()))
            await until(lambda: any(worker.held_jobs for worker in side.directory.workers))
            first.popen.send_signal(signal.SIGTERM)
            deployment.gate.unlink()
            await asyncio.get_running_loop().run_in_executor(None, lambda: wait_until(lambda: first.popen.poll() == 0))
            stack.enter_context(deployment.fake.worker(2))
            return await asked

        embedded = deployment.run(use)
        assert embedded.embedded_texts == 40
        np.testing.assert_array_equal(embedded.vectors[0][7], expected("007" * 100))


def replace_model(settings: Settings, model: str) -> Settings:
    return settings.model_copy(update={"model_id": model})
