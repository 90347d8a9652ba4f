"""Redis at its memory limit: cached vectors make room, the queue and the leases never do."""

import numpy as np
import pytest
import redis

from shared.embedding_cache import CachedVector, VectorCodec
from shared.messages import Priority
from tests.acceptance.conftest import Deploy
from tests.acceptance.deployment import NAMESPACE, Deployment
from tests.acceptance.fault_report import Fault
from tests.acceptance.load import Background, body_of, post, texts
from tests.embedding_fakes import DIMENSION, PATIENCE_SECONDS, wait_until

ROOM_BYTES = 4 * 2**20


def limit_memory(client: redis.Redis, policy: str, room_bytes: int = ROOM_BYTES) -> None:
    used = int(client.info("memory")["used_memory"])
    client.config_set("maxmemory-policy", policy)
    client.config_set("maxmemory", used + room_bytes)


def fill_with_vectors(deployment: Deployment, count: int = 60_000) -> None:
    """Write vectors of other texts, as other clients' uploads do."""
    codec = VectorCodec(NAMESPACE, DIMENSION)
    value = codec.encode(CachedVector(np.ones(DIMENSION, np.float32), 1))
    for start in range(0, count, 1000):
        pipeline = deployment.client.pipeline(transaction=False)
        for number in range(start, start + 1000):
            pipeline.set(codec.redis_key(f"{number:032x}"), value, ex=3600)
        pipeline.execute()


def evicted(deployment: Deployment) -> int:
    return int(deployment.client.info("stats")["evicted_keys"])


def test_keys_are_evicted_queue_leases_and_heartbeats_are_not(
    deploy: Deploy, background: Background, faults: list[Fault]
) -> None:
    with deploy() as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        for queue in ("embed.fake", "corpus.fake"):
            deployment.run_celery("control", "cancel_consumer", queue)  # so that jobs stay on the queue
        bodies = [body_of(f"⊢ {number}", texts(f"waiting {number}", 300)) for number in range(4)]
        asked = [background.post(replica.url, body) for body in bodies]
        wait_until(lambda: deployment.leases(Priority.BULK) == 16 and deployment.leases(Priority.STATE) == 4)
        wait_until(lambda: sum(deployment.backlog()["waiting"].values()) == 20)
        limit_memory(deployment.client, "volatile-lru")
        fill_with_vectors(deployment)
        assert evicted(deployment) > 10_000
        assert sum(deployment.backlog()["waiting"].values()) == 20
        assert (deployment.leases(Priority.BULK), deployment.leases(Priority.STATE)) == (16, 4)
        wait_until(lambda: [worker["takes_jobs"] for worker in replica.status()["workers"]] == [False])
        assert len(replica.status()["reasons"]) == 1, "something else than the drained worker is missing"
        deployment.start_worker()
        heard = [each.result(2 * PATIENCE_SECONDS) for each in asked]
        assert [(each.status, each.wrong) for each in heard] == [(200, False)] * 4
        wait_until(deployment.is_idle)
        faults.append(Fault.seen("Redis at its memory limit", heard, max(each.seconds for each in heard)))


def test_requests_are_served_while_the_cache_is_evicted_all_the_time(deploy: Deploy, background: Background) -> None:
    with deploy() as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        limit_memory(deployment.client, "volatile-lru", 2 * ROOM_BYTES)
        fill_with_vectors(deployment)
        load = background.steady(
            4, lambda client, number: (replica.url, body_of(f"⊢ {client} {number}", texts(f"{client} {number}", 500)))
        )
        before = evicted(deployment)
        wait_until(lambda: len(load.heard) >= 40)
        heard = load.stop()
        assert evicted(deployment) > before
        assert [each.status for each in heard] == [200] * len(heard)
        assert not any(each.wrong for each in heard)


def test_a_redis_that_refuses_writes_is_as_one_that_is_away(deploy: Deploy) -> None:
    with deploy() as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        limit_memory(deployment.client, "noeviction", -(2**20))
        refused = post(replica.url, body_of("⊢ new", texts("new", 5)))
        assert (refused.status, refused.wrong) == (503, False), refused.answer
        deployment.client.config_set("maxmemory", 0)
        wait_until(lambda: post(replica.url, body_of("⊢ new", texts("new", 5))).status == 200)
        wait_until(deployment.is_idle)


@pytest.mark.parametrize("policy", ["allkeys-lru", "noeviction"])
def test_a_redis_whose_policy_does_harm_is_reported_at_start(deploy: Deploy, policy: str) -> None:
    with deploy() as deployment:
        deployment.client.config_set("maxmemory-policy", policy)
        deployment.start_worker()
        replica = deployment.start_replica()
        [warning] = [line for line in replica.process.output().splitlines() if "maxmemory-policy" in line]
        assert policy in warning
        assert "volatile-lru" in warning
