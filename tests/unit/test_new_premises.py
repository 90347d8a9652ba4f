from pathlib import Path

import numpy as np
import pytest

from api.lexical.lexical_stage import NewPremises
from api.lexical.new_premises import REMEMBERED_LISTS_BYTES, NewPremiseReader
from api.lexical.term_index import TermIndex
from api.lexical.term_index_writer import write_term_index
from api.lexical.use_counts import UseCounts
from api.schemas import NewPremise
from shared.corpus import read_corpus
from tests.corpora import declaration, write_corpus


@pytest.fixture
def reader(tmp_path: Path) -> NewPremiseReader:
    write_term_index(tmp_path, read_corpus(write_corpus(tmp_path / "corpus", {"A": [declaration("A.t", type="Nat")]})))
    index = TermIndex.open(tmp_path)
    uses = UseCounts.of(np.zeros(1, np.float32), np.zeros(1, np.int32), 1)
    return NewPremiseReader(index, uses, lambda names: np.full(len(names), -1, np.int32))


def read(reader: NewPremiseReader, name: str, decl: str = "theorem : Nat") -> NewPremises:
    return reader.read([NewPremise(name=name, decl=decl)])


def test_a_list_that_comes_again_is_read_once(reader: NewPremiseReader) -> None:
    assert read(reader, "a") is read(reader, "a")


def test_a_list_that_would_take_all_the_memory_is_read_each_time(reader: NewPremiseReader) -> None:
    decl = "a" * REMEMBERED_LISTS_BYTES
    assert read(reader, "a", decl) is not read(reader, "a", decl)


def test_long_texts_make_others_forgotten(reader: NewPremiseReader) -> None:
    first = read(reader, "a")
    for name in "bcd":
        read(reader, name, "a" * (REMEMBERED_LISTS_BYTES // 2))
    assert read(reader, "a") is not first
