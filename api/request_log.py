"""Pure ASGI middleware: request ids, one log line a request, the body limit.

`BaseHTTPMiddleware` is not used anywhere: it hides a client's disconnect from the route.
"""

import logging
import re
import time
import uuid
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import json_response
from api.retrieval import StageTimes
from shared.errors import PayloadTooLargeError

ACCEPTABLE_REQUEST_ID = re.compile(r"[\w.:+/=-]{1,128}", re.ASCII)

log = logging.getLogger("api.request")


class RequestLog:
    """Gives each request an id and stage times in its state, and logs it when it has ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        entry = _Entry(scope)
        try:
            await self._app(scope, receive, entry.sending(send))
        finally:
            entry.write()


@dataclass
class _Entry:
    scope: Scope
    status: int = 0

    def __post_init__(self) -> None:
        self.started = time.perf_counter()
        given = Headers(scope=self.scope).get("x-request-id", "")
        self.request_id = given if ACCEPTABLE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.stages = StageTimes()
        state = self.scope.setdefault("state", {})
        state["request_id"], state["stages"] = self.request_id, self.stages

    def sending(self, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = self.request_id
                if self.stages.seconds:
                    headers["Server-Timing"] = self._server_timing()
            await send(message)

        return send_with_headers

    def _server_timing(self) -> str:
        return ", ".join(f"{stage};dur={seconds * 1000:.1f}" for stage, seconds in self.stages.seconds.items())

    def write(self) -> None:
        level = logging.DEBUG if self.scope["path"].startswith("/health") else logging.INFO
        fields = {f"{stage}_ms": round(seconds * 1000, 1) for stage, seconds in self.stages.seconds.items()}
        log.log(
            level,
            "%s %s %s",
            self.scope["method"],
            ascii(self.scope["path"])[1:-1],
            self.status or "disconnected",
            extra={
                "total_ms": round((time.perf_counter() - self.started) * 1000, 1),
                **fields,
                **self.stages.counts,
                "request_id": self.request_id,
            },
        )


class BodyLimit:
    """Answers 413 as soon as a body is, or says it will be, larger than the limit."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._max_body_bytes:
            response = json_response({"detail": too_large(self._max_body_bytes)}, 413, {"Connection": "close"})
            await response(scope, receive, send)
            return
        await self._app(scope, self._counting(receive), send)

    def _counting(self, receive: Receive) -> Receive:
        received_bytes = 0

        async def receive_counting() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > self._max_body_bytes:
                raise PayloadTooLargeError(too_large(self._max_body_bytes))
            return message

        return receive_counting


def too_large(max_body_bytes: int) -> str:
    """What a caller with too large a body is told."""
    return f"The body is larger than {max_body_bytes} bytes: send fewer or shorter premises."
