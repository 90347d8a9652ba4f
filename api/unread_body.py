"""Answers that are given before the body has come: the rest is received and thrown away, in bounded time.

A client that still is sending would not read the answer of a connection that is reset, so the answer goes out whole and
is ended when the body is, or when its time is up.  Then the connection is closed.  Pure ASGI middleware, for the reason
in `api/request_log.py`.
"""

import asyncio
import time
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class UnreadBody:
    """Throws away what an application has not read of a body, for `timeout_seconds` since the request came."""

    def __init__(self, app: ASGIApp, *, timeout_seconds: float) -> None:
        self._app = app
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        await self._app(scope, exchange.receive, exchange.send)
        await exchange.finish(self._timeout_seconds)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


@dataclass
class _Exchange:
    """One request and its answer, whose end is held back while there is more of the request."""

    source: Receive
    sink: Send
    body_complete: bool = False
    answer_held: bool = False
    started: float = field(default_factory=time.perf_counter)

    async def receive(self) -> Message:
        message = await self.source()
        self.body_complete |= message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self.body_complete:
            MutableHeaders(scope=message)["Connection"] = "close"
        if message["type"] == "http.response.body" and not self.body_complete and not message.get("more_body", False):
            self.answer_held = True
            message = {**message, "more_body": True}
        await self.sink(message)

    async def finish(self, timeout_seconds: float) -> None:
        if not self.answer_held:
            return
        left = timeout_seconds - (time.perf_counter() - self.started)
        try:
            async with asyncio.timeout(max(0.0, left)):
                while not self.body_complete:
                    await self.receive()
        except TimeoutError:
            pass
        await self.sink({"type": "http.response.body"})
