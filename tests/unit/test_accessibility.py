import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.accessibility import MOST_LOCAL_ROWS, Accessibility, Selection
from api.index_list import IndexList
from tests.in_memory_corpus import InMemoryCorpus, Row

CORPUS = InMemoryCorpus(
    [
        Row("A.one", "A"),
        Row("A.two", "A", is_theorem=False),
        Row("B.open", "B.Deep", is_theorem=False, in_module_system=True, is_exposed=True),
        Row("B.shut", "B.Deep", is_theorem=False, in_module_system=True),
        Row("B.law", "B.Deep", in_module_system=True),
        Row("C.shut", "C", is_theorem=False, in_module_system=True),
        Row("C.law", "C", in_module_system=True),
        Row("D.one", "D"),
        Row("D.two", "D"),
    ],
    unfiltered=[
        "A.one",
        "filtered",
        "A.two",
        "A.one",
        "B.open",
        "B.shut",
        "B.law",
        "C.shut",
        "C.law",
        "D.one",
        "D.two",
    ],
)
EVERYTHING = ["A.one", "A.two", "B.open", "B.shut", "B.law", "C.shut", "C.law", "D.one", "D.two"]


def selected(
    modules: list[int | str] | None = None,
    local: list[int | str] | None = None,
    *,
    all_modules: list[int | str] | None = None,
    in_module_system: bool = False,
    shadowed: tuple[str, ...] = (),
) -> list[str]:
    selection = Accessibility(CORPUS).select(
        imported_modules=None if modules is None else IndexList.of(modules),
        local_premises=None if local is None else IndexList.of(local),
        imported_all_modules=None if all_modules is None else IndexList.of(all_modules),
        caller_in_module_system=in_module_system,
        shadowed_names=shadowed,
    )
    rows = np.flatnonzero(selection.mask)
    assert selection.count == len(rows)
    return CORPUS.names(rows)


def test_without_lists_the_whole_corpus_is_accessible() -> None:
    assert selected() == EVERYTHING


def test_an_empty_list_is_not_an_absent_one() -> None:
    assert selected([], []) == []
    assert selected([]) == []
    assert selected(None, []) == []


def test_imported_modules_and_local_premises_are_joined() -> None:
    assert selected([0], ["D.two"]) == ["A.one", "A.two", "D.two"]


@pytest.mark.parametrize("module", [1, "B.Deep", "B/Deep.lean"])
def test_a_module_is_given_by_position_name_or_path(module: int | str) -> None:
    assert selected([module]) == ["B.open", "B.shut", "B.law"]


@pytest.mark.parametrize("module", [-1, 4, 10**30, -(10**30), 2**63, "Nope", "", "B/Deep", "B.Deep.lean/x", ".lean"])
def test_a_module_that_does_not_exist_is_ignored(module: int | str) -> None:
    assert selected([module, "A"]) == ["A.one", "A.two"]


@pytest.mark.parametrize("premise", [-1, 11, 10**30, -(10**30), "nope", "filtered", "", 1])
def test_a_local_premise_that_does_not_exist_or_was_filtered_is_ignored(premise: int | str) -> None:
    assert selected([], [premise, "D.one"]) == ["D.one"]


def test_a_position_counts_before_the_filters_and_resolves_by_name() -> None:
    assert selected([], [2]) == ["A.two"]
    assert selected([], [3]) == ["A.one"]


def test_only_a_caller_in_the_module_system_is_refused_unexposed_constants() -> None:
    assert selected(["B.Deep"]) == ["B.open", "B.shut", "B.law"]
    assert selected(["B.Deep"], in_module_system=True) == ["B.open", "B.law"]


def test_modules_outside_the_module_system_hide_nothing() -> None:
    assert selected(["A"], in_module_system=True) == ["A.one", "A.two"]


def test_import_all_shows_what_a_module_keeps_unexposed() -> None:
    assert selected(["B.Deep", "C"], all_modules=["C"], in_module_system=True) == ["B.open", "B.law", "C.shut", "C.law"]


def test_import_all_makes_nothing_accessible_by_itself() -> None:
    assert selected(["B.Deep"], all_modules=["C"], in_module_system=True) == ["B.open", "B.law"]


def test_import_all_is_read_only_for_a_caller_in_the_module_system() -> None:
    assert selected(["B.Deep"], all_modules=["C"]) == ["B.open", "B.shut", "B.law"]


def test_visibility_holds_for_local_premises_and_the_whole_corpus_too() -> None:
    assert selected([], ["B.shut", "B.law"], in_module_system=True) == ["B.law"]
    visible = [name for name in EVERYTHING if name not in {"B.shut", "C.shut"}]
    assert selected(in_module_system=True) == visible


def test_a_new_premise_shadows_the_indexed_one_of_its_name() -> None:
    assert selected(["A"], shadowed=("A.two", "A.two", "unknown", "D.one")) == ["A.one"]


def test_shadowing_does_not_last_beyond_its_request() -> None:
    accessibility = Accessibility(CORPUS)
    before = accessibility.select()
    assert accessibility.select(shadowed_names=["A.one"]).count == len(EVERYTHING) - 1
    assert accessibility.select() is before
    assert before.count == len(EVERYTHING)


def test_a_repeated_list_is_not_selected_again() -> None:
    accessibility = Accessibility(CORPUS)
    first = accessibility.select(imported_modules=IndexList.of([1, "A"]))
    assert accessibility.select(imported_modules=IndexList.of([1, "A"])) is first
    assert accessibility.select(local_premises=IndexList.of([1, "A"])) is not first


def test_only_so_many_selections_are_remembered_the_latest_used() -> None:
    accessibility = Accessibility(CORPUS, remembered_selections=2)

    def select(module: int) -> Selection:
        return accessibility.select(imported_modules=IndexList.of([module]))

    first, second = select(0), select(1)
    assert select(0) is first
    select(2)
    assert select(0) is first
    assert select(1) is not second


def test_threads_select_the_same_while_selections_are_forgotten() -> None:
    accessibility = Accessibility(CORPUS, remembered_selections=2)
    wrong: list[int] = []

    def select_often() -> None:
        for _ in range(200):
            for module, count in enumerate((2, 3, 2, 2)):
                if accessibility.select(imported_modules=IndexList.of([module])).count != count:
                    wrong.append(module)

    threads = [threading.Thread(target=select_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.data())
def test_a_selection_less_some_rows_is_what_sets_say(members: list[bool], data: st.DataObject) -> None:
    removed = data.draw(st.lists(st.integers(0, len(members) - 1)))
    less = Selection.of(np.array(members)).without(np.array(removed, dtype=np.int32))
    expected = {row for row, member in enumerate(members) if member} - set(removed)
    assert set(np.flatnonzero(less.mask).tolist()) == expected
    assert less.count == len(expected)
    assert not less.packed.flags.writeable


def test_local_premises_of_an_imported_module_are_not_the_callers_own() -> None:
    selection = Accessibility(CORPUS).select(
        imported_modules=IndexList.of(["D"]), local_premises=IndexList.of(["A.one", "D.one"]), shadowed_names=["A.two"]
    )
    assert CORPUS.names(np.asarray(selection.local_rows)) == ["A.one"]


def test_a_shadowed_local_premise_is_no_longer_the_callers_own() -> None:
    selection = Accessibility(CORPUS).select(local_premises=IndexList.of(["A.one", "A.two"]), shadowed_names=["A.two"])
    assert CORPUS.names(np.asarray(selection.local_rows)) == ["A.one"]


def test_more_local_premises_than_a_file_declares_are_nobodys_own() -> None:
    corpus = InMemoryCorpus([Row(f"A.t{row}", "A") for row in range(MOST_LOCAL_ROWS + 1)])
    selection = Accessibility(corpus).select(local_premises=IndexList.of(list(range(MOST_LOCAL_ROWS + 1))))
    assert selection.count == MOST_LOCAL_ROWS + 1
    assert not len(selection.local_rows)
