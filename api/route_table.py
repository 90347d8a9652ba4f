"""Which route a request was for, by its template: what metrics may say of a path."""

import re
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from starlette.routing import compile_path
from starlette.types import Scope

from api.access_control import HEALTH_PATHS
from api.dependencies import get_stages
from api.request_metrics import UNKNOWN_ROUTE

OTHER_METHOD = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class KnownRoute:
    """One route of the application."""

    path: str
    """Its template, as `/v1/models/{model_id}`."""
    pattern: re.Pattern[str]
    methods: frozenset[str]
    statuses: frozenset[int]
    """Those that its documentation names."""
    has_stages: bool
    """Its handler notes stage times."""


class RouteTable:
    """The routes of an application, read from the application itself."""

    def __init__(self, app: FastAPI, *, wants_key: bool = False) -> None:
        """`wants_key`: requests without a key are refused, but those for the server's health."""
        self.routes = known_routes(app, wants_key=wants_key)
        self.paths = list(dict.fromkeys(route.path for route in self.routes))
        self.paths_with_stages = list(dict.fromkeys(route.path for route in self.routes if route.has_stages))

    def path_of(self, scope: Scope) -> str:
        """The template of the route that took the request, or would have: some are answered before they are routed."""
        routed = getattr(scope.get("route"), "path", None)
        if routed in self.paths:
            return str(routed)
        return next((route.path for route in self.routes if route.pattern.match(scope["path"])), UNKNOWN_ROUTE)

    def methods_at(self, path: str) -> list[str]:
        """What a path takes, by all its routes, sorted."""
        return sorted({method for route in self.routes if route.pattern.match(path) for method in route.methods})


def known_routes(app: FastAPI, *, wants_key: bool = False) -> list[KnownRoute]:
    """Every route, those of included routers and mounts too."""
    routes = []
    for context in iter_route_contexts(app.routes):
        if context.path is None:
            continue
        is_mount = context.methods is None and context.endpoint is None
        pattern, _, _ = compile_path(f"{context.path}/{{path:path}}" if is_mount else context.path)
        methods = frozenset(context.methods or {"GET", "HEAD"})
        documented = getattr(context, "responses", None) or {}
        statuses = {200, *(int(status) for status in documented if str(status).isdecimal())}
        if wants_key and context.path not in HEALTH_PATHS:
            statuses.add(401)
        dependant: Dependant | None = getattr(context, "dependant", None)
        has_stages = dependant is not None and depends_on_stages(dependant)
        routes.append(KnownRoute(context.path, pattern, methods, frozenset(statuses), has_stages))
    return routes


def depends_on_stages(dependant: Dependant) -> bool:
    """Whether a handler asks for its request's stage times, itself or by what it depends on."""
    return any(part.call is get_stages or depends_on_stages(part) for part in dependant.dependencies)


def method_of(scope: Scope) -> str:
    """The request's method, where it is one that HTTP names."""
    method = str(scope["method"])
    return method if method in METHODS else OTHER_METHOD
