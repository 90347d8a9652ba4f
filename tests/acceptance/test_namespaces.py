"""Workers and replicas that do not belong together: nothing of the one is ever served as the other's."""

import itertools
import shutil
import threading
import time
from pathlib import Path

import httpx

from api.corpus_claim import CLAIM_SECONDS, RENEW_SECONDS
from shared.demo import demo_corpus_path
from shared.embedding_cache import CachedVector, VectorCodec, text_key
from shared.redis_client import HEARTBEATS_KEY, WORKERS_KEY
from tests.acceptance.conftest import Deploy, Extent
from tests.acceptance.deployment import NAMESPACE, Deployment, Replica
from tests.acceptance.load import Background, body_of, post, texts
from tests.embedding_fakes import DIMENSION, PATIENCE_SECONDS, FakeEncoder, fake_vector, wait_until
from tests.processes import run_prepare

OTHER = "another-namespace"
QUICK_SECONDS = 0.9
"""Less than a sweep, which looks for results after a second: the message has arrived."""


def test_a_worker_of_another_model_serves_nothing_of_ours_and_health_and_status_tell(
    deploy: Deploy, background: Background
) -> None:
    with deploy() as deployment:
        ours = deployment.start_worker()
        replica = deployment.start_replica()
        assert post(replica.url, body_of("⊢ known", [])).status == 200
        deployment.start_worker(FAKE_WORKER_NAMESPACE=OTHER)
        wait_until(lambda: len(replica.status()["workers"]) == 2)
        assert replica.is_ready()
        serving = {worker["namespace"]: worker["serves_us"] for worker in replica.status()["workers"]}
        assert serving == {NAMESPACE: True, OTHER: False}
        ours.stop()
        wait_until(lambda: not replica.is_ready())
        health = httpx.get(f"{replica.url}/health/ready")
        assert "another namespace" in health.json()["detail"]
        assert replica.status()["reasons"] == health.json()["reasons"]
        embedded = len(deployment.embedded_texts())
        refused = post(replica.url, body_of("⊢ new", texts("new", 5)))
        assert (refused.status, refused.retry_after > 0) == (503, True)
        assert len(deployment.embedded_texts()) == embedded
        assert post(replica.url, body_of("⊢ known", [])).status == 200


def test_what_another_dtype_or_model_has_cached_is_a_miss(deploy: Deploy) -> None:
    with deploy() as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        body = body_of("⊢ a goal", texts("cached", 3))
        [token_ids] = FakeEncoder().tokenize(["a vector of something else"])
        wrong = CachedVector(fake_vector(token_ids), 1)
        keys = [text_key(new["decl"]) for new in body["new_premises"]]
        for codec in (VectorCodec(OTHER, DIMENSION), VectorCodec(NAMESPACE, DIMENSION, "float16")):
            deployment.client.mset({codec.redis_key(key): codec.encode(wrong) for key in keys})
        answer = post(replica.url, body)
        assert (answer.status, answer.wrong) == (200, False)
        assert len(deployment.embedded_texts()) == 4


def redis_is_away(deployment: Deployment, serving: Replica, waiting: Replica) -> None:
    """Kill Redis until the claim has ended; the replica that serves has to have it back before the other takes it."""
    deployment.kill_redis()
    threading.Event().wait(CLAIM_SECONDS + 1)
    deployment.start_redis()
    until = time.monotonic() + 4 * RENEW_SECONDS
    while time.monotonic() < until:
        assert not waiting.is_ready(), "both are ready after Redis was away"
    wait_until(serving.is_ready)


def test_two_replicas_with_different_corpora_are_never_both_ready(
    deploy: Deploy, tmp_path: Path, extent: Extent
) -> None:
    smaller = tmp_path / "smaller"
    shutil.copytree(demo_corpus_path(), smaller)
    declarations = smaller / "Declarations" / "Init.Core.jsonl"
    declarations.write_text("".join(declarations.read_text().splitlines(keepends=True)[1:]))
    with deploy() as deployment:
        deployment.start_worker()
        first = deployment.start_replica()
        data, state = str(smaller), str(tmp_path / "state")
        run_prepare(tmp_path / "prepare.log", deployment.environment | {"DATA": data, "DATA_DIR": state})
        second = deployment.start_replica(ready=False, DATA=data, DATA_DIR=state)
        wait_until(lambda: "Another replica" in httpx.get(f"{second.url}/health/ready").text)
        assert (first.is_ready(), second.is_ready()) == (True, False)
        assert second.status()["ready"] is False
        assert second.status()["corpus"]["digest"] != first.status()["corpus"]["digest"]
        assert httpx.get(f"{second.url}/indexed-modules").status_code == 503
        assert post(second.url, body_of("⊢ a goal", [])).status == 503
        if extent.full:
            redis_is_away(deployment, first, second)
        first.process.stop()
        wait_until(second.is_ready)


def test_status_tells_corpus_model_workers_and_queue(deploy: Deploy, background: Background) -> None:
    with deploy() as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        deployment.gate.touch()
        asked = background.post(replica.url, body_of("⊢ a goal", texts("waiting", 100)))
        wait_until(lambda: replica.status()["queue"]["held_jobs"] == 2)
        status = replica.status()
        assert status["ready"] is True
        assert (status["corpus"]["premises"], status["corpus"]["modules"]) == (780, 40)
        assert (status["model"]["id"], status["model"]["namespace"]) == ("fake-model", NAMESPACE)
        classes = status["queue"]["classes"]
        assert (classes["states"]["jobs"], classes["premises"]["jobs"], classes["corpus"]["jobs"]) == (1, 1, 0)
        assert classes["premises"]["tokens"] >= 4000
        assert classes["premises"]["wait_seconds"] >= 0
        assert httpx.get(f"{replica.url}/queue").json().items() >= status["queue"].items()
        [worker] = status["workers"]
        assert worker["peak_memory_bytes"] > 10 * 2**20
        assert "waiting 1" not in str(status)
        deployment.gate.unlink()
        assert asked.result(PATIENCE_SECONDS).status == 200


def test_status_answers_while_redis_is_frozen_and_queue_says_503(deploy: Deploy) -> None:
    with deploy() as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        with deployment.frozen_redis():
            assert replica.status()["queue"] is None
            queue = httpx.get(f"{replica.url}/queue", timeout=30)
            assert (queue.status_code, "Redis" in queue.json()["detail"]) == (503, True)


def test_rubbish_on_a_channel_or_among_the_heartbeats_stops_nothing(deploy: Deploy) -> None:
    with deploy() as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        [channel] = deployment.client.pubsub_channels("premises:done:*")
        for rubbish in (b"rubbish", b"{}", b"[]", b'{"job_id": 7}', b"\xff"):
            deployment.client.publish(channel, rubbish)
            deployment.client.hset(HEARTBEATS_KEY, "rubbish", rubbish)
            deployment.client.zadd(WORKERS_KEY, {"rubbish": time.time() + 60})
        wait_until(lambda: replica.process.output().count("is no completion") == 5)
        for number in range(3):
            assert post(replica.url, body_of(f"⊢ {number}", [])).status == 200
        more = itertools.count(3)  # one quick answer tells it; on a busy machine others may take longer
        wait_until(lambda: post(replica.url, body_of(f"⊢ {next(more)}", [])).seconds < QUICK_SECONDS)
        assert len(replica.status()["workers"]) == 1
        assert "Traceback" not in replica.process.output()
