"""What `/v1/embeddings` (OpenAI's form) and `/embed` (text-embeddings-inference's) accept and answer."""

import asyncio
import base64
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

from api.json_body import read_object, validated
from shared.embedding_cache import EmbeddingInput, Vector

MANY_NUMBERS = 50_000
"""To write this many out takes some milliseconds."""
ITEMS_OF_A_PART = 32

LARGEST_TOKEN_ID = 2**31 - 1
INPUT_FORMS = "a string, a list of strings, a list of token ids, or a list of lists of token ids"


def _read_inputs(value: object) -> list[EmbeddingInput]:
    """One input or several; each is a text or token ids, and none is empty."""
    if isinstance(value, str):
        return [_read_text(value, 0)]
    if not isinstance(value, list):
        raise PydanticCustomError("inputs", f"Input should be {INPUT_FORMS}")
    if not value:
        raise PydanticCustomError("inputs", "Input should hold at least one text")
    kinds = set(map(type, value))
    if kinds == {int}:
        return [_read_token_ids(value, 0)]
    if kinds == {str}:
        return [_read_text(text, place) for place, text in enumerate(value)]
    if kinds == {list}:
        return [_read_token_ids(token_ids, place) for place, token_ids in enumerate(value)]
    raise PydanticCustomError("inputs", f"Input should be {INPUT_FORMS}")


def _read_text(text: str, place: int) -> str:
    if not text:
        raise PydanticCustomError("inputs", "The text at position {place} is empty", {"place": place})
    return text


def _read_token_ids(token_ids: list[object], place: int) -> list[int]:
    if not token_ids:
        raise PydanticCustomError("inputs", "The list of token ids at position {place} is empty", {"place": place})
    numbers = [number for number in token_ids if type(number) is int and 0 <= number <= LARGEST_TOKEN_ID]
    if len(numbers) < len(token_ids):
        raise PydanticCustomError(
            "inputs", "The list at position {place} should hold token ids: whole numbers from 0 up", {"place": place}
        )
    return numbers


def _inputs_schema(description: str) -> Any:  # noqa: ANN401 - what pydantic's Field returns
    return Field(description=f"{description}: {INPUT_FORMS}")


Inputs = Annotated[
    list[EmbeddingInput],
    PlainValidator(_read_inputs, json_schema_input_type=str | list[str] | list[int] | list[list[int]]),
]


Dimensions = Annotated[int, Field(gt=0, le=1_000_000)]


class OpenAIEmbeddingsRequest(BaseModel):
    """Body of `/v1/embeddings`; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True)

    input: Inputs = _inputs_schema("what to embed")
    model: str = Field(description="one of the names in /v1/models")
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="base64: little-endian float32, as the official clients ask for; null: float"
    )
    dimensions: Dimensions | None = Field(None, description="a shorter dimension that the model is configured for")
    truncate: bool | None = Field(None, description="cut inputs that are too long; null: as the server is set")
    user: object = Field(None, description="ignored")


class TEIEmbedRequest(BaseModel):
    """Body of `/embed`; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True)

    inputs: Inputs = _inputs_schema("what to embed")
    truncate: bool | None = Field(None, description="cut inputs that are too long; null: as the server is set")
    normalize: bool | None = Field(None, description="vectors of unit length; null: true")
    truncation_direction: Literal["right", "Right"] = Field("right", description="only the end can be cut off")
    prompt_name: None = Field(None, description="this server puts no prompts before texts")
    dimensions: Dimensions | None = Field(None, description="a shorter dimension that the model is configured for")


class OpenAIEmbedding(BaseModel):
    """One vector of the answer, for the API's own documentation."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class TokenUsage(BaseModel):
    """Tokens that the model read, special ones included, without padding."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddings(BaseModel):
    """Answer of `/v1/embeddings`."""

    object: Literal["list"]
    data: list[OpenAIEmbedding]
    model: str
    usage: TokenUsage


class OpenAIModel(BaseModel):
    """One model of `/v1/models`."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="when its oldest live worker started, epoch seconds")
    owned_by: str
    embedding_dimensions: int | None = Field(description="null as long as no worker of it has been seen")


class OpenAIModels(BaseModel):
    """Answer of `/v1/models`."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


def parse_openai_request(body: bytes) -> OpenAIEmbeddingsRequest:
    """Read the body of `/v1/embeddings`; raises `RequestValidationFailed`."""
    return validated(OpenAIEmbeddingsRequest, read_object(body))


def parse_tei_request(body: bytes) -> TEIEmbedRequest:
    """Read the body of `/embed`; raises `RequestValidationFailed`."""
    return validated(TEIEmbedRequest, read_object(body))


def openai_answer(vectors: Vector, request: OpenAIEmbeddingsRequest, tokens: int) -> bytes:
    """The answer's JSON for vectors of shape (inputs, dimension)."""
    encoded: Sequence[str] | Vector = vectors
    if request.encoding_format == "base64":
        encoded = [base64.b64encode(row.tobytes()).decode() for row in vectors.astype("<f4")]
    data = [{"object": "embedding", "index": index, "embedding": embedding} for index, embedding in enumerate(encoded)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    rest = orjson.dumps({"model": request.model, "usage": usage})
    return b'{"object":"list","data":' + _json_array(data) + b"," + rest[1:]


def tei_answer(vectors: Vector) -> bytes:
    """An array of arrays."""
    return _json_array(list(vectors))


def _json_array(items: Sequence[object]) -> bytes:
    """A JSON array, written in parts: while orjson writes one, no other thread runs."""
    parts = (items[start : start + ITEMS_OF_A_PART] for start in range(0, len(items), ITEMS_OF_A_PART))
    return b"[" + b",".join(orjson.dumps(part, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] for part in parts) + b"]"


async def encoded(answer: Callable[[], bytes], vectors: Vector, threads: Executor) -> bytes:
    """Write an answer out, in a thread where that would hold up other requests for longer than the thread costs."""
    if vectors.size < MANY_NUMBERS:
        return answer()
    return await asyncio.get_running_loop().run_in_executor(threads, answer)
