"""Bodies on their way: held while there is room, thrown away as they come where there is none."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from starlette.types import Message, Receive, Scope, Send

from api.body_intake import BodyIntake, BodyRoom
from api.json_body import LARGE_BODY_BYTES
from api.retrieval import StageTimes
from shared.errors import OverloadedError, PayloadTooLargeError, SlowRequestError

Handler = Callable[[bytes], Awaitable[None]]


def part(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


class Connection:
    """Parts of a body that come when they are asked for; after the last one nothing comes."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.parts = [part(body, more=place + 1 < len(parts)) for place, body in enumerate(parts)]
        self.taken = 0

    async def receive(self) -> Message:
        if self.taken == len(self.parts):
            await asyncio.Event().wait()
        self.taken += 1
        return self.parts[self.taken - 1]


async def serve(
    room: BodyRoom, connection: Connection, handle: Handler, *, max_body_bytes: int = 1000, seconds: float = 10.0
) -> None:
    """Run the middleware around an application that reads its body and hands it to `handle`."""

    async def application(_scope: Scope, receive: Receive, _send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await handle(body)

    async def send(_message: Message) -> None:
        pass

    intake = BodyIntake(application, room, max_body_bytes=max_body_bytes, timeout_seconds=seconds)
    scope: Scope = {"type": "http", "headers": [], "state": {"stages": StageTimes()}}
    await intake(scope, connection.receive, send)


def room(max_bodies_bytes: int = 100, max_large_bodies: int = 1) -> BodyRoom:
    return BodyRoom(max_bodies_bytes, max_large_bodies)


def test_a_body_is_held_while_its_request_is_served_and_no_longer() -> None:
    there = room()
    held = []

    async def handle(body: bytes) -> None:
        held.append((body, there.held_bytes))

    asyncio.run(serve(there, Connection([b"ab", b"cde"]), handle))
    assert held == [(b"abcde", 5)]
    assert there.held_bytes == 0


def test_a_body_without_room_is_received_to_its_end_and_refused_unread() -> None:
    there = room(max_bodies_bytes=100)
    there.take(98)
    connection = Connection([b"ab", b"cd", b"ef", b"gh"])

    async def handle(_body: bytes) -> None:
        raise AssertionError("it was read")

    with pytest.raises(OverloadedError) as refused:
        asyncio.run(serve(there, connection, handle))
    assert 1 <= refused.value.retry_after_seconds <= 3
    assert connection.taken == 4
    assert (there.held_bytes, there.unread_bodies) == (98, 1)


def test_a_body_that_is_alone_has_room_however_large() -> None:
    got = []

    async def handle(body: bytes) -> None:
        got.append(len(body))

    asyncio.run(serve(room(max_bodies_bytes=10), Connection([b"x" * 500]), handle))
    assert got == [500]


def test_a_body_over_the_limit_is_refused_before_its_end() -> None:
    there = room(max_bodies_bytes=10_000)
    connection = Connection([b"x" * 600, b"x" * 600, b"x"])

    async def handle(_body: bytes) -> None:
        raise AssertionError("it was read")

    with pytest.raises(PayloadTooLargeError):
        asyncio.run(serve(there, connection, handle))
    assert connection.taken == 2
    assert there.held_bytes == 0


def test_a_body_that_does_not_come_to_its_end_is_not_waited_for() -> None:
    there = room()
    connection = Connection([b"ab", b"cd"])
    connection.parts.pop()

    async def handle(_body: bytes) -> None:
        raise AssertionError("it was read")

    with pytest.raises(SlowRequestError, match=r"within 0\.05 seconds"):
        asyncio.run(serve(there, connection, handle, seconds=0.05))
    assert there.held_bytes == 0


def test_so_many_large_bodies_are_worked_on_at_once_and_no_more() -> None:
    there = room(max_large_bodies=2)
    large = b"x" * LARGE_BODY_BYTES
    with there.place_for(large) as first, there.place_for(large):
        with pytest.raises(OverloadedError), there.place_for(large):
            raise AssertionError("it was let in")
        with there.place_for(b"small"):
            assert there.large_bodies == 2
        first.leave()
        first.leave()
        with there.place_for(large):
            assert there.large_bodies == 2
    assert there.large_bodies == 0
