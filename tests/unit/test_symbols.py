import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.lexical.symbols import (
    READ_CHARACTERS,
    declaration_symbols,
    declares_theorem,
    goal_symbols,
    statement_symbols,
)

NOTATION = st.one_of(st.sampled_from(" .:→∀⊢«»(⟩,_'\n\0a"), st.characters())
"""What texts are read by, among all else."""


@pytest.mark.parametrize(
    ("result_type", "conclusion"),
    [
        ("Eq a b", ["Eq", "a", "b"]),
        ("LT.lt a b → (P → Q) → LE.le a b", ["LE.le", "a", "b"]),
        ("∀ (x : Nat), Foo x → ∀ y, Bar y", ["Bar", "y"]),
        ("∀ x, Prod.mk (x, 1)", ["Prod.mk", "x"]),
        ("Iff (P → Q) (R → S)", ["Iff", "P", "Q", "R", "S"]),
    ],
)
def test_the_conclusion_stands_behind_hypotheses_and_quantifiers(result_type: str, conclusion: list[str]) -> None:
    assert statement_symbols("t", "", result_type).conclusion == conclusion


def test_hypotheses_and_binders_are_the_context() -> None:
    assert statement_symbols("t", "(n : Nat)", "Odd n → Even n").context == ["n", "Nat", "Odd", "n"]


def test_a_goal_concludes_what_stands_behind_the_turnstile() -> None:
    symbols = goal_symbols("n : Nat\nh : Odd n\n⊢ Even n")
    assert (symbols.conclusion, symbols.context) == (["Even", "n"], ["n", "Nat", "h", "Odd", "n"])


def test_of_several_goals_the_first_counts() -> None:
    assert goal_symbols("⊢ Even n\n\n⊢ Odd m").conclusion == ["Even", "n"]


def test_a_state_without_a_turnstile_is_taken_for_a_goal() -> None:
    assert goal_symbols("Even n").conclusion == ["Even", "n"]


@pytest.mark.parametrize(
    "decl",
    [
        "theorem A.t {n : Nat} (h : Odd n) : Even n",
        "/-- A comment: it has (brackets. -/\ntheorem A.t {n : Nat} (h : Odd n) : Even n",
    ],
)
def test_a_printed_declaration_is_read_as_the_corpus_row_is(decl: str) -> None:
    assert declaration_symbols("A.t", decl) == statement_symbols("A.t", "{n : Nat} (h : Odd n)", "Even n")


def test_whatever_is_sent_as_a_declaration_is_read() -> None:
    assert declaration_symbols("A.t", "((((") == statement_symbols("A.t", "", "((((")


@given(st.text(NOTATION), st.text(NOTATION))
def test_whatever_is_sent_as_a_name_and_a_declaration_is_read(name: str, decl: str) -> None:
    assert declaration_symbols(name, decl).name == name


@given(st.text(NOTATION))
def test_whatever_is_sent_as_a_state_is_read(state: str) -> None:
    assert goal_symbols(state).name == ""


def test_of_an_overlong_text_the_beginning_is_read() -> None:
    text = "a " * READ_CHARACTERS
    of_goal, of_premise = goal_symbols(f"{text}⊢ {text}"), declaration_symbols("", text)
    most = READ_CHARACTERS // 2
    assert (len(of_goal.context), len(of_goal.conclusion), len(of_premise.conclusion)) == (most, most, most)


def test_a_declaration_without_a_name_is_read() -> None:
    assert declaration_symbols("", "theorem  : True").conclusion == ["True"]


def test_imported_theorems_that_are_printed_as_axioms_are_theorems() -> None:
    assert declares_theorem("axiom Nat.add_comm : True")
    assert not declares_theorem("def Nat.add : Nat")
