"""Who may ask: with keys in the settings, a request without one of them is answered 401 and its body left unread.

Pure ASGI middleware, for the reason in `api/request_log.py`.
"""

import base64
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.api_keys import ApiKeys
from api.errors import error_response
from shared.errors import OperatorKeyError

HEALTH_PATHS = frozenset({"/health", "/health/live", "/health/ready"})
LONGEST_CREDENTIALS = 4096
CHALLENGE = {"WWW-Authenticate": 'Basic realm="Lean premise server", charset="UTF-8"'}

NO_KEY = "This server wants a key: send it as `Authorization: Bearer <key>`, or in the address, http://user:<key>@host."
WRONG_KEY = "The key is not one of this server's: check it, or ask whoever runs the server for one."
UNREADABLE = "The Authorization header cannot be read: send one, with `Bearer <key>` or Basic credentials."

NO_OPERATORS = "This server takes no orders over HTTP: set OPERATOR_KEYS, or run `premises corpora` beside its Redis."
OPERATORS_ONLY = (
    "Only an operator may change what is served: send one of OPERATOR_KEYS, which users' keys are not, as "
    "`Authorization: Bearer <key>`."
)

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "one of the server's keys"},
    "basic": {"type": "http", "scheme": "basic", "description": "any user name, a key as the password"},
}


class RequireKey:
    """Lets requests through that show a key, a user's or an operator's, and those for the server's health."""

    def __init__(self, app: ASGIApp, keys: ApiKeys, operators: ApiKeys | None = None) -> None:
        self._app = app
        self._keys = [each for each in (keys, operators) if each]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        problem = self._why_refused(scope) if scope["type"] == "http" else ""
        if problem:
            refusal = error_response(scope["path"], 401, problem, headers=CHALLENGE)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _why_refused(self, scope: Scope) -> str:
        if scope["path"] in HEALTH_PATHS:
            return ""
        given = Headers(scope=scope).getlist("authorization")
        if not given:
            return NO_KEY
        try:
            [credentials] = given
            key = shown_key(credentials)
        except ValueError:
            return UNREADABLE
        return "" if sum(each.accept(key) for each in self._keys) else WRONG_KEY  # all are asked, always


def require_operator(operators: ApiKeys | None, headers: Headers) -> None:
    """Raise `OperatorKeyError`, unless the request shows an operator's key."""
    if operators is None:
        raise OperatorKeyError(NO_OPERATORS)
    try:
        [credentials] = headers.getlist("authorization")
        is_operator = operators.accept(shown_key(credentials))
    except ValueError:
        is_operator = False
    if not is_operator:
        raise OperatorKeyError(OPERATORS_ONLY)


def shown_key(credentials: str) -> bytes:
    """The key in an Authorization header: a bearer token, or the password of Basic credentials (RFC 7617).

    Where the password is empty the user name is taken, as in `http://<key>@host`.  Raises `ValueError` for anything
    else.
    """
    if len(credentials) > LONGEST_CREDENTIALS:
        raise ValueError("no key is so long")
    scheme, _, rest = credentials.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip().encode("latin-1")
    if scheme.lower() != "basic":
        raise ValueError("a scheme that sends no key")
    user, _, password = base64.b64decode(rest.strip(), validate=True).partition(b":")
    return password or user


def document_keys(app: FastAPI) -> None:
    """Say in the OpenAPI document that keys are wanted, how they are sent, and what comes without one."""
    without_keys = app.openapi

    def openapi() -> dict[str, Any]:
        document = without_keys()
        document.setdefault("components", {})["securitySchemes"] = SCHEMES
        document["security"] = [{scheme: []} for scheme in SCHEMES]
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if path in HEALTH_PATHS:
                    operation["security"] = []
                else:
                    operation["responses"]["401"] = {"description": "no key, or none of this server's"}
        return document

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's own way to extend the document
