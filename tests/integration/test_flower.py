"""Flower over a real Redis and a real worker: it shows names and counts, no text, and nothing without a password."""

import base64
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from flower.urls import handlers
from tornado.web import RequestHandler, URLSpec

from shared.celery_app import send_job
from shared.messages import EMBED_TASK, EmbedJob, Priority
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.fake_deployment import FakeDeployment, fake_deployment
from tests.free_ports import free_port
from tests.processes import Process, celery_client, running, status_of

LOGIN = ("someone", "a password of theirs")
MARKER = "unpublished-lemma-7c1e"
OPEN_TO_ALL = {"/metrics", "/healthcheck", "/static/(.*)", "/login/?", "/logout", ".*"}
"""Worker names, task names and counts; the rest holds nothing."""
NEVER_ENDS_SECONDS = 9e9


class Flower:
    """`celery -A shared.celery_app flower` as a process, and a client that may look at it."""

    def __init__(self, process: Process, url: str, database: Path) -> None:
        self.process = process
        self.url = url
        self.database = database
        self.client = httpx.Client(base_url=url, auth=LOGIN, timeout=PATIENCE_SECONDS)

    def json(self, path: str) -> Any:  # noqa: ANN401 - JSON of another program
        return self.client.get(path).raise_for_status().json()

    def worker_name(self) -> str:
        """The worker's, as Flower has it; a busy machine may let one inspection pass unanswered."""
        wait_until(lambda: self.json("/api/workers?refresh=1"))
        [name] = self.json("/api/workers")
        return str(name)

    def task(self, job_id: str) -> dict[str, Any]:
        tasks: dict[str, dict[str, Any]] = self.json("/api/tasks")
        return tasks.get(job_id, {})


@contextmanager
def running_flower(deployment: FakeDeployment) -> Iterator[Flower]:
    port = free_port()
    database = deployment.folder / "flower-state"
    environment = deployment.environment | {
        "FLOWER_BASIC_AUTH": ":".join(LOGIN),
        "FLOWER_PERSISTENT": "true",
        "FLOWER_DB": str(database),
    }
    command = [sys.executable, "-m", "celery", "-A", "shared.celery_app", "flower", "--address=127.0.0.1"]
    with running([*command, f"--port={port}"], deployment.folder / "flower.log", environment) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: process.popen.poll() is not None or status_of(f"{url}/healthcheck") == 200)
        assert process.popen.poll() is None, process.output()
        flower = Flower(process, url, database)
        with flower.client:
            yield flower


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDeployment]:
    with fake_deployment(tmp_path_factory.mktemp("flower")) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def worker(deployment: FakeDeployment) -> Iterator[Process]:
    """With the most talkative log."""
    deployment.gate.touch()
    with deployment.worker(LOG_LEVEL="DEBUG") as worker:
        yield worker


@pytest.fixture(scope="module")
def flower(deployment: FakeDeployment, worker: Process) -> Iterator[Flower]:
    with running_flower(deployment) as flower:
        wait_until(lambda: 'flower_worker_online{worker="premises-' in flower.client.get("/metrics").text)
        yield flower


def send(deployment: FakeDeployment, job_id: str, texts: list[str]) -> None:
    job = EmbedJob(job_id, "fake", Priority.STATE, texts, "nobody", deadline=NEVER_ENDS_SECONDS)
    with celery_client(deployment.settings.redis_url) as app:
        send_job(app, job)


def pages(flower: Flower, job_id: str) -> dict[str, str]:
    """Everything that Flower shows, and its answers for programs."""
    name = flower.worker_name()
    return {
        path: flower.client.get(path).raise_for_status().text
        for path in (
            "/",
            "/workers?json=1",
            f"/worker/{name}",
            "/tasks",
            "/tasks/datatable?draw=1&start=0&length=50&search[value]=&order[0][column]=0&order[0][dir]=asc",
            f"/task/{job_id}",
            "/broker",
            "/metrics",
            "/api/workers?refresh=1",
            f"/api/workers?refresh=1&workername={name}",
            "/api/tasks",
            f"/api/tasks?search={MARKER}",
            f"/api/task/info/{job_id}",
            "/api/task/types",
            "/api/queues/length",
        )
    }


def holds_marker(content: bytes) -> bool:
    """Whether the marker is in there, as it stands or in any of its three shapes inside base64."""
    shapes = [base64.b64encode(b"\0" * shift + MARKER.encode())[4:-4] for shift in range(3)]
    return any(shape in content for shape in (MARKER.encode(), *shapes))


def test_a_job_is_seen_with_its_count_and_its_texts_nowhere(
    deployment: FakeDeployment, worker: Process, flower: Flower
) -> None:
    assert holds_marker(base64.b64encode(b"xy " + MARKER.encode() + b" z"))
    send(deployment, "held", [f"⊢ {MARKER}", f"{MARKER} again"])
    send(deployment, "failing", [f"poison {MARKER}", f"untokenizable {MARKER}"])
    wait_until(lambda: flower.task("held").get("state") == "STARTED")
    seen = flower.task("held")
    assert (seen["name"], seen["args"], seen["kwargs"]) == (EMBED_TASK, "()", "{texts: 2}")
    held = pages(flower, "held")
    assert [path for path, page in held.items() if holds_marker(page.encode())] == []
    assert "{texts: 2}" in held["/task/held"].replace("&#123;", "{").replace("&#125;", "}")
    with celery_client(deployment.settings.redis_url) as app:
        inspect = app.control.inspect([flower.worker_name()], timeout=30)
        told = [inspect.active(), inspect.reserved(), inspect.query_task("held")]
    assert str(told).count("{texts: 2}") >= 2
    assert not holds_marker(str(told).encode())
    deployment.gate.unlink()
    wait_until(lambda: {flower.task(job).get("state") for job in ("held", "failing")} == {"SUCCESS"})
    done = pages(flower, "failing")
    assert [path for path, page in done.items() if holds_marker(page.encode())] == []
    assert not holds_marker(worker.output().encode())
    assert "TaskPool: Apply" not in worker.output(), "Celery logs the arguments themselves, as far as a line has room"


def as_route(route: tuple[Any, ...] | URLSpec) -> URLSpec:
    return URLSpec(*route) if isinstance(route, tuple) else route


def routes() -> list[tuple[str, str]]:
    """Method and pattern of everything that Flower answers."""
    patterns = [(route.regex.pattern.removesuffix("$"), route.handler_class) for route in map(as_route, handlers)]
    return [
        (method.upper(), pattern)
        for pattern, handler in patterns
        for method in ("get", "post")
        if getattr(handler, method) is not getattr(RequestHandler, method)
    ]


def test_without_the_password_nothing_is_told_and_nothing_done(worker: Process, flower: Flower) -> None:
    asked = [(method, pattern) for method, pattern in routes() if pattern not in OPEN_TO_ALL]
    assert len([method for method, _ in asked if method == "POST"]) >= 10
    assert ("POST", "/api/worker/shutdown/(.+)") in asked
    name = flower.worker_name()
    for auth in (None, (LOGIN[0], "a guess"), ("", "")):
        with httpx.Client(base_url=flower.url, auth=auth, timeout=PATIENCE_SECONDS) as stranger:
            for method, pattern in asked:
                path = pattern.replace("(.+)", name).replace("(.*)", "held")
                answer = stranger.request(method, path)
                assert (answer.status_code, path) == (401, path)
                assert name not in answer.text
    assert worker.popen.poll() is None


def test_what_is_kept_on_disk_has_no_text_and_the_password_gives_control(worker: Process, flower: Flower) -> None:
    name = flower.worker_name()
    shut_down = flower.client.post(f"/api/worker/shutdown/{name}")
    assert shut_down.status_code == 200
    assert worker.popen.wait(PATIENCE_SECONDS) == 0
    flower.process.stop()
    kept = [path for path in flower.database.parent.glob("flower-state*") if path.is_file()]
    content = b"".join(path.read_bytes() for path in kept)
    assert b"{texts: 2}" in content
    assert not holds_marker(content)
    assert not holds_marker(flower.process.output().encode())


def test_no_page_is_served_where_nobody_may_log_in(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "api.commands.main", "flower", f"--port={free_port()}"]
    with running(command, tmp_path / "flower.log", {"FLOWER_BASIC_AUTH": ""}) as process:
        assert process.popen.wait(PATIENCE_SECONDS) == 2
        assert "asks for a password always" in process.output()
