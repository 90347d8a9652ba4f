"""The hash `{worker id}:deployment`, as a program outside sees it in a real Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import redis

from shared.deployment_hash import deployment_key
from tests.embedding_fakes import FAKE_HEARTBEAT, wait_until
from tests.processes import running_redis
from worker.heartbeat import HeartbeatThread

WORKER_ID = "gpu-2-123-abcdef"
KEY = "gpu-2-123-abcdef:deployment"
HEARTBEAT = replace(
    FAKE_HEARTBEAT,
    worker_id=WORKER_ID,
    model="some/model",
    started_at=1700000000.75,
    texts_embedded=17,
    node_name="premises-1@gpu-2",
    last_job_at=1700000042.25,
)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.flushall()
        yield client


@contextmanager
def reporting(redis_url: str, *, ttl_seconds: float = 10.0) -> Iterator[HeartbeatThread]:
    with redis.Redis.from_url(redis_url) as client:
        thread = HeartbeatThread(client, lambda: HEARTBEAT, every_seconds=0.05, ttl_seconds=ttl_seconds)
        thread.start()
        yield thread
        thread.stop()


def test_it_tells_model_type_address_times_and_texts(redis_url: str, client: redis.Redis) -> None:
    assert deployment_key(WORKER_ID) == KEY
    with reporting(redis_url):
        wait_until(lambda: client.exists(KEY))
        assert client.hgetall(KEY) == {
            "model": "some/model",
            "type": "embedding",
            "address": "premises-1@gpu-2",
            "start_time": "1700000000",
            "last_request": "1700000042",
            "generations": "17",
        }


def test_it_ends_with_a_worker_that_is_stopped(redis_url: str, client: redis.Redis) -> None:
    with reporting(redis_url):
        wait_until(lambda: client.exists(KEY))
    assert client.keys("*:deployment") == []


def test_it_has_the_lifetime_of_the_heartbeat(redis_url: str, client: redis.Redis) -> None:
    with reporting(redis_url, ttl_seconds=7.5):
        wait_until(lambda: client.pttl(KEY) > 6000)  # it is renewed all the time
        assert client.pttl(KEY) <= 7500


def test_one_that_was_evicted_comes_back_whole(redis_url: str, client: redis.Redis) -> None:
    with reporting(redis_url):
        wait_until(lambda: client.exists(KEY))
        client.delete(KEY)
        wait_until(lambda: client.hlen(KEY) == 6)
