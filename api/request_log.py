"""Pure ASGI middleware: request ids, and one log line for each request however it ends.

`BaseHTTPMiddleware` is not used anywhere: it hides a client's disconnect from the route.
"""

import asyncio
import logging
import re
import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access_control import HEALTH_PATHS
from api.errors import CLIENT_LEFT, error_response, unexpected_failure
from api.provenance import Provenance
from api.retrieval import StageTimes

STOPPING = "This API process is being stopped: send the request again, another one takes it."
ACCEPTABLE_REQUEST_ID = re.compile(r"[\w.:+/=-]{1,128}", re.ASCII)
LONGEST_PATH = 500
"""Characters of a path that are logged."""

REQUEST_ID: ContextVar[str] = ContextVar("REQUEST_ID", default="")

log = logging.getLogger("api.request")


class RequestFields(logging.Filter):
    """Adds `request_id` to each line that is logged while a request is worked on."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record; outside a request it stays as it is."""
        if request_id := REQUEST_ID.get():
            vars(record).setdefault("request_id", request_id)
        return True


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
        token = REQUEST_ID.set(entry.request_id)
        try:
            await self._app(scope, receive, send_logged)
        except asyncio.CancelledError:  # the process stops, and this request has taken longer than it waits
            if entry.status:
                raise
            stopping = error_response(scope["path"], 503, STOPPING, headers={"Retry-After": "1"})
            await stopping(scope, receive, send_logged)
        except Exception as error:
            if entry.status:
                raise
            await unexpected_failure(scope["path"], error)(scope, receive, send_logged)
        finally:
            entry.write()
            REQUEST_ID.reset(token)


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
                provenance: Provenance | None = self.scope["state"].get("provenance")
                if provenance is not None:
                    headers.update(provenance.headers(self.stages.selector))
                if self.stages.seconds:
                    headers["Server-Timing"] = self._server_timing()
            await send(message)

        return send_with_headers

    def _server_timing(self) -> str:
        return ", ".join(f"{stage};dur={seconds * 1000:.1f}" for stage, seconds in self.stages.seconds.items())

    def write(self) -> None:
        level = logging.DEBUG if self.scope["path"] in HEALTH_PATHS else logging.INFO
        fields = {f"{stage}_ms": round(seconds * 1000, 1) for stage, seconds in list(self.stages.seconds.items())}
        log.log(
            level,
            "%(method)s %(path)s %(status)d",
            {"method": self.scope["method"], "path": _shown_path(self.scope), "status": self.status or CLIENT_LEFT},
            extra={
                "total_ms": round((time.perf_counter() - self.started) * 1000, 1),
                **fields,
                **self.stages.counts,
                "request_id": self.request_id,
            },
        )


def _shown_path(scope: Scope) -> str:
    """The path as it was sent, percent-encoded, so that it holds no space; without its query, which may be a goal."""
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    path = raw_path.decode("ascii", "backslashreplace")
    return path if len(path) <= LONGEST_PATH else f"{path[:LONGEST_PATH]}..."
