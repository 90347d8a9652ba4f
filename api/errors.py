"""The one table from named failures to HTTP statuses, and the handlers that answer with it."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.error_forms import error_form
from api.rejection import rejection_of_error
from shared.errors import (
    CorpusConflictError,
    DeadlineExceededError,
    InvalidRequestError,
    NotReadyError,
    OperatorKeyError,
    OverloadedError,
    PayloadTooLargeError,
    PremiseServerError,
    RequestValidationFailed,
    SlowRequestError,
    UnknownCorpusError,
    UnknownModelError,
)

RETRY_SOON_SECONDS = 5
CLIENT_LEFT = 499

STATUS_OF_ERROR: dict[type[PremiseServerError], int] = {
    RequestValidationFailed: 422,
    InvalidRequestError: 422,
    OperatorKeyError: 403,
    UnknownModelError: 404,
    UnknownCorpusError: 404,
    CorpusConflictError: 409,
    SlowRequestError: 408,
    PayloadTooLargeError: 413,
    OverloadedError: 429,
    NotReadyError: 503,
    DeadlineExceededError: 504,
}

ADVICE_OF_STATUS = {
    404: "There is nothing at this path: /openapi.json lists what there is.",
    405: "This path does not take that method: /openapi.json lists what each path takes.",
}

MEANING_OF_STATUS = {
    400: "the request cannot be used; the message says why",
    403: "no operator's key",
    404: "there is nothing of that name",
    408: "the body did not arrive in time",
    409: "another corpus is wanted there",
    413: "the body is larger than the server reads",
    422: "the request cannot be used; `errors` says where",
    429: "the queue is full; Retry-After says when to come back",
    503: "a part of the server is away; Retry-After says when to come back",
    504: "the deadline passed; what was embedded stays cached",
}

log = logging.getLogger("api")


class ErrorSchema(BaseModel):
    """Body of every answer that is not a success."""

    detail: str = Field(description="one sentence that says what to do")


class OpenAIErrorContent(BaseModel):
    """What is wrong, in OpenAI's terms."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorSchema(BaseModel):
    """Body of an error of `/v1/*`."""

    error: OpenAIErrorContent


class TEIErrorSchema(BaseModel):
    """Body of an error of `/embed`."""

    error: str
    error_type: str


def documented_errors(*statuses: int, model: type[BaseModel] = ErrorSchema) -> dict[int | str, dict[str, Any]]:
    """Error answers of a route, for the OpenAPI document."""
    return {status: {"model": model, "description": MEANING_OF_STATUS[status]} for status in statuses}


def documented_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON body that the route reads by itself, for the OpenAPI document."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def install_error_handlers(app: FastAPI) -> None:
    """Every failure of a route becomes `{"detail": one sentence}`, never a traceback."""
    app.add_exception_handler(PremiseServerError, _answer_named_error)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_exception_handler(Exception, _answer_unexpected)


def status_of(error: PremiseServerError) -> int:
    """HTTP status of a named failure; 500 for those that no request should meet."""
    return next((status for kind, status in STATUS_OF_ERROR.items() if isinstance(error, kind)), 500)


def json_response(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response by orjson."""
    return Response(orjson.dumps(content), status, headers, "application/json")


def error_response(
    path: str,
    status: int,
    message: str,
    *,
    headers: dict[str, str] | None = None,
    code: str | None = None,
    param: str | None = None,
    errors: Sequence[Mapping[str, Any]] = (),
) -> Response:
    """An error in the form that callers of the path read; `code`, `param`, `errors` where that form has them."""
    form = error_form(path)
    status = form.status_in_place_of.get(status, status)
    body = form.body(status, message, code, param)
    if errors and "detail" in body:
        body["errors"] = errors
    return json_response(body, status, headers)


async def _answer_named_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PremiseServerError)  # noqa: S101 - the registration's type, for the checker
    request.state.rejection = rejection_of_error(error)
    return error_response(
        request.url.path,
        status_of(error),
        str(error),
        headers=_error_headers(error),
        code=getattr(error, "code", None),
        param=getattr(error, "param", None),
        errors=error.errors if isinstance(error, RequestValidationFailed) else (),
    )


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    detail = error.detail if isinstance(error.detail, str) else HTTPStatus(error.status_code).phrase
    if detail == HTTPStatus(error.status_code).phrase:  # Starlette's own
        detail = ADVICE_OF_STATUS.get(error.status_code, detail)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:  # Starlette names those of the first route of the path alone
        headers["Allow"] = ", ".join(request.app.state.routes.methods_at(request.scope["path"]))
    return error_response(request.url.path, error.status_code, detail, headers=headers)


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    """The client has left; the status is for the log alone."""
    return Response(status_code=CLIENT_LEFT)


async def _answer_unexpected(request: Request, error: Exception) -> Response:
    return unexpected_failure(request.url.path, error)


def unexpected_failure(path: str, error: Exception) -> Response:
    """The answer to a failure that nobody has named; the log gets its traceback."""
    log.error("unexpected failure", exc_info=error)
    return error_response(path, 500, "The server failed on this request; its log says why.")


def _error_headers(error: PremiseServerError) -> dict[str, str]:
    if isinstance(error, SlowRequestError):
        return {"Connection": "close"}  # what is left of the body may never come
    if isinstance(error, OverloadedError):
        return {"Retry-After": str(error.retry_after_seconds)}
    return {"Retry-After": str(RETRY_SOON_SECONDS)} if isinstance(error, NotReadyError) else {}
