"""Which route a request was for, whatever routes an application has."""

import re
from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

import api
from api.dependencies import Stages
from api.main import create_app
from api.request_metrics import UNKNOWN_ROUTE
from api.retrieval import STAGES
from api.route_table import RouteTable, method_of
from shared.settings import Settings


async def static(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that is mounted."""


def make_app() -> FastAPI:
    router = APIRouter()

    @router.get("/models/{model_id:path}", responses={404: {}})
    async def model(model_id: str) -> None: ...

    @router.post("/work")
    @router.get("/work")
    async def work(stages: Stages, request: Request) -> None: ...

    app = FastAPI(docs_url=None, redoc_url=None)
    app.include_router(router)
    app.router.routes.append(Mount("/files", static))
    return app


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/models/a/b/c", "/models/{model_id:path}"),
        ("/work", "/work"),
        ("/files/secret/name.css", "/files"),
        ("/openapi.json", "/openapi.json"),
        ("/work/", UNKNOWN_ROUTE),
        ("/", UNKNOWN_ROUTE),
        ("/wp-admin.php", UNKNOWN_ROUTE),
    ],
)
def test_a_path_that_was_answered_before_it_was_routed_gets_its_template(path: str, label: str) -> None:
    assert RouteTable(make_app()).path_of({"type": "http", "path": path}) == label


def test_routes_tell_their_methods_statuses_and_whether_they_time_stages() -> None:
    routes = {(route.path, method): route for route in RouteTable(make_app()).routes for method in route.methods}
    assert routes["/models/{model_id:path}", "GET"].statuses >= {200, 404}
    assert not routes["/models/{model_id:path}", "GET"].has_stages
    assert routes["/work", "POST"].has_stages
    assert routes["/work", "GET"].has_stages


def test_only_methods_that_http_names_become_labels() -> None:
    assert method_of({"method": "POST"}) == "POST"
    assert method_of({"method": "X" * 1000}) == "other"


def test_the_applications_own_routes_are_all_there() -> None:
    app = create_app(Settings())
    paths = RouteTable(app).paths
    assert set(app.openapi()["paths"]) <= {re.sub(r":path}", "}", path) for path in paths}
    assert {"/retrieve", "/metrics", "/health/live"} <= set(paths)


def test_every_stage_that_is_timed_is_one_of_the_listed() -> None:
    sources = "\n".join(path.read_text() for path in Path(api.__file__).parent.rglob("*.py"))
    timed = set(re.findall(r"\.(?:timing|note)\(\"(\w+)\"", sources))
    assert timed == set(STAGES)
