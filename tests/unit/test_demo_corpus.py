"""The demo corpus keeps to the layout of a production corpus and holds the cases its filters are about."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

import pytest

from api.evaluation.accessible_premises import PlacedCorpus, PlacedQuery
from api.evaluation.evaluation_set import EvaluationSet
from shared.corpus import read_corpus
from shared.demo import demo_corpus_path, demo_evaluation_path


class Declaration(TypedDict):
    name: str
    kind: str
    args: list[str]
    type: str
    doc: str | None
    line: int
    column: int
    isProp: bool
    isHumanTheorem: bool
    inModuleSystem: bool
    isExposed: bool


DENIED_MODULE_COMPONENTS = frozenset(
    {
        "Aesop",
        "Auto",
        "Cli",
        "CodeAction",
        "DocGen4",
        "Duper",
        "ImportGraph",
        "Lake",
        "Lean",
        "LeanSearchClient",
        "Linter",
        "Mathport",
        "MD4Lean",
        "Plausible",
        "ProofWidgets",
        "Qq",
        "QuerySMT",
        "Tactic",
        "TacticExtra",
        "Test",
        "Testing",
        "UnicodeBasic",
        "Util",
    }
)
DENIED_NAME_COMPONENTS = frozenset({"Lean", "Lake", "Qq"})
KINDS = {"theorem", "def", "instance", "structure", "class", "inductive", "axiom", "opaque"}
FIELD_TYPES: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "kind": str,
    "args": list,
    "type": str,
    "doc": (str, type(None)),
    "line": int,
    "column": int,
    "isProp": bool,
    "isHumanTheorem": bool,
    "inModuleSystem": bool,
    "isExposed": bool,
}
CLOSING_BRACKET = {"(": ")", "[": "]", "{": "}", "⦃": "⦄", "⟨": "⟩", "«": "»"}
IDENTIFIER = re.compile(r"[^\s()\[\]{}⦃⦄⟨⟩,↑]+")


def read_jsonl(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@cache
def module_names() -> tuple[str, ...]:
    return tuple(row["name"] for row in read_jsonl(demo_corpus_path() / "Modules.jsonl"))


@cache
def declarations_by_module() -> dict[str, list[Declaration]]:
    folder = demo_corpus_path() / "Declarations"
    return {path.name.removesuffix(".jsonl"): read_jsonl(path) for path in sorted(folder.iterdir())}


@cache
def imports_by_module() -> dict[str, list[tuple[str, bool]]]:
    folder = demo_corpus_path() / "Imports"
    return {
        path.name.removesuffix(".jsonl"): [(row["name"], row["isDirect"]) for row in read_jsonl(path)]
        for path in sorted(folder.iterdir())
    }


@cache
def imported_names() -> dict[str, frozenset[str]]:
    return {module: frozenset(name for name, _ in rows) for module, rows in imports_by_module().items()}


def all_declarations() -> list[Declaration]:
    return [declaration for rows in declarations_by_module().values() for declaration in rows]


def blacklist() -> list[str]:
    text = (demo_corpus_path() / "HammerBlacklist.jsonl").read_text(encoding="utf-8")
    names: list[str] = json.loads(text)["hammerBlacklist"]
    return names


def module_is_denied(module: str) -> bool:
    return not DENIED_MODULE_COMPONENTS.isdisjoint(module.split("."))


def name_is_denied(name: str) -> bool:
    return not DENIED_NAME_COMPONENTS.isdisjoint(name.split("."))


@cache
def surviving_premises() -> dict[str, Declaration]:
    """What the documented filters leave: the first declaration of each allowed name."""
    premises: dict[str, Declaration] = {}
    for module, rows in declarations_by_module().items():
        for row in rows:
            name = row["name"]
            denied = module_is_denied(module) or name_is_denied(name) or name in blacklist()
            if not denied and not row["type"].startswith("Lean.") and name not in premises:
                premises[name] = row
    return premises


def duplicated_names() -> set[str]:
    names = [row["name"] for row in all_declarations()]
    return {name for name in names if names.count(name) > 1}


def brackets_balance(text: str) -> bool:
    expected: list[str] = []
    for character in text:
        if character in CLOSING_BRACKET:
            expected.append(CLOSING_BRACKET[character])
        elif character in CLOSING_BRACKET.values() and (not expected or expected.pop() != character):
            return False
    return not expected


def test_the_revision_is_one_line() -> None:
    assert (demo_corpus_path() / "revision").read_text(encoding="utf-8") == "demo-1\n"


def test_at_least_400_premises_survive_the_filters() -> None:
    assert len(surviving_premises()) >= 400


def test_there_are_at_least_20_modules() -> None:
    assert len(module_names()) >= 20


def test_modules_are_sorted_and_listed_once() -> None:
    assert list(module_names()) == sorted(set(module_names()))


def test_every_module_has_a_declarations_file_and_the_other_way_round() -> None:
    assert set(declarations_by_module()) == set(module_names())


def test_every_module_has_an_imports_file_and_the_other_way_round() -> None:
    assert set(imports_by_module()) == set(module_names())


def test_every_data_file_is_jsonl_whose_lines_all_end() -> None:
    for path in demo_corpus_path().rglob("*.jsonl"):
        text = path.read_text(encoding="utf-8")
        assert not text or text.endswith("\n"), path.name
        assert "\n\n" not in text, path.name


def test_every_declaration_has_all_keys_and_no_others() -> None:
    for row in all_declarations():
        assert set(row) == set(FIELD_TYPES), row["name"]


@pytest.mark.parametrize("field", FIELD_TYPES)
def test_every_value_of_a_field_has_its_type(field: str) -> None:
    rows: list[Mapping[str, object]] = [*all_declarations()]
    for row in rows:
        assert isinstance(row[field], FIELD_TYPES[field]), row["name"]


def test_line_and_column_are_numbers_and_not_truth_values() -> None:
    for row in all_declarations():
        assert type(row["line"]) is int, row["name"]
        assert type(row["column"]) is int, row["name"]


def test_lines_count_from_one_and_columns_from_zero() -> None:
    for row in all_declarations():
        assert row["line"] >= 1, row["name"]
        assert row["column"] >= 0, row["name"]


def test_lines_grow_within_a_module() -> None:
    for module, rows in declarations_by_module().items():
        lines = [row["line"] for row in rows]
        assert lines == sorted(set(lines)), module


def test_every_kind_is_known_and_every_known_kind_occurs() -> None:
    assert {row["kind"] for row in all_declarations()} == KINDS


def test_names_and_types_are_not_empty_and_not_padded() -> None:
    for row in all_declarations():
        assert row["name"] == row["name"].strip() != "", row
        assert row["type"] == row["type"].strip() != "", row


def test_arguments_are_binders_in_brackets() -> None:
    for row in all_declarations():
        for argument in row["args"]:
            assert isinstance(argument, str), row["name"]
            assert CLOSING_BRACKET.get(argument[:1]) == argument[-1:], row["name"]


def test_brackets_balance_in_arguments_and_types() -> None:
    for row in all_declarations():
        for text in [*row["args"], row["type"]]:
            assert brackets_balance(text), row["name"]


def test_statements_are_printed_without_notation() -> None:
    notation = re.compile(r"(?:^|\s)(?:[-+*/%^=<>≤≥≠∣∈∉∪∩⊆∧∨↔∘]|::|\+\+)(?:\s|$)|[¬∃∑∏∅ᶜ⁻]")
    for row in all_declarations():
        for text in [*row["args"], row["type"]]:
            assert not notation.search(text), row["name"]


def test_theorems_are_propositions() -> None:
    for row in all_declarations():
        if row["kind"] == "theorem":
            assert row["isProp"], row["name"]


def test_only_theorems_are_human_theorems() -> None:
    assert {row["kind"] for row in all_declarations() if row["isHumanTheorem"]} == {"theorem"}


def test_theorems_axioms_and_opaques_are_not_exposed() -> None:
    for row in all_declarations():
        if row["kind"] in {"theorem", "axiom", "opaque"}:
            assert not row["isExposed"], row["name"]


def test_instances_are_exposed() -> None:
    for row in all_declarations():
        if row["kind"] == "instance":
            assert row["isExposed"], row["name"]


@pytest.mark.parametrize("in_module_system", [True, False])
@pytest.mark.parametrize("exposed", [True, False])
def test_exposed_and_unexposed_definitions_survive_in_and_out_of_the_module_system(
    *, in_module_system: bool, exposed: bool
) -> None:
    flags = {(row["inModuleSystem"], row["isExposed"]) for row in surviving_premises().values() if row["kind"] == "def"}
    assert (in_module_system, exposed) in flags


def test_a_module_is_in_the_module_system_as_a_whole_or_not_at_all() -> None:
    for module, rows in declarations_by_module().items():
        assert len({row["inModuleSystem"] for row in rows}) <= 1, module


def test_at_least_five_modules_are_outside_the_module_system() -> None:
    outside = [rows for rows in declarations_by_module().values() if rows and not rows[0]["inModuleSystem"]]
    assert len(outside) >= 5


def test_modules_of_the_module_system_import_no_other_modules() -> None:
    outside = {module for module, rows in declarations_by_module().items() if rows and not rows[0]["inModuleSystem"]}
    for module in set(module_names()) - outside:
        assert outside.isdisjoint(imported_names()[module]), module


def test_imports_refer_to_known_modules() -> None:
    for module, names in imported_names().items():
        assert names <= set(module_names()), module


def test_imports_are_listed_once() -> None:
    for module, rows in imports_by_module().items():
        assert len(rows) == len(imported_names()[module]), module


def test_only_the_line_of_the_module_itself_is_direct() -> None:
    for module, rows in imports_by_module().items():
        assert [name for name, is_direct in rows if is_direct] == [module]


def test_imports_are_transitively_closed() -> None:
    for module, names in imported_names().items():
        for imported in names:
            assert imported_names()[imported] <= names, (module, imported)


def test_imports_are_acyclic() -> None:
    for module, names in imported_names().items():
        for imported in names - {module}:
            assert module not in imported_names()[imported], (module, imported)


def test_statements_name_only_constants_of_imported_modules() -> None:
    homes: dict[str, set[str]] = {}
    for module, rows in declarations_by_module().items():
        for row in rows:
            homes.setdefault(row["name"], set()).add(module)
    for module, rows in declarations_by_module().items():
        for row in rows:
            for constant in IDENTIFIER.findall(" ".join([*row["args"], row["type"]])):
                if constant in homes:
                    assert not homes[constant].isdisjoint(imported_names()[module]), (row["name"], constant)


def test_about_a_quarter_of_the_premises_have_a_doc_string() -> None:
    documented = [row for row in surviving_premises().values() if row["doc"] is not None]
    assert 0.15 <= len(documented) / len(surviving_premises()) <= 0.35


def test_doc_strings_are_not_empty() -> None:
    for row in all_declarations():
        assert row["doc"] is None or row["doc"].strip(), row["name"]


def test_some_doc_string_has_several_lines() -> None:
    assert any("\n" in (row["doc"] or "") for row in surviving_premises().values())


def test_the_blacklist_is_one_line() -> None:
    assert len((demo_corpus_path() / "HammerBlacklist.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_the_blacklist_drops_at_least_three_declarations() -> None:
    assert len(set(blacklist()) & {row["name"] for row in all_declarations()}) >= 3


def test_the_blacklist_also_names_something_absent() -> None:
    assert set(blacklist()) - {row["name"] for row in all_declarations()}


def test_a_module_on_the_deny_list_has_declarations_that_nothing_else_would_drop() -> None:
    dropped = [
        row["name"]
        for module, rows in declarations_by_module().items()
        if module_is_denied(module)
        for row in rows
        if not name_is_denied(row["name"]) and row["name"] not in blacklist() and not row["type"].startswith("Lean.")
    ]
    assert len(dropped) >= 3


def test_at_least_two_names_have_a_denied_component() -> None:
    assert len([row for row in all_declarations() if name_is_denied(row["name"])]) >= 2


def test_some_type_starts_with_lean_under_an_allowed_name() -> None:
    assert any(row["type"].startswith("Lean.") and not name_is_denied(row["name"]) for row in all_declarations())


def test_a_type_that_mentions_lean_further_on_survives() -> None:
    assert any(" Lean." in row["type"] for row in surviving_premises().values())


def test_one_name_occurs_in_two_modules() -> None:
    (name,) = duplicated_names()
    modules = [module for module, rows in declarations_by_module().items() if any(row["name"] == name for row in rows)]
    assert len(modules) == 2


def test_the_first_of_the_two_declarations_with_one_name_is_a_premise() -> None:
    (name,) = duplicated_names()
    first, second = (row for row in all_declarations() if row["name"] == name)
    assert first != second
    assert surviving_premises()[name] == first


def test_one_module_has_no_declarations() -> None:
    assert [module for module, rows in declarations_by_module().items() if not rows] == ["Mathlib.Init"]


def test_names_in_guillemets_are_dropped_and_kept() -> None:
    quoted = {row["name"] for row in all_declarations() if "«" in row["name"]}
    assert "«term_∩_»" in quoted - set(surviving_premises())
    assert "LibraryNote.«reducible_non-instances»" in quoted & set(surviving_premises())


def test_every_premise_of_the_evaluation_set_is_accessible_to_its_query() -> None:
    folder = demo_corpus_path()
    corpus = PlacedCorpus.read(folder, folder, read_corpus(folder))
    queries = EvaluationSet.read(demo_evaluation_path()).queries
    assert len(queries) >= 50
    for query in queries:
        placed = corpus.place(query)
        assert isinstance(placed, PlacedQuery), query.decl_name
        assert placed.relevant == query.relevant, query.decl_name


def test_the_goals_of_the_evaluation_set_are_statements_of_the_corpus() -> None:
    for query in EvaluationSet.read(demo_evaluation_path()).queries:
        premise = surviving_premises()[query.decl_name]
        assert premise["line"] == query.line
        assert query.state.endswith(f"⊢ {premise['type']}")
