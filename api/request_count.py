"""Counts and times requests by the template of their route: pure ASGI middleware around all others."""

import time

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import CLIENT_LEFT
from api.rejection import rejection_of_status
from api.request_metrics import RequestMetrics
from api.route_table import RouteTable, method_of

UNEXPECTED_FAILURE = 500


def count_requests(app: FastAPI, metrics: RequestMetrics, *, wants_key: bool) -> None:
    """Count every request of an application; call it when all of its routes and other middleware are there."""
    table = RouteTable(app, wants_key=wants_key)
    metrics.expect(table)
    app.add_middleware(RequestCount, metrics=metrics, table=table)


class RequestCount:
    """Gives each request to `RequestMetrics` when it has ended."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, table: RouteTable) -> None:
        self._app = app
        self._metrics = metrics
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.begin()
        try:
            await self._app(scope, receive, send_noted)
        except Exception:
            status = status or UNEXPECTED_FAILURE  # the outermost handler answers so
            raise
        finally:
            self._note(scope, status or CLIENT_LEFT, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        state = scope.get("state", {})
        self._metrics.end(self._table.path_of(scope), method_of(scope), status, seconds, state.get("stages"))
        if (provenance := state.get("provenance")) and provenance.corpus_digest:
            corpus = state.get("corpus")
            self._metrics.answered_from(corpus.prefix if corpus else "")
        if reason := rejection_of_status(status):
            self._metrics.reject(state.get("rejection") or reason)
