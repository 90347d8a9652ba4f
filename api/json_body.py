"""Reads JSON bodies: what is wrong with one is told by field and fault, never by the input."""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from shared.errors import RequestValidationFailed

LARGE_BODY_BYTES = 128 * 1024
"""Smaller ones are parsed in less time than it takes to hand them to a thread."""

Parsed = TypeVar("Parsed")
Model = TypeVar("Model", bound=BaseModel)


async def parsed(body: bytes, parse: Callable[[bytes], Parsed], parsers: Executor) -> Parsed:
    """Parse in a thread what would hold up the other requests for longer than the thread costs."""
    if len(body) < LARGE_BODY_BYTES:
        return parse(body)
    return await asyncio.get_running_loop().run_in_executor(parsers, parse, body)


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; integers of any size.  Raises `RequestValidationFailed`."""
    try:
        document = from_json(body)
    except ValueError as error:
        raise validation_failure([([], f"This is not valid JSON: {_describe_fault(body, error)}")]) from None
    if not isinstance(document, dict):
        raise validation_failure([([], "Input should be a JSON object")])
    return document


def validated(model: type[Model], document: dict[str, Any]) -> Model:
    """The document as a model; raises `RequestValidationFailed`."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise validation_failure([(fault["loc"], fault["msg"]) for fault in faults]) from None


def _describe_fault(body: bytes, error: ValueError) -> str:
    """What is wrong with the text; orjson says it more clearly, above all of lone surrogates."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as clearer:
        return str(clearer)
    return str(error)


def validation_failure(faults: list[tuple[Iterable[int | str], str]]) -> RequestValidationFailed:
    """The error for faults, each with its place in the document."""
    errors = [{"loc": ["body", *location], "msg": message} for location, message in faults]
    where = ".".join(map(str, errors[0]["loc"][1:])) or "the body"
    return RequestValidationFailed(f"The request cannot be used, because of {where}: {errors[0]['msg']}.", errors)
