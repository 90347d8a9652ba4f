"""Several models side by side, each with workers, a queue and a namespace of its own; and what a busy queue answers."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import httpx2
import numpy as np
import openai
import pytest
import redis
from playwright.sync_api import expect

from shared.embedding_cache import text_key
from tests.browser import running_browser, visiting
from tests.embedding_fakes import PATIENCE_SECONDS, FakeEncoder, fake_vector, wait_until
from tests.exposition import Growth, Scrape
from tests.fake_deployment import MODEL, FakeDeployment, fake_deployment
from tests.processes import Process, run_prepare, running_api

OTHER = "team/other"
CATALOGUE = [{"name": OTHER, "model_id": "org/other-model", "dimensions": [4, 16]}]


@dataclass
class TwoModels:
    """An API replica, and one worker a model."""

    url: str
    deployment: FakeDeployment
    other_worker: Process

    @property
    def redis(self) -> redis.Redis:
        return self.deployment.client

    def post(self, **asked: object) -> httpx.Response:
        return httpx.post(
            f"{self.url}/v1/embeddings", json={"model": MODEL, "input": "x"} | asked, timeout=PATIENCE_SECONDS
        )

    def described(self) -> list[dict[str, Any]]:
        """What `/status` says of the models, the default one first."""
        described: list[dict[str, Any]] = httpx.get(f"{self.url}/status", timeout=PATIENCE_SECONDS).json()["models"]
        return described

    def vector(self, **asked: object) -> list[float]:
        response = self.post(**asked)
        assert response.status_code == 200, response.text
        vector: list[float] = response.json()["data"][0]["embedding"]
        return vector


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoModels]:
    with ExitStack() as stack:
        deployment = stack.enter_context(fake_deployment(tmp_path_factory.mktemp("models")))
        other = {"MODEL_ID": "org/other-model", "FAKE_WORKER_NAMESPACE": "other"}
        stack.enter_context(deployment.worker())
        other_worker = stack.enter_context(deployment.worker(2, **other))
        run_prepare(deployment.folder / "prepare.log", deployment.environment)
        settings = {"MODELS": json.dumps(CATALOGUE), "MAX_QUEUED_STATE_TOKENS": "20"}
        log = deployment.folder / "api.log"
        url = stack.enter_context(running_api(log, deployment.environment | settings))
        two = TwoModels(url, deployment, other_worker)
        wait_until(lambda: two.post(model=OTHER).status_code == 200)
        yield two


def expected(text: str) -> list[float]:
    [token_ids] = FakeEncoder().tokenize([text])
    return [float(number) for number in fake_vector(token_ids)]


def test_the_requests_model_chooses_queue_and_namespace(models: TwoModels) -> None:
    models.vector(input="for the default")
    models.vector(input="for the other", model=OTHER)
    found = {key.decode() for key in models.redis.scan_iter("emb:*")}
    assert f"emb:fake:{text_key('for the default')}" in found
    assert f"emb:other:{text_key('for the other')}" in found
    assert f"emb:other:{text_key('for the default')}" not in found
    assert f"emb:fake:{text_key('for the other')}" not in found


def test_models_are_listed_and_found_by_names_with_slashes(models: TwoModels) -> None:
    with openai.OpenAI(base_url=f"{models.url}/v1", api_key="none") as client:
        assert [model.id for model in client.models.list().data] == [MODEL, OTHER]
        assert client.models.retrieve(OTHER).owned_by == "org"
    listed = httpx.get(f"{models.url}/v1/models").json()["data"]
    assert [model["embedding_dimensions"] for model in listed] == [8, 8]


def test_shorter_vectors_only_where_the_model_is_configured_for_them(models: TwoModels) -> None:
    short = models.vector(input="shorter", model=OTHER, dimensions=4)
    whole = np.array(expected("shorter"), np.float32)[:4]
    np.testing.assert_allclose(short, whole / np.linalg.norm(whole), atol=1e-6)
    refused = models.post(input="shorter", model=OTHER, dimensions=3)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "dimensions")
    assert "ask for one of 4" in refused.json()["error"]["message"]
    assert models.post(input="shorter", dimensions=4).status_code == 400
    longer = models.post(input="shorter", model=OTHER, dimensions=16)
    assert (longer.status_code, longer.json()["error"]["param"]) == (400, "dimensions")


def test_status_tells_of_every_model(models: TwoModels) -> None:
    assert [(model["name"], model["namespace"], model["live_workers"]) for model in models.described()] == [
        (MODEL, "fake", 1),
        (OTHER, "other", 1),
    ]


def test_status_and_queue_tell_what_waits_for_each_model(models: TwoModels) -> None:
    models.deployment.gate.touch()
    waiting = threading.Thread(target=models.post, kwargs={"input": "waits for the other", "model": OTHER})
    try:
        waiting.start()
        wait_until(lambda: models.described()[1]["queue"]["classes"]["states"]["jobs"] == 1, 30)
        assert models.described()[0]["queue"]["classes"]["states"]["jobs"] == 0
        queue = httpx.get(f"{models.url}/queue", timeout=PATIENCE_SECONDS).json()
        told = [(each["name"], each["namespace"], each["classes"]["states"]["jobs"]) for each in queue["models"]]
        assert told == [(MODEL, "fake", 0), (OTHER, "other", 1)]
        assert queue["classes"]["states"]["jobs"] == 0
    finally:
        models.deployment.gate.unlink()
        waiting.join(PATIENCE_SECONDS)


def test_the_page_shows_what_waits_for_each_model(models: TwoModels) -> None:
    models.deployment.gate.touch()
    waiting = threading.Thread(target=models.post, kwargs={"input": "shown as waiting", "model": OTHER})
    with running_browser() as browser, visiting(browser, models.url) as visit:
        try:
            waiting.start()
            visit.page.goto(f"{models.url}/#view=server")
            for model, jobs in ((MODEL, 0), (OTHER, 1)):
                table = visit.page.get_by_role("group", name=f"Queue of {model}", exact=True)
                expect(table.get_by_role("row", name=re.compile(f"^goals {jobs} "))).to_be_visible(timeout=30_000)
        finally:
            models.deployment.gate.unlink()
            waiting.join(PATIENCE_SECONDS)


def test_metrics_count_these_routes_and_tell_the_queue_of_every_model(models: TwoModels) -> None:
    before = Scrape.from_api(models.url)
    models.vector(input="counted", model=OTHER)
    assert models.post(input=["poison"]).status_code == 400
    growth = Growth(before, Scrape.from_api(models.url))
    of_route = {"route": "/v1/embeddings", "method": "POST"}
    assert growth("premises_http_requests_total", **of_route, status="200") == 1
    assert growth("premises_http_requests_total", **of_route, status="400") == 1
    assert growth("premises_http_requests_rejected_total", reason="unembeddable_text") == 1
    stages = "premises_http_request_stage_duration_seconds_count"
    assert growth(stages, route="/v1/embeddings", stage="encode") == 1
    assert growth(stages, route="/v1/embeddings", stage="embed") == 2
    for model in (MODEL, OTHER):
        assert growth.after.value("premises_serving_workers", model=model) == 1
        assert growth.after.value("premises_queue_tokens", model=model, **{"class": "states"}) >= 0


def test_a_text_that_the_model_cannot_embed_is_named(models: TwoModels) -> None:
    refused = models.post(input=["fine", "poison"])
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith("input[1] cannot be embedded")
    assert httpx.post(f"{models.url}/embed", json={"inputs": "poison"}, timeout=PATIENCE_SECONDS).status_code == 422


def test_the_official_clients_retries_outlast_a_full_queue(models: TwoModels) -> None:
    statuses: list[int] = []
    refused = threading.Event()

    def note(response: httpx2.Response) -> None:
        statuses.append(response.status_code)
        if response.status_code == 429:
            assert 1 <= int(response.headers["retry-after"]) <= 120
            assert json.loads(response.read())["error"]["type"] == "rate_limit_error"
            refused.set()

    models.deployment.gate.touch()
    waiting = threading.Thread(target=models.post, kwargs={"input": "holds the queue"})
    asking = threading.Thread(target=lambda: answers.append(client.embeddings.create(model=MODEL, input="y" * 18)))
    answers: list[openai.types.CreateEmbeddingResponse] = []
    try:
        waiting.start()
        queue = f"{models.url}/queue"
        wait_until(lambda: httpx.get(queue).json()["classes"]["states"]["jobs"] == 1)
        with openai.DefaultHttpxClient(event_hooks={"response": [note]}) as connections:
            client = openai.OpenAI(base_url=f"{models.url}/v1", api_key="none", max_retries=5, http_client=connections)
            asking.start()
            assert refused.wait(PATIENCE_SECONDS)
            models.deployment.gate.unlink()
            asking.join(PATIENCE_SECONDS)
    finally:
        models.deployment.gate.unlink(missing_ok=True)
        waiting.join(PATIENCE_SECONDS)
    assert (statuses[0], statuses[-1]) == (429, 200)
    np.testing.assert_allclose(answers[0].data[0].embedding, expected("y" * 18), atol=1e-6)


def test_without_a_worker_of_one_model_the_other_is_served(models: TwoModels) -> None:
    models.vector(input="cached", model=OTHER)
    models.other_worker.stop()
    wait_until(lambda: models.described()[1]["live_workers"] == 0)
    refused = models.post(input="never seen", model=OTHER)
    assert refused.json()["error"]["code"] == "service_unavailable"
    assert int(refused.headers["retry-after"]) > 0
    assert models.vector(input="cached", model=OTHER) == pytest.approx(expected("cached"), abs=1e-6)
    assert models.post(input="never seen").status_code == 200
    assert httpx.get(f"{models.url}/health/ready").status_code == 200
