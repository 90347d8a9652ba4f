"""What operators are answered is what the OpenAPI document says: while all is up, and while nothing is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from pydantic import BaseModel

from api.main import create_app
from api.status_schema import Alive, DeploymentStatus, NotReady, Queues, Ready
from shared.settings import Settings
from tests.embedding_fakes import wait_until
from tests.free_ports import free_port
from tests.integration.conftest import Server

ANSWERS = {"/status": DeploymentStatus, "/queue": Queues, "/health": Ready, "/health/ready": Ready}


@pytest.fixture(scope="module")
def unready() -> dict[str, httpx.Response]:
    """Answers of a replica with neither Redis nor a corpus, and its OpenAPI document."""
    settings = Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0", data_dir=Path("absent"))
    return asyncio.run(ask(create_app(settings), ["/openapi.json", "/metrics", "/health/live", *ANSWERS]))


async def ask(app: FastAPI, paths: list[str]) -> dict[str, httpx.Response]:
    async with running(app) as client:
        return {path: await client.get(path) for path in paths}


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        yield client


def check(document: httpx.Response, path: str, answer: httpx.Response, model: type[BaseModel]) -> None:
    """The answer validates against the document's schema, which is written out, and has nothing beside it."""
    operation = schemathesis.openapi.from_dict(document.json())[path]["GET"]
    described = document.json()["paths"][path]["get"]["responses"][str(answer.status_code)]["content"]
    assert described["application/json"]["schema"] == {"$ref": f"#/components/schemas/{model.__name__}"}
    operation.validate_response(answer)
    model.model_validate(answer.json(), strict=True, extra="forbid")


@pytest.mark.parametrize(("path", "model"), [*ANSWERS.items(), ("/health/live", Alive)])
def test_a_ready_server_answers_as_documented(server: Server, path: str, model: type[BaseModel]) -> None:
    document = server.client().get("/openapi.json")
    answer = server.client().get(path)
    assert answer.status_code == 200
    check(document, path, answer, model)


def test_status_has_corpus_model_workers_and_queue_when_all_is_up(server: Server) -> None:
    wait_until(lambda: server.client().get("/status").json()["workers"][0]["held_jobs"] == 0)  # of other tests
    status = server.client().get("/status").json()
    assert status["corpus"] is not None
    assert status["queue"] is not None
    [worker] = status["workers"]
    assert worker["queues"] == [f"corpus.{worker['namespace']}", f"embed.{worker['namespace']}"]
    assert (worker["takes_jobs"], worker["serves_us"], worker["device"], worker["held_jobs"]) == (True, True, "cpu", 0)
    assert min(worker[name] for name in ("tokens_per_second", "memory_bytes", "peak_memory_bytes", "started_at")) > 0
    assert status["model"]["tokens_per_second"] == worker["tokens_per_second"]
    assert (status["corpus"]["revision"], status["corpus"]["premises"], status["corpus"]["modules"]) == (
        "demo-1",
        780,
        40,
    )
    for depth in status["queue"]["classes"].values():
        assert depth == {"jobs": 0, "tokens": 0, "wait_seconds": 0.0}


@pytest.mark.parametrize(
    ("path", "status", "model"),
    [
        ("/health/live", 200, Alive),
        ("/health/ready", 503, NotReady),
        ("/health", 503, NotReady),
        ("/status", 200, DeploymentStatus),
    ],
)
def test_a_server_without_redis_and_corpus_answers_as_documented(
    unready: dict[str, httpx.Response], path: str, status: int, model: type[BaseModel]
) -> None:
    assert unready[path].status_code == status
    check(unready["/openapi.json"], path, unready[path], model)


def test_without_redis_status_says_what_is_missing_and_queue_503(unready: dict[str, httpx.Response]) -> None:
    status = unready["/status"].json()
    assert (status["corpus"], status["queue"], status["redis"]) == (None, None, {"reachable": False})
    assert status["reasons"] == unready["/health"].json()["reasons"]
    assert len(status["reasons"]) == 2
    assert unready["/queue"].status_code == 503


def test_metrics_are_documented_as_text(unready: dict[str, httpx.Response]) -> None:
    operation = schemathesis.openapi.from_dict(unready["/openapi.json"].json())["/metrics"]["GET"]
    operation.validate_response(unready["/metrics"])
    described = unready["/openapi.json"].json()["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert described == {"text/plain": {"schema": {"type": "string"}}}
    assert unready["/metrics"].headers["content-type"].startswith("text/plain")
