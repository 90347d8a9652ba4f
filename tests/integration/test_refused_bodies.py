"""Bodies that one API process (without Redis and corpus) refuses before they have come, by raw sockets and curl."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse

import pytest

from tests.free_ports import free_port
from tests.processes import running_api

TIMEOUT_SECONDS = 6.0
CLOCK_SECONDS = 0.1
"""The server's event loop tells the time by whole milliseconds, so that it may be up a little early."""
PATIENCE_SECONDS = 60.0
MAX_BODY_BYTES = 1_000_000
TOO_LARGE = {"detail": "The body is larger than 1000000 bytes: send fewer or shorter texts."}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("refusals")
    environment = {
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "DATA_DIR": str(folder),
        "MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "RETRIEVE_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
    }
    with running_api(folder / "api.log", environment, ready=False) as url:
        yield int(url.rsplit(":", 1)[1])
        log = (folder / "api.log").read_text()
        assert "Traceback" not in log
        assert "ASGI callable" not in log


@contextmanager
def sending(port: int, head: str, body: bytes = b"") -> Iterator[tuple[socket.socket, HTTPResponse]]:
    """A request that has been begun, and its answer once that has begun to come."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(f"{head}\r\nHost: x\r\n\r\n".encode() + body)
        response = HTTPResponse(connection)
        response.begin()
        yield connection, response


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        ("POST /retrieve HTTP/1.1\r\nContent-Length: 5000000", b"x" * 10, 413),
        ("POST /retrieve HTTP/1.1\r\nTransfer-Encoding: chunked", b"200000\r\n" + b"x" * 100_000, 503),
    ],
    ids=["too large", "not ready"],
)
def test_a_refused_body_is_not_waited_for_longer_than_any_other(port: int, head: str, body: bytes, status: int) -> None:
    started = time.monotonic()
    with sending(port, head, body) as (connection, response):
        assert (response.status, json.loads(response.read()).keys()) == (status, {"detail"})
        answered = time.monotonic() - started
        connection.sendall(b"x")  # it is still taken
        assert connection.recv(1) == b""
        taken = time.monotonic() - started
        assert answered < TIMEOUT_SECONDS - CLOCK_SECONDS < taken < TIMEOUT_SECONDS + 20


def test_a_client_that_sends_everything_first_reads_the_answer(port: int) -> None:
    body = b"x" * 20_000_000  # more than the buffers of both ends hold
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n" + body)
        response = HTTPResponse(connection)
        response.begin()
        assert (response.status, json.loads(response.read())) == (413, TOO_LARGE)
        assert response.headers["connection"] == "close"


def test_curl_that_waits_for_leave_to_send_reads_the_answer_and_sends_nothing(port: int) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    command = [curl, "-sv", "-X", "POST", "--expect100-timeout", "30", "--data-binary", "@-"]
    url = f"http://127.0.0.1:{port}/retrieve"
    done = subprocess.run(
        [*command, url], input=b"x" * 1_500_000, capture_output=True, timeout=PATIENCE_SECONDS, check=True
    )
    assert json.loads(done.stdout) == TOO_LARGE
    assert b"HTTP/1.1 413" in done.stderr
    assert b"100 Continue" not in done.stderr


def test_an_unknown_path_is_answered_before_its_body_has_come(port: int) -> None:
    with sending(port, "POST /nowhere HTTP/1.1\r\nContent-Length: 100") as (connection, response):
        assert response.status == 404
        assert json.loads(response.read())["detail"].startswith("There is nothing at this path")
        connection.sendall(b"x" * 100)
        assert connection.recv(1) == b""


def test_a_connection_stays_open_after_a_request_without_a_body(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        for _ in range(2):
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            response = HTTPResponse(connection)
            response.begin()
            assert response.status == 200
            response.read()
