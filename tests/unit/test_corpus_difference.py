from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from api.commands.diff import diff_command
from api.corpus_review.difference import Change, CorpusDifference, Place, Positions, compare_corpora
from api.corpus_review.difference_text import difference_lines
from shared.corpus import read_corpus
from tests.corpora import Declaration, declaration, write_corpus

Declarations = Mapping[str, Sequence[Declaration]]


def compare(tmp_path: Path, before: Declarations, after: Declarations) -> CorpusDifference:
    one = read_corpus(write_corpus(tmp_path / "before", before, revision="v1"))
    return compare_corpora(one, read_corpus(write_corpus(tmp_path / "after", after, revision="v2")))


def changed_lists(difference: CorpusDifference) -> set[str]:
    """Names of the lists in which something stands."""
    return {
        field
        for field in CorpusDifference.__dataclass_fields__
        if isinstance(value := getattr(difference, field), list) and value
    }


def test_premises_and_modules_of_one_side_alone_are_added_or_removed(tmp_path: Path) -> None:
    difference = compare(
        tmp_path,
        {"A": [declaration("both"), declaration("old", type="Nat")], "Old": []},
        {"A": [declaration("both")], "New": [declaration("new", type="Int")]},
    )
    assert (difference.added, difference.removed) == ([Place("new", "New")], [Place("old", "A")])
    assert (difference.modules_added, difference.modules_removed) == (["New"], ["Old"])
    assert changed_lists(difference) == {"added", "removed", "modules_added", "modules_removed"}


@pytest.mark.parametrize(
    ("fields", "expected_list", "change"),
    [
        ({"type": "False"}, "statements_changed", Change("a", " : True", " : False")),
        ({"args": ["(n : Nat)"]}, "statements_changed", Change("a", " : True", "(n : Nat) : True")),
        ({"kind": "axiom"}, "kinds_changed", Change("a", "theorem", "axiom")),
        ({"doc": "About a."}, "docs_changed", Change("a", "", "/-- About a. -/")),
        ({"inModuleSystem": True}, "visibility_changed", Change("a", "outside the module system", "not exposed")),
    ],
)
def test_what_changed_about_a_premise_is_in_the_list_of_its_kind_alone(
    tmp_path: Path, fields: dict[str, object], expected_list: str, change: Change
) -> None:
    difference = compare(tmp_path, {"A": [declaration("a")]}, {"A": [declaration("a", **fields)]})
    assert changed_lists(difference) == {expected_list}
    assert getattr(difference, expected_list) == [change]


def test_documentation_that_changes_with_the_statement_is_told_as_a_changed_statement(tmp_path: Path) -> None:
    after = declaration("a", doc="New.", type="False")
    assert changed_lists(compare(tmp_path, {"A": [declaration("a")]}, {"A": [after]})) == {"statements_changed"}


def test_a_premise_of_the_same_name_in_another_module_has_moved(tmp_path: Path) -> None:
    one, other = declaration("a"), declaration("b", type="Nat")
    difference = compare(tmp_path, {"A": [one], "B": [other]}, {"A": [], "B": [one, other]})
    assert difference.moved == [Change("a", "A", "B")]
    assert changed_lists(difference) == {"moved"}


def test_the_same_text_under_another_name_is_taken_for_renamed(tmp_path: Path) -> None:
    before = [declaration("A.x", type="Nat"), declaration("A.y", type="Nat"), declaration("old", type="Int")]
    after = [declaration("B.y", type="Nat"), declaration("B.x", type="Nat"), declaration("new", type="Int", doc="It.")]
    difference = compare(tmp_path, {"A": before}, {"A": after})
    pairs = {(change.before, change.after) for change in difference.renamed}
    assert pairs == {("A.x", "B.x"), ("A.y", "B.y"), ("old", "new")}
    assert len(difference.added) == len(difference.removed) == 3


def test_nothing_is_guessed_where_several_could_have_been_renamed(tmp_path: Path) -> None:
    difference = compare(
        tmp_path, {"A": [declaration("a"), declaration("b")]}, {"A": [declaration("c"), declaration("d")]}
    )
    assert difference.renamed == []


def test_texts_of_the_second_that_the_first_has_cost_nothing(tmp_path: Path) -> None:
    before = {"A": [declaration("same"), declaration("doc"), declaration("moved")]}
    after = {"A": [declaration("same"), declaration("doc", doc="d")], "B": [declaration("moved"), declaration("new")]}
    new = compare(tmp_path, before, after).new_texts
    assert (new.texts, new.of_texts) == (2, 4)
    assert new.characters == len("/-- d -/\ntheorem doc  : True") + len("theorem new  : True")


def test_it_is_told_which_numbers_of_clients_mean_something_else(tmp_path: Path) -> None:
    before = {"A": [declaration("a"), declaration("Lean.x")], "C": [declaration("c")]}
    after = {"A": [declaration("a"), declaration("Lean.x")], "B": [], "C": [declaration("b"), declaration("c")]}
    difference = compare(tmp_path, before, after)
    assert difference.module_positions == Positions(kept=1, changed=1, first_changed=1)
    assert difference.premise_positions == Positions(kept=2, changed=1, first_changed=2)
    assert any("1 mean something else now, from 1 on" in line for line in difference_lines(difference, 10))


def test_appending_keeps_all_numbers(tmp_path: Path) -> None:
    difference = compare(tmp_path, {"A": [declaration("a")]}, {"A": [declaration("a"), declaration("b")]})
    assert difference.premise_positions == Positions(kept=1, changed=0, first_changed=None)


def test_long_texts_are_shown_from_just_before_their_first_difference(tmp_path: Path) -> None:
    before, after = declaration("a", type="x" * 500 + "old"), declaration("a", type="x" * 500 + "new")
    lines = "\n".join(difference_lines(compare(tmp_path, {"A": [before]}, {"A": [after]}), 10))
    assert f"- …{'x' * 30}old" in lines
    assert f"+ …{'x' * 30}new" in lines


def test_the_command_lists_no_more_than_wanted_and_scripts_get_all(tmp_path: Path) -> None:
    before = write_corpus(tmp_path / "before", {"A": [declaration("a")]})
    after = write_corpus(tmp_path / "after", {"A": [declaration(name, type=name) for name in "abcd"]})
    environment = {"DATA_DIR": str(tmp_path / "state")}
    shown = CliRunner().invoke(diff_command, [str(before), str(after), "--limit", "2"], env=environment)
    assert (shown.exit_code, "added (3)" in shown.stdout, "… and 1 more" in shown.stdout) == (0, True, True)
    full = CliRunner().invoke(diff_command, [str(before), str(after), "--json"], env=environment)
    assert [place["name"] for place in orjson.loads(full.stdout)["added"]] == ["b", "c", "d"]
