"""What a client hears while a part is away, and that its leaving ends the cost."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shared.messages import Priority
from shared.redis_client import leases_key
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.fake_deployment import FakeDeployment, fake_deployment
from tests.processes import run_prepare, running_api, status_of

LIVE_SECONDS = 4.0
"""Less than the five for which who waits for a frozen Redis is blocked."""
BODY = {"state": "⊢ True", "k": 3}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDeployment]:
    with fake_deployment(tmp_path_factory.mktemp("absent")) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def prepared(deployment: FakeDeployment) -> FakeDeployment:
    with deployment.worker():
        run_prepare(deployment.folder / "prepare.log", deployment.environment)
    return deployment


def post(url: str, **fields: object) -> httpx.Response:
    return httpx.post(f"{url}/retrieve", json=BODY | fields, timeout=PATIENCE_SECONDS)


def search(url: str, query: str = "⊢ True") -> httpx.Response:
    return httpx.get(
        f"{url}/api/search", params={"query": query, "results": 6, "rev": "v4.22.0"}, timeout=PATIENCE_SECONDS
    )


def test_before_the_corpus_is_prepared_the_port_is_open_and_says_so(tmp_path: Path, deployment: FakeDeployment) -> None:
    unprepared = deployment.environment | {"DATA_DIR": str(tmp_path)}
    with running_api(tmp_path / "api.log", unprepared, ready=False) as url:
        for response in (post(url), httpx.get(f"{url}/indexed-modules"), httpx.get(f"{url}/health/ready")):
            assert response.status_code == 503
            assert "being prepared" in response.json()["detail"]
        searched = search(url)
        assert (searched.status_code, searched.json()["error"]) == (503, "Service Unavailable")
        assert "being prepared" in searched.json()["schema"]["description"]
        assert int(searched.headers["retry-after"]) > 0


def test_without_a_worker_cached_states_are_answered_and_others_get_503(prepared: FakeDeployment) -> None:
    with running_api(prepared.folder / "api-1.log", prepared.environment, ready=False) as url:
        with prepared.worker():
            wait_until(lambda: status_of(f"{url}/health/ready") == 200)
            answered = post(url, state="known : state")
            assert answered.status_code == 200
        wait_until(lambda: status_of(f"{url}/health/ready") == 503)
        refused = post(url, state="unknown : state")
        assert refused.status_code == 503
        assert "worker" in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) > 0
        assert post(url, state="known : state").json() == answered.json()


def test_a_model_that_no_worker_serves_is_named(prepared: FakeDeployment) -> None:
    other = prepared.environment | {"MODEL_ID": "another-model"}
    with prepared.worker(), running_api(prepared.folder / "api-2.log", other, ready=False) as url:
        wait_until(lambda: "another-model" in httpx.get(f"{url}/health/ready").text)
        assert "another-model" in post(url).json()["detail"]


def test_the_deadline_ends_a_wait_with_504(prepared: FakeDeployment) -> None:
    hasty = prepared.environment | {"RETRIEVE_TIMEOUT_SECONDS": "1"}
    with prepared.worker(), running_api(prepared.folder / "api-3.log", hasty) as url:
        prepared.gate.touch()
        try:
            late = post(url, state="never in time")
            searched = search(url, query="never in time")
        finally:
            prepared.gate.unlink()
        assert late.status_code == 504
        assert "in time" in late.json()["detail"]
        assert (searched.status_code, searched.json()["error"]) == (504, "Gateway Timeout")
        assert "in time" in searched.json()["schema"]["description"]
        wait_until(lambda: post(url, state="never in time").status_code == 200)


def test_a_client_that_disconnects_stops_costing(prepared: FakeDeployment) -> None:
    with prepared.worker(), running_api(prepared.folder / "api-4.log", prepared.environment) as url:
        prepared.gate.touch()
        try:
            body = b'{"state": "abandoned", "k": 3}'
            port = int(url.rsplit(":", 1)[1])
            with socket.create_connection(("127.0.0.1", port)) as client:
                head = f"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
                client.sendall(head.encode() + body)
                wait_until(lambda: prepared.client.zcard(leases_key("fake", Priority.STATE)) == 1)
            wait_until(lambda: prepared.client.zcard(leases_key("fake", Priority.STATE)) == 0)
        finally:
            prepared.gate.unlink()
        assert post(url, state="somebody else").status_code == 200
        log = prepared.folder / "api-4.log"
        wait_until(lambda: "POST /retrieve 499" in log.read_text())
        assert "Traceback" not in log.read_text()


def test_while_redis_is_frozen_health_answers_and_requests_hear_503(prepared: FakeDeployment) -> None:
    with prepared.worker(), running_api(prepared.folder / "api-5.log", prepared.environment) as url:
        pid = int(prepared.client.info("server")["process_id"])
        os.kill(pid, signal.SIGSTOP)
        try:
            assert httpx.get(f"{url}/health/live", timeout=LIVE_SECONDS).status_code == 200
            refused = post(url, state="while frozen")
            assert refused.status_code == 503
            assert httpx.get(f"{url}/health/live", timeout=LIVE_SECONDS).status_code == 200
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: post(url, state="while frozen").status_code == 200)
