"""Pure ASGI middleware: request ids and one log line a request.

`BaseHTTPMiddleware` is not used anywhere: it hides a client's disconnect from the route.
"""

import asyncio
import logging
import re
import time
import uuid
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import error_response
from api.retrieval import StageTimes

STOPPING = "This API process is being stopped: send the request again, another one takes it."
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
        send_logged = entry.sending(send)
        try:
            await self._app(scope, receive, send_logged)
        except asyncio.CancelledError:  # the process stops, and this request has taken longer than it waits
            if entry.status:
                raise
            stopping = error_response(scope["path"], 503, STOPPING, headers={"Retry-After": "1"})
            await stopping(scope, receive, send_logged)
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
