import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.lexical.identifiers import LONGEST_IDENTIFIER, MOST_NAMESPACES, list_identifiers, list_namespaces, split_words
from api.lexical.symbols import Symbols, statement_symbols
from api.lexical.term_files import CONCLUSION, CONTEXT, NAME_WORDS, NO_TERM, WORD_MARK
from api.lexical.term_index import BATCH_CHARACTERS, CountedTexts, TermIndex
from api.lexical.term_index_writer import write_term_index
from shared.corpus import read_corpus
from tests.corpora import declaration, write_corpus

CONSTANTS = st.sampled_from(["Eq", "Nat", "Nat.succ", "HAdd.hAdd", "x", "Set.mem"])
STATEMENTS = st.lists(CONSTANTS, max_size=8).map(" ".join)


class Conclusion(list[str]):
    """One that can be watched."""


def index_of(folder: Path, *types: str, names: list[str] | None = None) -> TermIndex:
    names = names or [f"A.t{number}" for number in range(len(types))]
    lines = [declaration(name, type=text) for name, text in zip(names, types, strict=True)]
    constants = [declaration(name, type="Sort") for name in ("Eq", "Nat", "Rare")]
    corpus = read_corpus(write_corpus(folder / "corpus", {"A": lines, "B": constants}))
    write_term_index(folder, corpus)
    return TermIndex.open(folder)


def spelled(index: TermIndex, terms: np.ndarray) -> list[str]:
    return index.vocabulary.names(terms)


@pytest.mark.parametrize(
    ("text", "identifiers"),
    [
        ("⊢ Eq (HAdd.hAdd n 0) n'", ["Eq", "HAdd.hAdd", "n", "n'"]),
        ("«weird name».«a.b» α₁ h!", ["«weird name».«a.b»", "α₁", "h!"]),
        ("«not closed «closed»", ["not", "closed", "«closed»"]),
        ("a" * LONGEST_IDENTIFIER + "b c", ["c"]),
        ("inst✝³ : Field K", ["inst", "Field", "K"]),
    ],
)
def test_identifiers_are_whole_lean_names(text: str, identifiers: list[str]) -> None:
    assert list_identifiers(text) == identifiers


def test_a_names_words_are_those_between_its_capitals_underscores_and_dots() -> None:
    assert split_words("IsOpen.mem_nhdsWithin_ENNReal2") == ["is", "open", "mem", "nhds", "within", "enn", "real", "2"]


def test_a_names_namespaces_are_those_around_it() -> None:
    assert list(list_namespaces("A.B.c")) == ["A.B", "A"]


@given(parts=st.integers(1, 3 * MOST_NAMESPACES), length=st.integers(1, LONGEST_IDENTIFIER))
def test_a_names_namespaces_take_no_more_than_so_many_times_the_longest_name(parts: int, length: int) -> None:
    spaces = list(list_namespaces(".".join(["a" * length] * parts)))
    assert sum(map(len, spaces)) <= MOST_NAMESPACES * LONGEST_IDENTIFIER


def test_of_an_overlong_name_the_beginning_has_words() -> None:
    assert len(split_words("_a" * LONGEST_IDENTIFIER)) == LONGEST_IDENTIFIER // 2


def test_a_row_that_shares_a_rarer_constant_scores_higher(tmp_path: Path) -> None:
    index = index_of(tmp_path, "Eq Nat", "Eq Nat", "Eq Rare")
    [goal] = index.read_texts([statement_symbols("", "", "Nat Rare")])
    scores = index.score_rows(goal.counted)
    assert scores[2] > scores[0] == scores[1] > 0


def test_not_all_of_many_texts_are_held_at_a_time(tmp_path: Path) -> None:
    given_out: list[weakref.ref[Conclusion]] = []
    most_held = 0

    def read_one() -> Symbols:
        nonlocal most_held
        conclusion = Conclusion(["Nat"] * BATCH_CHARACTERS)
        given_out.append(weakref.ref(conclusion))
        most_held = max(most_held, sum(reference() is not None for reference in given_out))
        return Symbols("", conclusion, [])

    read = index_of(tmp_path, "Eq Nat").read_texts(read_one() for _ in range(6))
    assert len(read) == 6
    assert most_held < 6


def test_the_terms_of_a_text_stand_in_the_order_of_their_first_appearance(tmp_path: Path) -> None:
    """Scores are sums in this order: with another one in another process they would differ in their last bits."""
    names = ["B.oneTwo", "B.threeFour", "B.fiveSix", "B.sevenEight"]
    index = index_of(tmp_path, " ".join(names))
    [goal] = index.read_texts([statement_symbols("", "", " ".join(names))])
    words = ["b", "one", "two", "three", "four", "five", "six", "seven", "eight"]
    assert [term.lstrip(WORD_MARK) for term in spelled(index, goal.counted)] == [*names, *words]


def test_variables_are_no_terms(tmp_path: Path) -> None:
    index = index_of(tmp_path, "Eq x y", "Eq x z")
    [goal] = index.read_texts([statement_symbols("", "", "x y")])
    assert goal.counted.tolist() == []


@given(types=st.lists(STATEMENTS, min_size=1, max_size=6), query=STATEMENTS)
def test_a_new_premise_scores_as_the_row_of_its_name_and_statement(
    tmp_path_factory: pytest.TempPathFactory, types: list[str], query: str
) -> None:
    index = index_of(tmp_path_factory.mktemp("terms"), *types)
    [goal] = index.read_texts([statement_symbols("", "", query)])
    texts = index.read_texts([statement_symbols(f"A.t{place}", "", text) for place, text in enumerate(types)])
    of_rows = index.score_rows(goal.counted)[: len(types)]
    np.testing.assert_allclose(index.score_texts(goal.counted, CountedTexts.of(texts)), of_rows, rtol=1e-5)


def test_a_new_premise_has_the_fields_of_the_row_of_its_name_and_statement(tmp_path: Path) -> None:
    index = index_of(tmp_path, "Nat.succ Eq → Eq Nat Eq")
    [text] = index.read_texts([statement_symbols("A.t0", "", "Nat.succ Eq → Eq Nat Eq")])
    for field, names in ((CONCLUSION, ["Eq", "Nat"]), (CONTEXT, ["Nat.succ"]), (NAME_WORDS, [".a", ".t", ".0"])):
        of_row = index.field(np.array([0]), field).terms
        assert spelled(index, of_row) == spelled(index, text.fields[field]) == names
    assert (index.heads[0], index.seconds[0]) == (text.nth(0), text.nth(1))
    assert index.namespaces[0] == text.namespace != NO_TERM


def test_mentions_count_the_rows_that_name_a_row(tmp_path: Path) -> None:
    index = index_of(tmp_path, "Eq A.t1 A.t1", "Eq")
    assert index.mentions.tolist()[:2] == [0, 1]


def test_a_corpus_without_any_constant_has_an_index(tmp_path: Path) -> None:
    corpus = read_corpus(write_corpus(tmp_path / "corpus", {"A": [declaration("«»", type="")]}))
    write_term_index(tmp_path, corpus)
    index = TermIndex.open(tmp_path)
    [goal] = index.read_texts([statement_symbols("", "", "Eq Nat")])
    assert index.score_rows(goal.counted).tolist() == [0]
