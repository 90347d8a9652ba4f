"""What a caller may see, against sets and loops written from the contract's own sentences."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from api.accessibility import Accessibility
from api.index_list import IndexList
from tests.acceptance.fuzz_models import fuzzed
from tests.in_memory_corpus import InMemoryCorpus, Row

MODULES = ["A", "A.B", "A.B.C", "AB", "Z.«odd name».«a.b»", "a", "Ω.𝔸"]
PATHS = [module.replace(".", "/") + ".lean" for module in MODULES]
PREMISES = [
    "A.one",
    "A.two",
    "A.one'",
    "«weird name».«a.b»",
    "∀x",
    "x",
    "X",
    "1",
    "-1",
    "",
    "A",
    "z\0",
    "z\n",
    "y.1",
    "y.2",
    "y.3",
]
UNKNOWN = ["Nope", "A/B", "nope.lean", ".lean", "A/", "/A.lean", "null", "😀"]
HUGE = [2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 + 3, 10**30]

Values = list[int | str]


@dataclass(frozen=True)
class World:
    rows: list[Row]
    unfiltered: list[str]
    modules: list[str]


@dataclass(frozen=True)
class Asked:
    imported_modules: Values | None
    local_premises: Values | None
    imported_all_modules: Values | None
    caller_in_module_system: bool
    shadowed_names: list[str]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    modules = draw(st.lists(st.sampled_from(MODULES), min_size=1, unique=True))
    names = draw(st.permutations(PREMISES))[: draw(st.integers(1, len(PREMISES)) | st.sampled_from([8, 16]))]
    flags = st.booleans()
    rows = [Row(name, draw(st.sampled_from(modules)), draw(flags), draw(flags), draw(flags)) for name in names]
    if draw(st.booleans()):
        rows.sort(key=lambda row: row.module)  # as the files of a corpus give them
    others = draw(st.lists(st.sampled_from(PREMISES), max_size=8))  # filtered out, or a name once more
    return World(rows, draw(st.permutations([*names, *others])), modules)


positions = st.integers(-2, 22) | st.sampled_from([sign * huge for huge in HUGE for sign in (1, -1)])
module_lists: st.SearchStrategy[Values] = st.lists(
    positions | st.sampled_from([*MODULES, *PATHS, *UNKNOWN]), max_size=6
)
premise_lists: st.SearchStrategy[Values] = st.lists(positions | st.sampled_from([*PREMISES, *UNKNOWN]), max_size=6)
requests = st.builds(
    Asked,
    imported_modules=st.none() | module_lists,
    local_premises=st.none() | premise_lists,
    imported_all_modules=st.none() | module_lists,
    caller_in_module_system=st.booleans(),
    shadowed_names=st.just([]) | st.lists(st.sampled_from([*PREMISES, *UNKNOWN]), max_size=4),
)


def rows_by_the_contract(world: World, asked: Asked) -> list[int]:
    return [row for row, premise in enumerate(world.rows) if may_see(world, asked, premise)]


def may_see(world: World, asked: Asked, premise: Row) -> bool:
    if premise.name in asked.shadowed_names:
        return False
    if asked.caller_in_module_system and premise.in_module_system and not premise.is_theorem:
        opened = premise.module in meant_modules(world, asked.imported_all_modules)
        if not (premise.is_exposed or opened):
            return False
    if asked.imported_modules is None and asked.local_premises is None:
        return True
    imported = premise.module in meant_modules(world, asked.imported_modules)
    return imported or premise.name in meant_premises(world, asked.local_premises)


def meant_modules(world: World, values: Values | None) -> set[str]:
    modules = sorted(world.modules)
    names = {value for value in values or [] if isinstance(value, str)}
    named = {module for module in modules if module in names or module.replace(".", "/") + ".lean" in names}
    return named | at_positions(modules, values)


def meant_premises(world: World, values: Values | None) -> set[str]:
    return {value for value in values or [] if isinstance(value, str)} | at_positions(world.unfiltered, values)


def at_positions(names: Sequence[str], values: Values | None) -> set[str]:
    return {names[value] for value in values or [] if isinstance(value, int) and 0 <= value < len(names)}


def index_list(values: Values | None) -> IndexList | None:
    """As a request's body is read: plain integers stay text."""
    if values is None:
        return None
    text = json.dumps(values, separators=(",", ":")).encode()
    return IndexList.of_plain_integers(text) or IndexList.of(values)


@fuzzed(300)
@given(worlds(), st.lists(requests, min_size=1, max_size=8))
def test_a_caller_sees_what_the_contract_says_whatever_was_asked_before(world: World, asked: list[Asked]) -> None:
    accessibility = Accessibility(InMemoryCorpus(world.rows, world.unfiltered, world.modules), remembered_selections=3)
    for request in [*asked, *asked]:
        selection = accessibility.select(
            imported_modules=index_list(request.imported_modules),
            local_premises=index_list(request.local_premises),
            imported_all_modules=index_list(request.imported_all_modules),
            caller_in_module_system=request.caller_in_module_system,
            shadowed_names=request.shadowed_names,
        )
        expected = rows_by_the_contract(world, request)
        assert (selection.list_rows().tolist(), selection.count) == (expected, len(expected))
        assert np.flatnonzero(selection.mask).tolist() == expected
