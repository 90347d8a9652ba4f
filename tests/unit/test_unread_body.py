"""What is left of a body when the answer is given: thrown away in bounded time, before the connection is closed."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from api.unread_body import UnreadBody

LENGTH = [(b"content-length", b"6")]
CHUNKED = [(b"transfer-encoding", b"chunked")]


class Connection:
    """Parts of a body that come one by one, then the disconnect or nothing; notes what is sent, and when."""

    def __init__(self, parts: Sequence[bytes], *, complete: bool = True) -> None:
        self.parts: list[Message] = [
            {"type": "http.request", "body": part, "more_body": not complete or place + 1 < len(parts)}
            for place, part in enumerate(parts)
        ]
        self.events: list[str] = []
        self.headers: list[tuple[bytes, bytes]] = []

    async def receive(self) -> Message:
        if not self.parts:
            await asyncio.Event().wait()
        self.events.append("part")
        return self.parts.pop(0)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.headers = message["headers"]
        elif message.get("body"):
            self.events.append("answer")
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.events.append("end")


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("no", 413)(scope, receive, send)


async def read_and_answer(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await PlainTextResponse("yes")(scope, receive, send)


def serve(
    connection: Connection,
    headers: list[tuple[bytes, bytes]],
    *,
    reads: bool = False,
    seconds: float = 10.0,
) -> None:
    scope: Scope = {"type": "http", "headers": headers}
    guarded = UnreadBody(read_and_answer if reads else refuse, timeout_seconds=seconds)
    asyncio.run(guarded(scope, connection.receive, connection.send))


@pytest.mark.parametrize("headers", [LENGTH, CHUNKED], ids=["declared", "chunked"])
def test_the_answer_goes_out_first_and_ends_with_the_body(headers: list[tuple[bytes, bytes]]) -> None:
    connection = Connection([b"ab", b"cd", b"ef"])
    serve(connection, headers)
    assert connection.events == ["answer", "part", "part", "part", "end"]
    assert (b"connection", b"close") in connection.headers


def test_a_body_that_does_not_end_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    connection = Connection([b"ab"], complete=False)
    serve(connection, LENGTH, seconds=0.05)
    assert connection.events == ["answer", "part", "end"]
    assert caplog.records == []


def test_a_client_that_leaves_ends_it() -> None:
    connection = Connection([b"ab"], complete=False)
    connection.parts.append({"type": "http.disconnect"})
    serve(connection, LENGTH)
    assert connection.events == ["answer", "part", "part", "end"]


def test_an_answer_after_the_body_leaves_the_connection_open() -> None:
    connection = Connection([b"ab", b"cd"])
    serve(connection, LENGTH, reads=True)
    assert connection.events == ["part", "part", "answer", "end"]
    assert b"connection" not in dict(connection.headers)


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"0")]], ids=["none", "empty"])
def test_a_request_without_a_body_is_left_alone(headers: list[tuple[bytes, bytes]]) -> None:
    connection = Connection([])
    serve(connection, headers)
    assert connection.events == ["answer", "end"]
    assert connection.headers
    assert b"connection" not in dict(connection.headers)
