"""The fake vector store and the one on Redis keep the same promises."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis

from shared.dead_letters import DeadLetter, read_letters
from shared.embedding_cache import CachedVector, VectorCodec, text_key
from shared.messages import WORKER_LOST, EmbedJob, FailedText, JobDone, Priority
from shared.redis_client import WORKERS_KEY, attempts_key, batches_key, hasty_redis, leases_key
from tests.embedding_fakes import DIMENSION, FakeVectorStore, HandClock
from tests.free_ports import free_port
from tests.processes import running_redis
from worker.batch_journal import RedisBatchJournal
from worker.vector_store import RedisVectorStore, VectorStore

JOB = EmbedJob("job-1", "fake", Priority.BULK, ["one"], "channel", deadline=0.0, lease="job-1:7")


class Stores:
    """One store and the ways in which a test looks behind it."""

    def __init__(self, store: VectorStore, client: redis.Redis | None) -> None:
        self.store = store
        self.client = client

    def begin_elsewhere(self, *keys: str) -> None:
        if isinstance(self.store, FakeVectorStore):
            self.store.elsewhere.update(keys)
        elif self.client is not None:
            RedisBatchJournal(self.client, "fake", "another").begin(keys)
            RedisBatchJournal(self.client, "fake", "own").begin(["own"])

    def take_lease(self, job: EmbedJob) -> None:
        if isinstance(self.store, FakeVectorStore):
            self.store.leases.add(job.lease)
        elif self.client is not None:
            self.client.zadd(leases_key(job.namespace, job.priority), {job.lease: 1e12})

    def note_attempts(self, **counts: int) -> None:
        if isinstance(self.store, FakeVectorStore):
            self.store.attempted.update(counts)
        elif self.client is not None:
            self.client.hset(attempts_key("fake"), items=[item for pair in counts.items() for item in pair])

    def letters(self) -> list[DeadLetter]:
        if isinstance(self.store, FakeVectorStore):
            return self.store.letters
        return read_letters(self.client) if self.client is not None else []


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(params=["fake", "redis"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    if request.param == "fake":
        yield Stores(FakeVectorStore(), None)
        return
    with redis.Redis.from_url(request.getfixturevalue("redis_url")) as client:
        client.flushall()
        yield Stores(RedisVectorStore(client, VectorCodec("fake", DIMENSION), "own"), client)


def entry(seed: int) -> CachedVector:
    return CachedVector(np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32), seed)


def test_what_was_stored_is_fetched_and_the_rest_is_left_out(stores: Stores) -> None:
    stores.store.store({"a": entry(1), "b": entry(2)}, 60)
    fetched = stores.store.fetch(["a", "missing", "b"])
    assert set(fetched) == {"a", "b"}
    np.testing.assert_array_equal(fetched["b"].vector, entry(2).vector)
    assert fetched["b"].tokens == 2


def test_fetching_nothing_is_nothing(stores: Stores) -> None:
    assert stores.store.fetch([]) == {}


def test_storing_nothing_is_allowed(stores: Stores) -> None:
    stores.store.store({}, 60)
    assert stores.store.fetch(["a"]) == {}


def test_finishing_stores_and_releases_the_lease(stores: Stores) -> None:
    stores.take_lease(JOB)
    assert stores.store.is_wanted(JOB)
    stores.store.finish(JOB, {"a": entry(1)}, 60, JobDone("job-1"))
    assert set(stores.store.fetch(["a"])) == {"a"}
    assert not stores.store.is_wanted(JOB)


def test_a_job_whose_lease_has_expired_is_not_wanted(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        store = RedisVectorStore(client, VectorCodec("fake", DIMENSION))
        seconds, _ = client.time()
        for expiry, wanted in ((seconds + 10, True), (seconds - 1, False)):
            client.zadd(leases_key(JOB.namespace, JOB.priority), {JOB.lease: expiry})
            assert store.is_wanted(JOB) is wanted


def test_a_job_without_a_lease_is_always_wanted(stores: Stores) -> None:
    assert stores.store.is_wanted(EmbedJob("other", "fake", Priority.CORPUS, [], "channel", 0.0))


def test_attempts_are_known_until_the_vector_is_written(stores: Stores) -> None:
    stores.note_attempts(a=1, b=2, c=3)
    assert stores.store.attempts(["a", "unknown", "b"]) == {"a": 1, "b": 2}
    stores.store.store({"a": entry(1)}, 60)
    stores.store.finish(JOB, {"b": entry(2)}, 60, JobDone("job-1"))
    assert stores.store.attempts(["a", "b", "c"]) == {"c": 3}
    assert stores.store.attempts([]) == {}


def test_what_another_worker_has_in_its_model_is_told(stores: Stores) -> None:
    assert stores.store.in_other_models(["a"]) == set()
    stores.begin_elsewhere("a", "b")
    assert stores.store.in_other_models(["a", "c", "own"]) == {"a"}
    assert stores.store.in_other_models([]) == set()


def test_a_text_that_failed_by_itself_has_no_attempts_left_one_that_ended_workers_keeps_them(stores: Stores) -> None:
    stores.note_attempts(a=1, b=3)
    failed = [FailedText("a", "model_error", "no"), FailedText("b", WORKER_LOST, "three times")]
    stores.store.finish(JOB, {}, 60, JobDone("job-1", failed))
    assert stores.store.attempts(["a", "b"]) == {"b": 3}


def test_failed_texts_become_a_dead_letter_without_their_neighbours(stores: Stores) -> None:
    job = replace(JOB, texts=["good", "bad"])
    failed = [FailedText(text_key("bad"), "model_error", "no")]
    stores.store.finish(job, {text_key("good"): entry(1)}, 60, JobDone("job-1", failed))
    [letter] = stores.letters()
    assert (letter.job.texts, letter.failed, letter.job.job_id) == (["bad"], failed, "job-1")


def test_a_job_without_failures_leaves_no_dead_letter(stores: Stores) -> None:
    stores.store.finish(JOB, {"a": entry(1)}, 60, JobDone("job-1"))
    assert stores.letters() == []


def test_only_what_dead_workers_had_in_their_model_counts_and_once(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        store = RedisVectorStore(client, VectorCodec("fake", DIMENSION))
        dead, alive = (RedisBatchJournal(client, "fake", worker) for worker in ("dead", "alive"))
        seconds, _ = client.time()
        client.zadd(WORKERS_KEY, {"dead": seconds - 1, "alive": seconds + 60})
        dead.begin(["ended before"])
        dead.begin(["a", "b"])
        alive.begin(["b", "c"])
        assert store.attempts(["a", "b", "c", "ended before"]) == {"a": 1, "b": 1}
        assert store.attempts(["a", "b", "c"]) == {"a": 1, "b": 1}
        alive.rest()
        assert client.exists(batches_key("fake")) == 0


def test_where_batches_run_ahead_all_that_are_in_the_model_count(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        journal = RedisBatchJournal(client, "fake", "dead", batches_ahead=1)
        for keys in (["a"], ["b"], ["c"]):
            journal.begin(keys)
        assert RedisVectorStore(client, VectorCodec("fake", DIMENSION)).attempts(["a", "b", "c"]) == {"b": 1, "c": 1}


def test_a_journal_without_redis_costs_a_moment_and_nothing_else(tmp_path: Path) -> None:
    clock = HandClock()
    with hasty_redis(f"redis://127.0.0.1:{free_port()}/0") as client:
        journal = RedisBatchJournal(client, "fake", "worker", clock=clock)
        journal.begin(["a"])
        journal.begin(["b"])
        journal.rest()
    with running_redis(tmp_path) as url, redis.Redis.from_url(url) as client:
        journal.client = client
        journal.begin(["c"])
        assert client.exists(batches_key("fake")) == 0, "it is silent for a while"
        clock.now += 60
        journal.begin(["d"])
        assert client.hget(batches_key("fake"), "worker") == b'["d"]'


def test_redis_keys_expire(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        codec = VectorCodec("expiring", DIMENSION)
        RedisVectorStore(client, codec).store({"a": entry(1)}, 60)
        remaining = client.ttl(codec.redis_key("a"))
        assert isinstance(remaining, int)
        assert 0 < remaining <= 60


def test_the_replica_is_told_after_the_vectors_are_there(redis_url: str, tmp_path: Path) -> None:
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe("channel")
        store = RedisVectorStore(client, VectorCodec("told", DIMENSION))
        done = JobDone("job-1", [FailedText("b", "model_error", "no")])
        store.finish(JOB, {"a": entry(1)}, 60, done)
        messages = [message for _ in range(3) if (message := subscription.get_message(timeout=5))]
        assert [JobDone.from_bytes(message["data"]) for message in messages] == [done]
        assert set(store.fetch(["a"])) == {"a"}
