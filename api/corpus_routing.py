"""Which corpus a request is for, by the first segment of its path: pure ASGI middleware around all others.

What is inside sees the path without the prefix, so that keys, error forms, metrics and routes are those of the path
that the corpus's client means.  `raw_path` stays as it was sent, for the log.  `root_path` is left alone: FastAPI would
write it into the OpenAPI document of everybody.
"""

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access_control import HEALTH_PATHS
from api.errors import error_response
from api.request_metrics import UNKNOWN_ROUTE
from api.route_table import RouteTable
from api.served_corpus import ServedCorpora
from shared.corpus_prefix import OWN_SEGMENTS
from shared.errors import LONGEST_SHOWN_NAME


def route_corpora(app: FastAPI) -> None:
    """Serve the corpora of the application's service at their prefixes; call it when all routes are there."""
    app.add_middleware(CorpusRouting, routes=RouteTable(app))


class CorpusRouting:
    """Takes a prefix off the path and puts its corpus, or a sentence on why there is none, into the request's state."""

    def __init__(self, app: ASGIApp, routes: RouteTable) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            self._resolve(scope)
        await self._app(scope, receive, send)

    def _resolve(self, scope: Scope) -> None:
        prefix, slash, rest = str(scope["path"]).removeprefix("/").partition("/")
        if not slash or not prefix or prefix in OWN_SEGMENTS:
            return
        corpora: ServedCorpora = scope["app"].state.service.corpora
        state, path = scope.setdefault("state", {}), f"/{rest}"
        if corpus := corpora.find(prefix):
            scope["path"], state["corpus"] = path, corpus
        elif self._routes.path_of({**scope, "path": path}) != UNKNOWN_ROUTE:
            state["unknown_corpus"] = describe_unknown(prefix, corpora.prefixes())
            if path not in HEALTH_PATHS:  # else a stranger would learn the prefixes without a key
                scope["path"] = path


class RefuseUnknownCorpus:
    """Answers 404 at a prefix that no corpus has; inside of the log, the counts and the keys."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        sentence = scope.get("state", {}).get("unknown_corpus") if scope["type"] == "http" else None
        app = error_response(scope["path"], 404, sentence) if sentence else self._app
        await app(scope, receive, send)


def describe_unknown(prefix: str, known: list[str]) -> str:
    """One sentence on a prefix that is none."""
    shown = prefix if len(prefix) <= LONGEST_SHOWN_NAME else f"{prefix[:LONGEST_SHOWN_NAME]}..."
    there = f"use one of {', '.join(known)}, or none for the default one" if known else "leave it out"
    return f"No corpus is served at the prefix {shown!r}: {there}."
