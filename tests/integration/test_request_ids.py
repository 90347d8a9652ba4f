"""One id finds every line about a request: those of the API, here in JSON, and those of the worker, here readable."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import pytest

from shared.embedding_cache import text_key
from shared.redis_client import batches_key
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.fake_deployment import FakeDeployment, fake_deployment
from tests.processes import Process, run_prepare, running_api

WORKER_MEMORY_TOKENS = "200"
"""A text of more tokens, which are bytes here, fails in the worker."""


@dataclass
class Logged:
    """An API and a worker, and what they log."""

    fake: FakeDeployment
    worker: Process
    url: str

    def ask(self, state: str, request_id: str) -> int:
        body = {"state": state, "k": 3}
        response = httpx.post(
            f"{self.url}/retrieve", json=body, headers={"X-Request-ID": request_id}, timeout=PATIENCE_SECONDS
        )
        return response.status_code

    @contextmanager
    def asking(self, state: str, request_id: str) -> Iterator[None]:
        """A client that leaves at the end of the block, answered or not."""
        body = json.dumps({"state": state, "k": 3})
        head = (
            f"POST /retrieve HTTP/1.1\r\nHost: x\r\nX-Request-ID: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", int(self.url.rsplit(":", 1)[1]))) as client:
            client.sendall((head + body).encode())
            yield

    def entries(self, request_id: str) -> list[dict[str, object]]:
        """The API's lines with this id; all of them are JSON."""
        whole, _, _ = (self.fake.folder / "api.log").read_text().rpartition("\n")  # the last line may be half there
        entries = map(json.loads, whole.splitlines())
        return [entry for entry in entries if entry.get("request_id") == request_id]

    def answered(self, request_id: str) -> dict[str, object]:
        """The API's one line about a request."""
        wait_until(lambda: self.entries(request_id))
        [entry] = self.entries(request_id)
        return entry

    def worker_says(self, request_id: str, words: str) -> str:
        """The worker's first line with this id and these words, once it is there."""

        def found() -> list[str]:
            return [line for line in self.worker.output().splitlines() if request_id in line and words in line]

        wait_until(found)
        line = found()[0]
        assert line.count(request_id) == 1
        return line


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    folder = tmp_path_factory.mktemp("ids")
    with ExitStack() as stack:
        fake = stack.enter_context(fake_deployment(folder))
        with fake.worker():
            run_prepare(folder / "prepare.log", fake.environment)
        worker = stack.enter_context(fake.worker(2, FAKE_WORKER_MEMORY_TOKENS=WORKER_MEMORY_TOKENS))
        api_environment = fake.environment | {"LOG_FORMAT": "json"}
        yield Logged(fake, worker, stack.enter_context(running_api(folder / "api.log", api_environment)))


def test_a_request_and_its_job_share_the_id(logged: Logged) -> None:
    assert logged.ask("a goal", "found-by-this") == 200
    entry = logged.answered("found-by-this")
    assert (entry["method"], entry["path"], entry["status"]) == ("POST", "/retrieve", 200)
    assert isinstance(entry["total_ms"], float)
    logged.worker_says("found-by-this", "to embed")


def test_the_configuration_is_an_object_in_json(logged: Logged) -> None:
    first = json.loads((logged.fake.folder / "api.log").read_text().splitlines()[0])
    assert first["configuration"]["MODEL_ID"] == logged.fake.environment["MODEL_ID"]
    assert first["configuration"]["MAX_TEXT_CHARACTERS"] == 1_000_000


def test_a_text_that_fails_is_found_by_the_id(logged: Logged) -> None:
    assert logged.ask("x" * 300, "fails-1") == 422
    assert logged.answered("fails-1")["status"] == 422
    assert "ERROR" in logged.worker_says("fails-1", "dead letter")


def test_every_end_of_a_request_has_one_line_with_its_id(logged: Logged) -> None:
    ask = {"Origin": "https://lean.example", "Access-Control-Request-Method": "POST"}
    ends = {
        "end-200": ("GET", "/max-new-premises", b"", {}),
        "end-404": ("POST", "/nowhere", b"x", {}),
        "end-405": ("OPTIONS", "/retrieve", b"", ask),
        "end-413": ("POST", "/retrieve", bytes(16_777_217), {}),
        "end-422": ("POST", "/retrieve", b"{", {}),
    }
    for request_id, (method, path, body, headers) in ends.items():
        sent = {**headers, "X-Request-ID": request_id}
        response = httpx.request(method, logged.url + path, content=body, headers=sent, timeout=PATIENCE_SECONDS)
        entry = logged.answered(request_id)
        assert f"end-{response.status_code}" == response.headers["x-request-id"] == request_id
        assert (entry["method"], entry["path"], entry["status"]) == (method, path, response.status_code)


def test_a_job_that_nobody_waits_for_is_found_by_the_id(logged: Logged) -> None:
    logged.fake.gate.touch()
    try:
        with logged.asking("left", "left-1"):
            logged.worker_says("left-1", "to embed")
        assert logged.answered("left-1")["status"] == 499
        logged.worker_says("left-1", "nobody waits for it any more")
    finally:
        logged.fake.gate.unlink()
    wait_until(lambda: not logged.fake.client.hlen(batches_key("fake")))  # its batch has seen the gate open


def test_a_job_that_goes_back_to_the_queue_is_found_by_the_id(logged: Logged) -> None:
    logged.fake.gate.touch()
    try:
        with logged.asking("is in the model", "stays-1"):
            in_model = text_key("is in the model").encode()
            wait_until(lambda: any(in_model in batch for batch in logged.fake.client.hvals(batches_key("fake"))))
            with logged.asking("waits for the model", "back-1"):
                logged.worker_says("back-1", "to embed")
                logged.worker.popen.send_signal(signal.SIGTERM)
                logged.worker_says("back-1", "reject requeue=True")
    finally:
        logged.fake.gate.unlink()
