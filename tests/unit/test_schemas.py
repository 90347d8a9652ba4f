import json
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from api.index_list import IndexList
from api.schemas import (
    INDEX_FIELDS,
    RetrieveRequest,
    parse_retrieve_request,
    retrieve_request_schema,
)
from shared.errors import RequestValidationFailed

LARGEST_MAX_STATES = 64


class PlainRequest(BaseModel):
    """The request as pydantic alone would read it."""

    state: str | list[str]
    imported_modules: list[str | int] | None = None
    local_premises: list[str | int] | None = None
    imported_all_modules: list[str | int] | None = None
    k: int
    caller_in_module_system: bool = False


def parse(body: bytes | Mapping[str, Any]) -> RetrieveRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_retrieve_request(raw, max_states=LARGEST_MAX_STATES)


def parse_with(**fields: object) -> RetrieveRequest:
    return parse({"state": "⊢ True", "k": 3, **fields})


def refusal(body: bytes | Mapping[str, Any]) -> RequestValidationFailed:
    with pytest.raises(RequestValidationFailed) as caught:
        parse(body)
    return caught.value


def refusal_with(**fields: object) -> RequestValidationFailed:
    return refusal({"state": "⊢ True", "k": 3, **fields})


def values(integers: IndexList | None) -> tuple[list[int], list[str]]:
    assert integers is not None
    positions, names = integers.split()
    return positions.tolist(), names


def test_the_smallest_request_has_a_state_and_k() -> None:
    request = parse_with()
    assert (request.states, request.many_states, request.k) == (["⊢ True"], False, 3)
    assert request.imported_modules is None
    assert request.local_premises is None
    assert request.imported_all_modules is None
    assert request.new_premises is None
    assert request.caller_in_module_system is False


def test_every_field_is_read() -> None:
    request = parse_with(
        imported_modules=[1, "A.B"],
        local_premises=[2, 3],
        imported_all_modules=["C"],
        new_premises=[{"name": "«weird name».«a.b»", "decl": "theorem"}],
        caller_in_module_system=True,
    )
    assert values(request.imported_modules) == ([1], ["A.B"])
    assert values(request.local_premises) == ([2, 3], [])
    assert values(request.imported_all_modules) == ([], ["C"])
    assert [(premise.name, premise.decl) for premise in request.new_premises or []] == [
        ("«weird name».«a.b»", "theorem")
    ]
    assert request.caller_in_module_system is True


def test_an_empty_list_is_not_null() -> None:
    assert values(parse_with(imported_modules=[]).imported_modules) == ([], [])
    assert parse_with(imported_modules=None).imported_modules is None


def test_unknown_fields_are_ignored_in_new_premises_too() -> None:
    request = parse_with(future={"x": [1]}, new_premises=[{"name": "a", "decl": "b", "module": "C"}])
    assert [premise.name for premise in request.new_premises or []] == ["a"]


def test_a_list_of_states_asks_for_a_list_of_answers() -> None:
    request = parse_with(state=["a", "b"])
    assert (request.states, request.many_states) == (["a", "b"], True)


def test_an_empty_list_of_states_is_a_request_for_no_answers() -> None:
    request = parse_with(state=[])
    assert (request.states, request.many_states) == ([], True)


def test_as_many_states_as_the_limit_are_taken_and_one_more_is_refused() -> None:
    assert len(parse_with(state=["s"] * LARGEST_MAX_STATES).states) == LARGEST_MAX_STATES
    error = refusal_with(state=["s"] * (LARGEST_MAX_STATES + 1))
    assert error.errors[0]["loc"] == ["body", "state"]
    assert "at most 64 states" in str(error)


@pytest.mark.parametrize("k", [3, 3.0, "3", " 3 ", "3.0", "+3"])
def test_k_may_be_an_integral_float_or_a_numeric_string(k: object) -> None:
    assert parse_with(k=k).k == 3


@pytest.mark.parametrize("k", [10**9, 10**30, -(10**30), 2**63, 2**64, -5, 0, -(2**63) - 1])
def test_k_may_be_an_integer_of_any_size(k: int) -> None:
    assert parse_with(k=k).k == k


@pytest.mark.parametrize("k", [None, 3.5, "3.5", "", "three", [3], {"k": 3}, 1e300, "0x3"])
def test_any_other_k_is_refused(k: object) -> None:
    assert refusal_with(k=k).errors[0]["loc"] == ["body", "k"]


@pytest.mark.parametrize("flag", [True, "true", "TRUE", "yes", "on", "1", 1, 1.0])
def test_the_flag_may_be_what_pydantic_takes_for_true(flag: object) -> None:
    assert parse_with(caller_in_module_system=flag).caller_in_module_system is True


@pytest.mark.parametrize("flag", [None, 2, "maybe", "", [], " true"])
def test_any_other_flag_is_refused(flag: object) -> None:
    assert refusal_with(caller_in_module_system=flag).errors[0]["loc"] == ["body", "caller_in_module_system"]


@pytest.mark.parametrize("field", INDEX_FIELDS)
@pytest.mark.parametrize("bad", [True, False, None, 3.5, [1], {"a": 1}, 1e300])
def test_an_index_list_with_anything_but_integers_and_strings_is_refused(field: str, bad: object) -> None:
    error = refusal_with(**{field: [1, "a", bad]})
    assert error.errors[0]["loc"] == ["body", field]
    assert "position 2" in str(error)


@pytest.mark.parametrize("field", INDEX_FIELDS)
@pytest.mark.parametrize("bad", ["abc", 5, {"a": 1}, True])
def test_an_index_list_has_to_be_a_list(field: str, bad: object) -> None:
    assert refusal_with(**{field: bad}).errors[0]["loc"] == ["body", field]


def test_integral_floats_in_an_index_list_are_integers() -> None:
    assert values(parse_with(local_premises=[3.0, "a", 2]).local_premises) == ([3, 2], ["a"])


def test_integers_beyond_64_bits_in_an_index_list_are_left_out() -> None:
    huge = [10**30, 1, -(10**30), 2**64, 2]
    assert values(parse_with(local_premises=huge).local_premises) == ([1, 2], [])
    plain = orjson.dumps({"state": "s", "k": 1}).replace(b"}", b',"local_premises":[5,%s]}' % (b"1" + b"0" * 30))
    positions, _ = values(parse(plain).local_premises)
    assert positions[0] == 5
    assert all(position > 2**53 for position in positions[1:])


def test_a_numeric_string_in_an_index_list_stays_a_name() -> None:
    assert values(parse_with(local_premises=["5"]).local_premises) == ([], ["5"])


@pytest.mark.parametrize("state", [None, 5, {"a": 1}, ["a", 5], ["a", None], [["a"]]])
def test_a_state_that_is_neither_text_nor_texts_is_refused(state: object) -> None:
    error = refusal_with(state=state)
    assert [fault["loc"] for fault in error.errors] == [["body", "state"]]


@pytest.mark.parametrize("missing", ["state", "k"])
def test_a_missing_field_is_named(missing: str) -> None:
    body = {"state": "s", "k": 1}
    del body[missing]
    error = refusal(body)
    assert error.errors == [{"loc": ["body", missing], "msg": "Field required"}]
    assert missing in str(error)


@pytest.mark.parametrize(
    "premises",
    [
        {"name": "a", "decl": "b"},
        [None],
        [["a", "b"]],
        [{"name": "a"}],
        [{"decl": "a"}],
        [{"name": 1, "decl": "b"}],
        "a",
    ],
)
def test_malformed_new_premises_are_refused(premises: object) -> None:
    assert refusal_with(new_premises=premises).errors[0]["loc"][:2] == ["body", "new_premises"]


def test_empty_texts_and_nul_are_accepted() -> None:
    request = parse_with(state="\0", new_premises=[{"name": "", "decl": ""}])
    assert request.state == "\0"
    assert parse_with(state="").state == ""


@pytest.mark.parametrize("where", ["state", "unknown_field"])
def test_a_lone_surrogate_is_refused_with_its_place(where: str) -> None:
    error = refusal({"state": "s", "k": 1, where: "\ud800"})
    assert error.errors[0]["loc"] == ["body"]
    assert "surrogate" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"x",
        b'{"state":"s","k":1}x',
        b'{"state":"\xff","k":1}',
        b"[" * 100_000,
        b'{"state":"s","k":1' + b"0" * 5000 + b"}",
    ],
    ids=["empty", "cut short", "no JSON", "more after it", "no UTF-8", "too deep", "5000 digits"],
)
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    error = refusal(body)
    assert error.errors[0]["loc"] == ["body"]
    assert "not valid JSON" in str(error)


@pytest.mark.parametrize("body", [b"[]", b"null", b"3", b'"state"'])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    assert "JSON object" in str(refusal(body))


def test_an_error_never_echoes_the_input() -> None:
    goal = "unpublished lemma"
    bodies: list[dict[str, Any]] = [
        {"state": {goal: goal}, "k": goal, "local_premises": [[goal]], "caller_in_module_system": goal},
        {"state": "s", "k": 1, "new_premises": [{"name": [goal], "decl": {goal: 1}}, goal]},
    ]
    for body in bodies:
        error = refusal(body)
        assert goal not in str(error)
        assert goal not in json.dumps(error.errors)


def test_every_field_with_a_fault_is_listed() -> None:
    error = refusal({"k": "x", "local_premises": 3, "new_premises": [{}]})
    assert [fault["loc"][1] for fault in error.errors] == [
        "state",
        "local_premises",
        "new_premises",
        "new_premises",
        "k",
    ]


@pytest.mark.parametrize(
    ("field", "element"),
    [("local_premises", "1.5"), ("local_premises", "null"), ("new_premises", "{}"), ("state", "1")],
)
def test_a_list_with_a_million_faults_is_refused_for_its_first(field: str, element: str) -> None:
    elements = ",".join([element] * 1_000_000)
    error = refusal(f'{{"state":"s","k":1,"{field}":[{elements}]}}'.encode())
    assert {fault["loc"][1] for fault in error.errors} == {field}
    assert len(error.errors) <= 2


AMBIGUOUS_BODIES = {
    "the key in a nested object": b'{"state":"s","k":1,"x":{"local_premises":[7]},"local_premises":[8]}',
    "only a nested key": b'{"state":"s","k":1,"x":{"local_premises":[7]}}',
    "the key twice": b'{"state":"s","k":1,"local_premises":[7],"local_premises":[8]}',
    "the key twice, null last": b'{"state":"s","k":1,"local_premises":[7],"local_premises": null}',
    "the key in the state": orjson.dumps({"state": ',"local_premises":[7],', "k": 1}),
    "the key at the end of another": orjson.dumps({"state": "s", "k": 1, ',"local_premises': [7]}),
    "blanks in the list": b'{"state":"s","k":1,"local_premises":[7, 8]}',
    "blanks before the list": b'{"state":"s","k":1,"local_premises": [7,8]}',
    "an escaped key": b'{"state":"s","k":1,"local\\u005fpremises":[7]}',
    "a nested and an escaped key": b'{"state":"s","k":1,"x":{"local_premises":[7]},"local\\u005fpremises":[8]}',
    "an empty list": b'{"local_premises":[],"state":"s","k":1}',
    "names and integers": b'{"local_premises":["a]",7],"state":"s","k":1}',
}


@pytest.mark.parametrize("body", AMBIGUOUS_BODIES.values(), ids=AMBIGUOUS_BODIES.keys())
def test_a_list_is_read_where_json_has_it_and_nowhere_else(body: bytes) -> None:
    document = json.loads(body)
    request = parse(body)
    assert request.state == document["state"]
    expected = document.get("local_premises")
    if expected is None:
        assert request.local_premises is None
    else:
        integers = [value for value in expected if isinstance(value, int)]
        assert values(request.local_premises) == (integers, [value for value in expected if isinstance(value, str)])


@pytest.mark.parametrize("text", ["[,]", "[1,]", "[01]", "[1 2]", "[1", "[1,2]]", "[-]", "[+1]"])
def test_a_list_that_is_not_json_is_refused(text: str) -> None:
    assert "not valid JSON" in str(refusal(b'{"state":"s","k":1,"local_premises":%s}' % text.encode()))


json_values = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from(["1", "3.0", "true"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=6,
)
index_lists = st.lists(st.integers() | st.text(max_size=3) | st.floats()) | json_values


@given(
    st.fixed_dictionaries(
        {"state": st.text() | st.lists(st.text(), max_size=3) | json_values, "k": st.integers() | json_values},
        optional={
            "caller_in_module_system": st.booleans() | json_values,
            "imported_modules": index_lists,
            "local_premises": index_lists,
            "imported_all_modules": index_lists,
        },
    ),
    st.booleans(),
)
def test_what_pydantic_accepts_is_accepted_with_the_same_meaning(body: dict[str, Any], compact: bool) -> None:  # noqa: FBT001
    text = json.dumps(body, separators=(",", ":") if compact else None)
    try:
        plain = PlainRequest.model_validate(json.loads(text))
    except ValidationError:
        refusal(text.encode())
        return
    request = parse(text.encode())
    assert (request.state, request.k) == (plain.state, plain.k)
    assert request.caller_in_module_system == plain.caller_in_module_system
    for field in INDEX_FIELDS:
        assert kept_values(getattr(request, field)) == expected_values(getattr(plain, field))


def kept_values(integers: IndexList | None) -> tuple[list[int], list[str]] | None:
    if integers is None:
        return None
    positions, names = values(integers)
    return [position for position in positions if abs(position) < 2**53], names


def expected_values(plain: list[str | int] | None) -> tuple[list[int], list[str]] | None:
    if plain is None:
        return None
    small = [value for value in plain if isinstance(value, int) and abs(value) < 2**53]
    return small, [value for value in plain if isinstance(value, str)]


def test_the_schema_for_openapi_has_no_references_and_tells_the_limits() -> None:
    schema = retrieve_request_schema(max_states=5)
    assert "$ref" not in json.dumps(schema)
    assert schema["required"] == ["state", "k"]
    assert schema["properties"]["state"]["anyOf"][1]["maxItems"] == 5
    index_list = schema["properties"]["local_premises"]["anyOf"][0]
    assert index_list == {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}
