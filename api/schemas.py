"""What `/retrieve` accepts: the request's fields, and the reading of its body.

Leniency is pydantic's lax mode (`k` may be `3.0` or `"3"`, `caller_in_module_system` may be `1` or `"yes"`), except
that booleans in index lists are refused.  Faults name the field and what is wrong with it, never the input.
"""

import re
from typing import Annotated, Any

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from api.index_list import IndexList
from api.json_body import read_object, validated, validation_failure
from shared.settings import SelectorName

INDEX_FIELDS = ("imported_modules", "local_premises", "imported_all_modules")

_NULL_LIST = re.compile(rb"\[\s*null\s*\]")

# Lists stop at their first fault: a body of millions of faults would cost a minute to describe.
_LENIENT_INDEX_LIST = TypeAdapter(Annotated[list[str | int], FailFast()])


def _read_index_list(value: object) -> IndexList:
    if isinstance(value, IndexList):
        return value
    if not isinstance(value, list):
        raise PydanticCustomError("index_list", "Input should be a list of integers and strings, or null")
    kinds = set(map(type, value))
    if bool in kinds:
        raise _bad_element(next(position for position, element in enumerate(value) if isinstance(element, bool)))
    try:
        return IndexList.of(value if kinds <= {int, str} else _LENIENT_INDEX_LIST.validate_python(value))
    except ValidationError as error:
        raise _bad_element(error.errors()[0]["loc"][0]) from None
    except orjson.JSONEncodeError:
        raise PydanticCustomError("index_list", "Input should hold no lone surrogates") from None


def _bad_element(position: int | str) -> PydanticCustomError:
    return PydanticCustomError(
        "index_list",
        "Input should be a list of integers and strings; the element at position {position} is neither",
        {"position": position},
    )


def _read_state(value: object) -> str | list[str]:
    if isinstance(value, str) or (isinstance(value, list) and set(map(type, value)) <= {str}):
        return value
    raise PydanticCustomError("state", "Input should be a string or a list of strings")


StateField = Annotated[str | list[str], PlainValidator(_read_state, json_schema_input_type=str | list[str])]
IndexListField = Annotated[IndexList, PlainValidator(_read_index_list, json_schema_input_type=list[int | str])]


class NewPremise(BaseModel):
    """A premise that the corpus does not hold, or holds in another version."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="full name; it shadows the indexed premise of that name")
    decl: str = Field(description="the pretty-printed declaration, which is what is embedded")


class RetrieveRequest(BaseModel):
    """Body of `/retrieve`; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True)

    state: StateField = Field(description="the pretty-printed goal; for a list of goals the answer is a list of arrays")
    imported_modules: IndexListField | None = Field(
        None, description="modules whose premises may be used: positions in /indexed-modules, or names"
    )
    local_premises: IndexListField | None = Field(
        None, description="further premises that may be used: positions in /indexed-premises, or names"
    )
    new_premises: list[NewPremise] | None = Field(
        None, fail_fast=True, description="premises to embed and rank with the others"
    )
    k: int = Field(description="how many premises are wanted; larger than the server's limit is clamped")
    caller_in_module_system: bool = Field(default=False, description="leave out what an importing module cannot see")
    imported_all_modules: IndexListField | None = Field(
        None, description="modules imported with `import all`; read only with caller_in_module_system"
    )

    selector: SelectorName | None = Field(
        None,
        description="how the answer is ranked: by vectors alone, or by symbols too; null: as the setting SELECTOR says",
    )

    @property
    def states(self) -> list[str]:
        """The goals, one or many."""
        return [self.state] if isinstance(self.state, str) else self.state

    @property
    def many_states(self) -> bool:
        """Whether the answer is a list of arrays."""
        return not isinstance(self.state, str)


class RankedPremiseSchema(BaseModel):
    """One premise of the answer, for the API's own documentation."""

    score: float = Field(
        description="inner product of the vectors of goal and premise; by `hybrid` see docs/selectors.md"
    )
    name: str = Field(description="full name")


def retrieve_request_schema(max_states: int) -> dict[str, Any]:
    """JSON schema of the body without references, for an OpenAPI document."""
    schema = RetrieveRequest.model_json_schema()
    new_premise = schema.pop("$defs")["NewPremise"]
    schema["properties"]["new_premises"]["anyOf"][0]["items"] = new_premise
    schema["properties"]["state"]["anyOf"][1]["maxItems"] = max_states
    return schema


def parse_retrieve_request(body: bytes, *, max_states: int) -> RetrieveRequest:
    """Read a `/retrieve` body; raises `RequestValidationFailed` where it cannot be used.

    The usual body is read quickly: long lists of integers are cut out and stay text, orjson reads the rest.  Whatever
    does not fit (integers beyond 64 bits, which orjson would round, or a fault) is read again exactly.
    """
    request = _read_quickly(body) or _read_exactly(body)
    if len(request.states) > max_states:
        raise validation_failure(
            [(["state"], f"A request holds at most {max_states} states; send the others in further requests")]
        )
    return request


def _read_quickly(body: bytes) -> RetrieveRequest | None:
    rest, lists = _cut_integer_lists(body)
    try:
        document = orjson.loads(rest)
        if len(_NULL_LIST.findall(rest)) != len(lists):
            return None  # one of them is the body's own
        if not isinstance(document, dict) or any(document.get(field) != [None] for field in lists):
            return None
        return RetrieveRequest.model_validate(document | lists)
    except (orjson.JSONDecodeError, ValidationError):
        return None


def _cut_integer_lists(body: bytes) -> tuple[bytes, dict[str, IndexList]]:
    """Replace each plain list of integers by `[null]`, and return the lists by field.

    A quote after `{` or `,` cannot end a string in valid JSON (letters follow it), so it begins a key.  The caller
    checks that the key was one of the request's own: whatever is ambiguous is then read exactly.
    """
    lists = {}
    for field in INDEX_FIELDS:
        key = b'"%s":[' % field.encode()
        at = body.find(key)
        if at < 1 or body[at - 1] not in b"{," or body.find(key, at + 1) >= 0:
            continue
        start, end = at + len(key) - 1, body.find(b"]", at) + 1
        integers = IndexList.of_plain_integers(body[start:end]) if end else None
        if integers is not None:
            body = body[:start] + b"[null]" + body[end:]
            lists[field] = integers
    return body, lists


def _read_exactly(body: bytes) -> RetrieveRequest:
    return validated(RetrieveRequest, read_object(body))
