"""Answers a GET or HEAD from ready bytes: content coding, validators and revalidation as RFC 9110 says."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastapi import Request, Response

from api.ready_answer import ReadyAnswer, Representation

QUALITY = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")

_STRING = {"type": "string"}
_RESPONSE_HEADERS = {
    "ETag": {"description": "strong validator of these bytes; each content coding has its own", "schema": _STRING},
    "Cache-Control": {
        "description": "`no-cache`: may be kept, must be revalidated before it is used",
        "schema": _STRING,
    },
    "Vary": {"description": "`Accept-Encoding`", "schema": _STRING},
}
_REQUEST_HEADERS = {
    "If-None-Match": "validators that the client has, or `*`; one that fits is answered with 304",
    "Accept-Encoding": "content codings that the client reads; absent: plain bytes",
}

CONDITIONAL_PARAMETERS = {
    "parameters": [
        {"name": name, "in": "header", "description": description, "schema": _STRING}
        for name, description in _REQUEST_HEADERS.items()
    ]
}
"""Request headers of such a route, for the OpenAPI document."""

CONDITIONAL_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"headers": _RESPONSE_HEADERS},
    304: {"description": "the client has these bytes already", "headers": _RESPONSE_HEADERS},
}
"""Answers of such a route, for the OpenAPI document."""


def conditional_response(
    request: Request,
    answer: ReadyAnswer,
    *,
    media_type: str = "application/json",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    """The answer in the coding that the client prefers, or 304 where it says that it has it; `headers` go with both."""
    accepted = ",".join(request.headers.getlist("accept-encoding"))
    chosen = answer.gzipped if prefers_gzip(accepted) else answer.plain
    if has_validator(",".join(request.headers.getlist("if-none-match")), chosen.etag):
        return Response(status_code=304, headers={**headers, **_headers(chosen)})
    coding = {} if chosen.coding == "identity" else {"Content-Encoding": chosen.coding}
    return Response(chosen.content, headers={**headers, **_headers(chosen), **coding}, media_type=media_type)


def prefers_gzip(accept_encoding: str) -> bool:
    """Whether gzip is accepted, and plain bytes are not preferred to it (RFC 9110, section 12.5.3)."""
    qualities = dict(filter(None, map(_read_coding, accept_encoding.lower().split(","))))
    others = qualities.get("*", 0.0)
    gzip = qualities.get("gzip", others)
    return gzip > 0 and gzip >= qualities.get("identity", others)


def has_validator(if_none_match: str, etag: str) -> bool:
    """Whether the field is `*` or lists the validator, weak or strong (RFC 9110, section 13.1.2).

    `etag` holds no comma, so cutting the field at its commas cannot make one that was not there.
    """
    return if_none_match.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]


def _read_coding(item: str) -> tuple[str, float] | None:
    """A coding and its weight, 1 where none is given; None where the weight cannot be read."""
    coding, _, weight = item.partition(";")
    name, _, value = weight.partition("=")
    if not weight.strip():
        return coding.strip(), 1.0
    if name.strip() != "q" or not QUALITY.fullmatch(value.strip()):
        return None
    return coding.strip(), float(value)


def _headers(chosen: Representation) -> dict[str, str]:
    return {"ETag": chosen.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
