"""Bodies of `/retrieve`, quickly read or not, against Python's own JSON parser and the contract's rules."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from api.index_list import IndexList
from api.schemas import INDEX_FIELDS, parse_retrieve_request
from shared.errors import RequestValidationFailed
from tests.acceptance.fuzz_models import fuzzed, read_json

MAX_STATES = 3
BEYOND_ANY_POSITION = 2**53

IndexValues = tuple[list[int], list[str]]


@dataclass(frozen=True)
class Reading:
    """What a body asks for; of its index lists the names, and the integers that could point at something."""

    state: str | list[str]
    k: int
    caller_in_module_system: bool
    index_lists: list[IndexValues | None]
    new_premises: list[tuple[str, str]] | None


@dataclass(frozen=True)
class Refusal:
    """The fields at fault; none where it is the body as a whole."""

    fields: set[str]


def read_slowly(body: bytes) -> Reading | Refusal:
    try:
        document = read_json(body, nan_passes=True)  # as of every FastAPI server
    except ValueError:
        return Refusal(set())
    if not isinstance(document, dict):
        return Refusal(set())
    fields = {"caller_in_module_system": False, **document}
    at_fault = {field for field, is_usable in RULES.items() if not is_usable(fields.get(field))}
    if at_fault:
        return Refusal(at_fault)
    if isinstance(fields["state"], list) and len(fields["state"]) > MAX_STATES:
        return Refusal({"state"})
    return Reading(
        fields["state"],
        INTEGER.validate_python(fields["k"]),
        FLAG.validate_python(fields["caller_in_module_system"]),
        [expected_values(fields.get(field)) for field in INDEX_FIELDS],
        expected_premises(fields.get("new_premises")),
    )


INTEGER, FLAG = TypeAdapter(int), TypeAdapter(bool)  # of numbers and flags the contract says: as lenient as pydantic


def fits(adapter: TypeAdapter[int] | TypeAdapter[bool], value: object) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def is_state(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(text, str) for text in value))


def is_index_list(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(is_index(element) for element in value))


def is_index(element: object) -> bool:
    if isinstance(element, float):
        return fits(INTEGER, element)
    return isinstance(element, int | str) and not isinstance(element, bool)


def are_premises(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(is_premise(element) for element in value))


def is_premise(element: object) -> bool:
    return isinstance(element, dict) and all(isinstance(element.get(field), str) for field in ("name", "decl"))


RULES: dict[str, Callable[[object], bool]] = {
    "state": is_state,
    "k": lambda value: fits(INTEGER, value),
    "caller_in_module_system": lambda value: fits(FLAG, value),
    "new_premises": are_premises,
    **dict.fromkeys(INDEX_FIELDS, is_index_list),
}


def expected_values(value: list[int | float | str] | None) -> IndexValues | None:
    if value is None:
        return None
    integers = [int(element) for element in value if not isinstance(element, str)]
    return small(integers), [element for element in value if isinstance(element, str)]


def expected_premises(value: list[dict[str, str]] | None) -> list[tuple[str, str]] | None:
    return None if value is None else [(premise["name"], premise["decl"]) for premise in value]


def small(integers: list[int]) -> list[int]:
    return [integer for integer in integers if abs(integer) < BEYOND_ANY_POSITION]


def read(body: bytes) -> Reading | Refusal:
    try:
        request = parse_retrieve_request(body, max_states=MAX_STATES)
    except RequestValidationFailed as failure:
        return Refusal({str(error["loc"][1]) for error in failure.errors if len(error["loc"]) > 1})
    premises = request.new_premises
    return Reading(
        request.state,
        request.k,
        request.caller_in_module_system,
        [read_values(getattr(request, field)) for field in INDEX_FIELDS],
        None if premises is None else [(premise.name, premise.decl) for premise in premises],
    )


def read_values(values: IndexList | None) -> IndexValues | None:
    if values is None:
        return None
    positions, names = values.split()
    return small(positions.tolist()), names


Texts = st.SearchStrategy[str]


def mostly(usual: Texts, *unusual: Texts) -> Texts:
    """Four times in five the usual."""
    return st.sampled_from([usual] * 4 * len(unusual) + [*unusual]).flatmap(lambda chosen: chosen)


blanks = mostly(st.just(""), st.sampled_from([" ", "\n\t", "\r"]))
plain_integers = st.sampled_from(["0", "7", "8", "10", "305", str(2**53 - 1), str(2**53), str(2**64 + 1), "9" * 40])
integers = plain_integers | st.sampled_from(
    ["-0", "-1", str(2**53 - 1), "9" * 40, f"-{2**63}", f"-{10**30}", "3.0", "1e2", "-1E+0", "1e18"]
)
fractions = st.sampled_from(["2.5", "1e19", "1e400", "NaN", "-Infinity"])
tricky = [
    r'",\"imported_modules\":[7],"',
    r'"{\"local_premises\":[7],"',
    '",imported_modules:[7],"',
    '"[null]"',
    '"a]"',
]
strings = st.sampled_from(['""', '"A.B"', '"5"', r'"\\"', r'"\""', r'"\u0000"', '"é😀"', r'"\ud83d\ude00"', *tricky])
words = st.sampled_from(["null", "true", "false"])
scalars = integers | fractions | strings | words
flags = st.sampled_from(["true", "false", "1", "0.0", '"yes"', '"OFF"'])
NOT_JSON = ["01", "+", "1.", "'", '"', "\\", r"\ud800", r"\x", "\t", "\0", ",", ":", "[", "]", "{", "}", "#", "\ufeff"]


def listed(parts: Texts, blanks: Texts = blanks) -> Texts:
    return st.builds(lambda items, blank: f"[{blank}{f'{blank},'.join(items)}]", st.lists(parts, max_size=5), blanks)


def member(key: Texts, value: Texts) -> Texts:
    return st.builds("{1}{2}{0}:{0}{3}".format, blanks, blanks, key, value)


def braced(members: list[str]) -> str:
    return "{" + ",".join(members) + "}"


plain_lists = listed(plain_integers, st.just(""))
index_lists = st.one_of(
    plain_lists,
    plain_lists,
    plain_lists,
    listed(integers | strings),
    st.sampled_from(["null", "[null]", "[ null]", "[[7]]", '"[7]"']),
    listed(mostly(integers | strings, words, fractions)),
)
states = mostly(strings | listed(strings), listed(mostly(strings, scalars)), scalars)
other_keys = st.sampled_from(['"x"', '""', r'"imported_modules\""', r'",\"imported_modules"', '"Imported_modules"'])


def index_members(fields: Sequence[str]) -> Texts:
    """One of the fields, its name spelt in one of two ways, with a list."""
    plain, escaped = ([f'"{field.replace("_", line)}"' for field in fields] for line in ("_", r"\u005f"))
    return member(mostly(st.sampled_from(plain), st.sampled_from(escaped)), index_lists)


def new_premises(fields: Sequence[str]) -> Texts:
    premise = [member(st.just(f'"{key}"'), mostly(strings, words)) for key in ("name", "decl")]
    pair = st.builds(lambda *members: braced([*members]), *premise, index_members(fields))
    return listed(mostly(pair, st.lists(st.one_of(premise), max_size=2).map(braced), scalars))


def other_members(fields: Sequence[str]) -> Texts:
    """A member that is no field of the request, with whatever a field's name may be hidden in."""
    hidden = st.lists(index_members(fields) | member(other_keys, scalars), max_size=3).map(braced)
    return member(other_keys, hidden | listed(hidden | index_lists) | index_lists | scalars)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Mostly bodies that can be used, or nearly; sometimes with a piece too many or too few."""
    fields = draw(st.sampled_from([INDEX_FIELDS, INDEX_FIELDS[:1], INDEX_FIELDS[1:2]]))
    others = st.one_of(
        other_members(fields),
        member(st.just('"new_premises"'), new_premises(fields)),
        member(st.just('"caller_in_module_system"'), mostly(flags, scalars)),
    )
    members = [
        draw(member(st.just('"state"'), states)),
        draw(member(st.just('"k"'), mostly(integers, scalars))),
        *draw(st.lists(index_members(fields), min_size=1, max_size=4)),
        *draw(st.lists(others, max_size=3)),
    ]
    return draw(nearly(braced(draw(st.permutations(members))))).encode()


@st.composite
def nearly(draw: st.DrawFn, text: str) -> str:
    if draw(st.integers(0, 5)):
        return text
    place = draw(st.integers(0, len(text)))
    return text[:place] + draw(st.sampled_from(["", *NOT_JSON])) + text[place + draw(st.integers(0, 1)) :]


def compact_json(values: list[int]) -> str:
    return json.dumps(values, separators=(",", ":"))


@fuzzed(500)
@given(bodies())
@example(b'{"state":"s","k":1,"x":{"imported_modules":[7]},"imported_modules": [null]}')
def test_a_body_is_read_as_the_rules_say_or_refused_for_the_same_fields(body: bytes) -> None:
    assert read(body) == read_slowly(body)


@fuzzed(300)
@given(
    st.text("01[],-. ", max_size=9)
    | listed(st.sampled_from(["0", "7", "10", "00", "01", "", " ", "-0", "1.", "[]"]), st.just(""))
    | st.lists(st.integers(0, 10**20)).map(compact_json)
)
@example("0[]")
def test_plain_integers_are_compact_json_lists_of_integers_and_nothing_else(text: str) -> None:
    integers = IndexList.of_plain_integers(text.encode())
    expected = compact_integers(text)
    assert (integers is None) == (expected is None)
    assert integers is None or small(integers.split()[0].tolist()) == small(expected or [])


def compact_integers(text: str) -> list[int] | None:
    """The list that a text is, where it is how Python writes a list of integers without blanks."""
    try:
        values = json.loads(text)
    except ValueError:
        return None
    are_positions = isinstance(values, list) and all(isinstance(value, int) and value >= 0 for value in values)
    return values if are_positions and compact_json(values) == text else None
