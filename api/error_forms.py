"""How an error looks in each protocol: what the callers of a path know how to read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

OPENAI_TYPE_OF_STATUS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
OPENAI_CODE_OF_STATUS = {
    401: "invalid_api_key",
    413: "request_too_large",
    429: "rate_limit_exceeded",
    503: "service_unavailable",
    504: "timeout",
}
TEI_TYPE_OF_STATUS = {413: "Validation", 422: "Validation", 429: "Overloaded", 503: "Unhealthy", 504: "Unhealthy"}


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """The body of an error, and statuses that the protocol names otherwise."""

    body: Callable[[int, str, str | None, str | None], dict[str, object]]
    """From status, message, code and the parameter at fault."""
    status_in_place_of: Mapping[int, int] = field(default_factory=dict)


def _detail_body(_status: int, message: str, _code: str | None, _param: str | None) -> dict[str, object]:
    return {"detail": message}


def _openai_body(status: int, message: str, code: str | None, param: str | None) -> dict[str, object]:
    kind = OPENAI_TYPE_OF_STATUS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = code or OPENAI_CODE_OF_STATUS.get(status)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _tei_body(status: int, message: str, _code: str | None, _param: str | None) -> dict[str, object]:
    kind = TEI_TYPE_OF_STATUS.get(status, "Backend" if status >= 500 else "Validation")
    return {"error": message, "error_type": kind}


def _state_search_body(status: int, message: str, _code: str | None, _param: str | None) -> dict[str, object]:
    return {"error": HTTPStatus(status).phrase, "schema": {"description": message}}


DETAIL = ErrorForm(_detail_body)
OPENAI = ErrorForm(_openai_body, {422: 400})
TEI = ErrorForm(_tei_body)
STATE_SEARCH = ErrorForm(_state_search_body, {422: 400})
"""Of LeanStateSearch: its clients read `error` and `description` whatever the status is."""

FORM_OF_PATH = {"/v1": OPENAI, "/embed": TEI, "/api/search": STATE_SEARCH}
"""By path, with all that lies below it."""


def error_form(path: str) -> ErrorForm:
    """The form that callers of a path (as in the request line) read; Lean's where no other is named."""
    return next((form for top, form in FORM_OF_PATH.items() if f"{path}/".startswith(f"{top}/")), DETAIL)
