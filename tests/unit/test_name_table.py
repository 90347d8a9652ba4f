from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.name_table import NameTable, write_names


@given(st.lists(st.text(max_size=8), min_size=1, max_size=40, unique=True), st.lists(st.text(max_size=8)))
def test_a_name_table_is_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], others: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("names")
    write_names(folder, names)
    table = NameTable.open(folder)
    expected = {name: row for row, name in enumerate(names)}
    asked = [*others, *reversed(names), "a\ud800"]
    assert table.find_rows(asked).tolist() == [expected.get(name, -1) for name in asked]
    assert table.names(np.arange(len(names))) == names


def test_names_of_one_hash_are_told_apart(tmp_path: Path) -> None:
    word = "ab"
    for _ in range(11):  # Thue-Morse words of this length collide in any polynomial hash modulo 2**64
        word += word.translate(str.maketrans("ab", "ba"))
    other = word.translate(str.maketrans("ab", "ba"))
    write_names(tmp_path, ["first", word, other, "last"])
    table = NameTable.open(tmp_path)
    hashes = np.load(tmp_path / "name-hashes.npy")
    assert len(np.unique(hashes)) == 3
    assert table.find_rows([other, word, word[:-1]]).tolist() == [2, 1, -1]


def test_many_names_are_looked_up_in_parts(tmp_path: Path) -> None:
    names = [f"Module{number % 97}.theorem{number}" for number in range(50_000)]
    write_names(tmp_path, names)
    order = np.random.default_rng(0).permutation(len(names))
    found = NameTable.open(tmp_path).find_rows([names[row] for row in order])
    assert np.array_equal(found, order)
