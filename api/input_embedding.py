"""The recipe of `/v1/embeddings` and `/embed`: embed inputs by a model, judge their length, count their tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from api.admission import estimated_tokens
from api.embedding_client import Embedded, EmbeddingOrder, TextGroup, do_nothing
from api.embedding_side import ServedModel
from api.retrieval import StageTimes
from shared.embedding_cache import EmbeddingInput, Vector, input_key
from shared.errors import InvalidRequestError, TextRejectedError
from shared.messages import Heartbeat, Priority

SHORT_REQUEST_TOKENS = 512
"""Requests up to this (estimated) are served as quickly as goal states, longer ones as bulk."""


@dataclass(frozen=True, slots=True)
class InputsToEmbed:
    """What a request asks for."""

    inputs: Sequence[EmbeddingInput]
    param: str
    """Name of the request's field that holds the inputs."""
    truncate: bool = False
    """Cut what is too long for the model, in place of refusing the request."""
    dimensions: int | None = None
    """A shorter dimension that the model was trained for; None: the model's own."""
    normalize: bool | None = None
    """True: unit length whatever the model gives; None: as the model gives it."""


@dataclass(frozen=True, slots=True)
class EmbeddedInputs:
    """Vectors of shape (inputs, dimension), float32, in the order asked, and the tokens that the model read."""

    vectors: Vector
    tokens: int


@dataclass(frozen=True, slots=True)
class InputOrder:
    """Who asks, and for how long it waits."""

    request_id: str
    stages: StageTimes
    timeout_seconds: float
    on_admitted: Callable[[], None] = do_nothing


async def embed_inputs(model: ServedModel, wanted: InputsToEmbed, order: InputOrder) -> EmbeddedInputs:
    """Embed all inputs, or raise `InvalidRequestError` naming the one at fault, or what `EmbeddingClient` raises."""
    _check_dimensions(model, wanted.dimensions)
    facts = model.side.directory.known_model()
    if wanted.normalize is False and facts.normalized:
        raise InvalidRequestError(
            f"The vectors of {model.name} have unit length by themselves: leave `normalize` out.", param="normalize"
        )
    wanted = replace(wanted, inputs=_bounded(wanted, model.name, facts.max_tokens))
    embedded = await _embed(model, wanted, facts, order)
    [tokens] = embedded.tokens
    if not wanted.truncate:
        _refuse_too_long(tokens, wanted.param, model.name, facts.max_tokens)
    vectors = _finished(embedded.vectors[0], wanted, facts)
    return EmbeddedInputs(vectors, sum(min(count, facts.max_tokens) for count in tokens))


async def _embed(model: ServedModel, wanted: InputsToEmbed, facts: Heartbeat, order: InputOrder) -> Embedded:
    short = estimated_tokens(wanted.inputs, facts.tokens_per_byte, facts.max_tokens) <= SHORT_REQUEST_TOKENS
    group = TextGroup(wanted.inputs, Priority.STATE if short else Priority.BULK)
    deadline = EmbeddingOrder(
        order.stages.arrived() + order.timeout_seconds,
        request_id=order.request_id,
        on_admitted=order.on_admitted,
        wants_tokens=True,
    )
    try:
        with order.stages.timing("embed"):
            embedded = await model.side.embeddings.embed([group], deadline)
    except TextRejectedError as error:
        place = next(place for place, given in enumerate(wanted.inputs) if input_key(given) == error.key)
        raise InvalidRequestError(
            f"{wanted.param}[{place}] cannot be embedded: {error}.", param=wanted.param, code=error.kind
        ) from error
    order.stages.count_texts(embedded)
    return embedded


def _bounded(wanted: InputsToEmbed, name: str, max_tokens: int) -> Sequence[EmbeddingInput]:
    """The inputs, with token ids that are too many refused or cut before they travel to a worker."""
    lengths = [0 if isinstance(given, str) else len(given) for given in wanted.inputs]
    if max(lengths) <= max_tokens:
        return wanted.inputs
    if not wanted.truncate:
        _refuse_too_long(lengths, wanted.param, name, max_tokens)
    return [given if isinstance(given, str) else given[:max_tokens] for given in wanted.inputs]


def _check_dimensions(model: ServedModel, dimensions: int | None) -> None:
    """Refuse what the model is not configured for, or what is more than it has, as far as that is known."""
    facts = model.side.directory.last_known()
    allowed = [number for number in model.entry.dimensions if facts is None or number <= facts.dimension]
    if dimensions is None or dimensions in allowed:
        return
    others = ", ".join(map(str, allowed))
    advice = f"ask for one of {others}, or leave it out" if others else "leave it out"
    raise InvalidRequestError(
        f"{model.name} is not configured for vectors of {dimensions} dimensions: {advice}.",
        param="dimensions",
        code="unsupported_dimensions",
    )


def _refuse_too_long(tokens: Sequence[int], param: str, name: str, max_tokens: int) -> None:
    """The tokens are those of the whole texts: the cache remembers them of texts that were truncated, too."""
    for place, count in enumerate(tokens):
        if count > max_tokens:
            raise InvalidRequestError(
                f"{param}[{place}] has {count} tokens, but {name} reads {max_tokens}: shorten it, or set `truncate` "
                "to true to have it cut.",
                param=param,
                code="context_length_exceeded",
            )


def _finished(vectors: Vector, wanted: InputsToEmbed, facts: Heartbeat) -> Vector:
    """As the model gives them, or shortened, which asks for new unit length, or brought to unit length."""
    if wanted.dimensions is not None:
        vectors = vectors[:, : wanted.dimensions]
    if (wanted.dimensions is not None and facts.normalized) or (wanted.normalize and not facts.normalized):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return np.ascontiguousarray(vectors, np.float32)
