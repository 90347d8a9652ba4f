from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.lexical.identifiers import list_identifiers
from api.lexical.term_index import TermIndex, write_term_index

WORDS = st.lists(st.sampled_from("abcdefg"), max_size=12)


def index_of(folder: Path, *rows: str) -> TermIndex:
    write_term_index(folder, (row.split() for row in rows))
    return TermIndex.open(folder)


@pytest.mark.parametrize(
    ("text", "identifiers"),
    [
        ("⊢ Eq (HAdd.hAdd n 0) n'", ["Eq", "HAdd.hAdd", "n", "n'"]),
        ("«weird name».«a.b» α₁ h!", ["«weird name».«a.b»", "α₁", "h!"]),
        ("inst✝³ : Field K", ["inst", "Field", "K"]),
    ],
)
def test_identifiers_are_whole_lean_names(text: str, identifiers: list[str]) -> None:
    assert list_identifiers(text) == identifiers


def test_a_row_that_shares_a_rarer_term_scores_higher(tmp_path: Path) -> None:
    index = index_of(tmp_path, "Eq Nat", "Eq Nat", "Eq Rare")
    scores = index.score_rows(index.find_terms(["Nat", "Rare"]))
    assert scores[2] > scores[0] == scores[1] > 0


def test_a_row_without_shared_terms_scores_nothing(tmp_path: Path) -> None:
    index = index_of(tmp_path, "Eq", "Nat")
    assert index.score_rows(index.find_terms(["Eq", "Eq", "unknown"])).tolist()[1] == 0


@given(st.lists(WORDS, min_size=1, max_size=6), WORDS)
def test_a_text_scores_as_the_row_with_its_words(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], query: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("terms")
    write_term_index(folder, rows)
    index = TermIndex.open(folder)
    terms = index.find_terms(query)
    np.testing.assert_allclose(index.score_texts(terms, rows), index.score_rows(terms), rtol=1e-5)


def test_a_corpus_without_any_identifier_has_an_index(tmp_path: Path) -> None:
    index = index_of(tmp_path, "", "")
    assert index.score_rows(index.find_terms(["Eq"])).tolist() == [0, 0]
