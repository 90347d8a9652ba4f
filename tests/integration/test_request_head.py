"""Request lines and headers without end: bounded in bytes and in time, by a real uvicorn."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from api.request_head import LONGEST_HEAD_BYTES, BoundedHeadProtocol
from tests.embedding_fakes import wait_until

ANSWER_SECONDS = 60
SLOW_SECONDS = 2.5
MOST_BYTES = 64 * 2**20
"""More than the buffers of a connection hold, so that sending ends only when it is closed."""


class QuickProtocol(BoundedHeadProtocol):
    """Waits for a head as briefly as a busy machine allows."""

    head_seconds = 2.0


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers at once, but at /slow when longer has passed than a head may take."""
    if scope["type"] == "http":
        if scope["path"] == "/slow":
            await asyncio.get_running_loop().run_in_executor(None, threading.Event().wait, SLOW_SECONDS)
        await PlainTextResponse("hello")(scope, receive, send)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        config = uvicorn.Config(hello, http=QuickProtocol, lifespan="off", log_config=None, ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        wait_until(lambda: server.started)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(ANSWER_SECONDS)


def answer_to(port: int, *parts: bytes) -> bytes:
    """Send the parts and read to the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as client:
        client.sendall(b"".join(parts))
        received = b""
        with suppress(ConnectionResetError):
            while chunk := client.recv(65536):
                received += chunk
    return received


def test_headers_without_end_are_refused_with_431_or_a_closed_connection(port: int) -> None:
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * (LONGEST_HEAD_BYTES + 1))
        received = client.recv(65536)
    assert received.startswith(b"HTTP/1.1 431 ")
    assert b'{"detail":"The request line and headers are larger than' in received
    assert time.monotonic() - begun < ANSWER_SECONDS


def test_a_flood_of_headers_ends_the_connection(port: int) -> None:
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with suppress(ConnectionError):
            while sent < MOST_BYTES:
                client.sendall(b"X-A: " + b"a" * 65536 + b"\r\n")
                sent += 65536
    assert sent < MOST_BYTES


def test_a_head_that_does_not_end_is_refused_in_time(port: int) -> None:
    received = answer_to(port, b"GET / HTTP/1.1\r\nHost: x\r\nX-A: a")
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within" in received


def test_a_request_that_is_being_answered_gets_its_answer_whatever_follows_it(port: int) -> None:
    request = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    for follows in (b"GET / HT", b"GET / HTTP/1.1\r\nX-A: " + b"a" * (LONGEST_HEAD_BYTES + 1)):
        received = answer_to(port, request, follows)
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert received.endswith(b"hello")
        assert received.count(b"HTTP/1.1") == 1


def test_a_connection_without_a_word_is_closed(port: int) -> None:
    assert answer_to(port) == b""


def test_what_is_no_request_is_bounded_too(port: int) -> None:
    assert answer_to(port, b"\r\n" * 5).startswith(b"HTTP/1.1 408 ")
    assert answer_to(port, b"\r\n" * LONGEST_HEAD_BYTES).startswith(b"HTTP/1.1 431 ")


def test_a_body_that_is_long_in_coming_is_no_head(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    body = b"a" * (2 * LONGEST_HEAD_BYTES)
    assert answer_to(port, head % len(body), body).startswith(b"HTTP/1.1 200 OK")


def test_usual_requests_share_a_connection_as_before(port: int) -> None:
    request = b"GET /?query=" + b"%E2%8A%A2" * 4000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    closing_one = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    received = answer_to(port, request, request, closing_one)
    assert received.count(b"HTTP/1.1 200 OK") == 3


def test_an_idle_connection_is_left_to_its_own_limit(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.settimeout(1.5 * QuickProtocol.head_seconds)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(ANSWER_SECONDS)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
