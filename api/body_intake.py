"""How much of the bodies that clients send is taken in: the limit of one, the memory for all, the time for each.

A body that finds no room is received to its end, since clients read no answer before, but thrown away as it comes.
Pure ASGI middleware, for the reason in `api/request_log.py`.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import error_response
from api.json_body import LARGE_BODY_BYTES
from api.retrieval import StageTimes
from shared.errors import OverloadedError, PayloadTooLargeError, SlowRequestError

LONGEST_UNREAD_RETRY_AFTER_SECONDS = 3
"""Bodies are read within a second; a spread keeps those that are refused together from returning together."""


@dataclass
class BodyRoom:
    """What one process has room for: bytes of bodies in memory, and large bodies being read."""

    max_bodies_bytes: int
    max_large_bodies: int
    held_bytes: int = 0
    large_bodies: int = 0
    unread_bodies: int = 0

    def take(self, size_bytes: int) -> bool:
        """Room for more bytes, if there is any; one body alone always has it."""
        if self.held_bytes and self.held_bytes + size_bytes > self.max_bodies_bytes:
            return False
        self.held_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """The bytes are no longer held."""
        self.held_bytes -= size_bytes

    def refuse(self) -> OverloadedError:
        """A refusal of a body that is not read, counted."""
        self.unread_bodies += 1
        seconds = random.randint(1, LONGEST_UNREAD_RETRY_AFTER_SECONDS)
        return OverloadedError(
            f"The server has its hands full with other bodies: try again after {seconds} s.", seconds, "bodies"
        )

    @contextmanager
    def place_for(self, body: bytes) -> Iterator["LargeBodyPlace"]:
        """A place among the large bodies that are worked on; raises `OverloadedError` where none is free."""
        place = LargeBodyPlace(self, needed=len(body) >= LARGE_BODY_BYTES)
        try:
            yield place
        finally:
            place.leave()


class LargeBodyPlace:
    """Held by a request with a large body until its texts have been looked up and admitted, or it is refused."""

    def __init__(self, room: BodyRoom, *, needed: bool) -> None:
        if needed and room.large_bodies >= room.max_large_bodies:
            raise room.refuse()
        self._room = room
        self._held = needed
        room.large_bodies += needed

    def leave(self) -> None:
        """Make room for the next one; once is enough."""
        self._room.large_bodies -= self._held
        self._held = False


class BodyIntake:
    """Answers 413 once a body is, or says it will be, too large; 429 when there is no room; 408 when it is slow."""

    def __init__(self, app: ASGIApp, room: BodyRoom, *, max_body_bytes: int, timeout_seconds: float) -> None:
        self._app = app
        self._room = room
        self._max_body_bytes = max_body_bytes
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._max_body_bytes:
            await error_response(scope["path"], 413, too_large(self._max_body_bytes))(scope, receive, send)
            return
        body = _IncomingBody(receive, self._room, self._max_body_bytes, self._timeout_seconds, scope["state"]["stages"])
        try:
            await self._app(scope, body.receive, send)
        finally:
            self._room.give_back(body.held_bytes)


@dataclass
class _IncomingBody:
    """One request's body on its way, held or thrown away."""

    source: Receive
    room: BodyRoom
    max_body_bytes: int
    timeout_seconds: float
    stages: StageTimes
    received_bytes: int = 0
    held_bytes: int = 0
    unread: bool = False
    complete: bool = False
    started: float = field(default_factory=time.perf_counter)

    async def receive(self) -> Message:
        """The next message of the connection; raises the named errors of `BodyIntake`."""
        if self.complete:
            return await self.source()
        message = await self._next_in_time()
        while self._take(message) and self.unread:
            message = await self._next_in_time()
        return message

    async def _next_in_time(self) -> Message:
        left = self.timeout_seconds - (time.perf_counter() - self.started)
        try:
            return await asyncio.wait_for(self.source(), max(0.0, left))
        except TimeoutError:
            raise SlowRequestError(
                f"The body did not arrive within {self.timeout_seconds:g} seconds: send it faster, or less of it."
            ) from None

    def _take(self, message: Message) -> bool:
        """Hold a part of the body, or throw it away; returns whether there is more to come."""
        size_bytes = len(message.get("body", b""))
        self.received_bytes += size_bytes
        if self.received_bytes > self.max_body_bytes:
            raise PayloadTooLargeError(too_large(self.max_body_bytes))
        if self.room.take(0 if self.unread else size_bytes):
            self.held_bytes += 0 if self.unread else size_bytes
        else:
            self.room.give_back(self.held_bytes)
            self.unread, self.held_bytes = True, 0
        self.complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
        if self.complete and self.received_bytes:
            self.stages.note("receive", self.started)
        if self.complete and self.unread and message["type"] != "http.disconnect":
            raise self.room.refuse()
        return not self.complete


def too_large(max_body_bytes: int) -> str:
    """What a caller with too large a body is told."""
    return f"The body is larger than {max_body_bytes} bytes: send fewer or shorter texts."
