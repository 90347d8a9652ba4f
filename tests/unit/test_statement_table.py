from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.statement_table import Statement, StatementTable, write_statements
from shared.corpus import Premise, read_corpus
from shared.errors import CorpusError
from tests.corpora import declaration, write_corpus

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def premise(kind: str, binders: str, result_type: str) -> Premise:
    before = f"/-- About it. -/\n{kind} A.b "
    return Premise(
        "A.b",
        "A",
        text=f"{before}{binders} : {result_type}",
        kind=kind,
        binders_start=len(before),
        type_start=len(f"{before}{binders} : "),
        in_module_system=False,
        is_exposed=False,
    )


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=20))
def test_statements_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("statements")
    write_statements(folder, [premise(*row) for row in texts])
    table = StatementTable.open(folder)
    backwards = np.arange(len(texts))[::-1]
    assert table.statements(backwards) == [Statement(*texts[row]) for row in backwards]
    assert len(table) == len(texts)


def test_a_statement_of_the_corpus_is_told_in_two_forms(tmp_path: Path) -> None:
    args = ["{α : Type u}", "[inst : Foo α]", "(a b : α)"]
    lines = [declaration("A.two", args=args, type="Eq a b", doc="It : is."), declaration("A.none", kind="def")]
    corpus = read_corpus(write_corpus(tmp_path / "corpus", {"A": lines}))
    write_statements(tmp_path, corpus.premises)
    two, none = StatementTable.open(tmp_path).statements(np.array([0, 1]))
    assert two == Statement("theorem", "{α : Type u} [inst : Foo α] (a b : α)", "Eq a b")
    assert two.signature == "{α : Type u} [inst : Foo α] (a b : α) : Eq a b"
    assert two.formal_type == "∀ {α : Type u} [inst : Foo α] (a b : α), Eq a b"
    assert (none.kind, none.signature, none.formal_type) == ("def", ": True", "True")


def test_statements_that_are_gone_are_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"statements\.txt cannot be read.*prepare the corpus again"):
        StatementTable.open(tmp_path)
