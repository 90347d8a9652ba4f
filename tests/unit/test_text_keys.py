"""The table of text keys: every text is found, no other is, and a damaged table is refused."""

from pathlib import Path

import numpy as np
import pytest

from api.text_keys import KEY, KEYS_FILE, ROWS_FILE, TextKeys, pack_keys
from shared.embedding_cache import text_key
from shared.errors import CorpusError

TEXTS = [f"theorem t{number} : True" for number in range(1000)]


def find(table: TextKeys, *texts: str) -> list[int]:
    rows: list[int] = table.find(pack_keys([text_key(text) for text in texts])).tolist()
    return rows


def test_every_text_is_found_in_its_row_and_no_other_text_is(tmp_path: Path) -> None:
    TextKeys.of(TEXTS).write(tmp_path)
    table = TextKeys.open(tmp_path)
    assert find(table, *TEXTS) == list(range(1000))
    assert find(table, "theorem t1  : True", "", TEXTS[7]) == [-1, -1, 7]


def test_keys_with_zeros_at_either_end_are_told_apart() -> None:
    keys = np.frombuffer(bytes(16) + bytes(15) + b"\1" + b"\1" + bytes(15) + b"\1\0\1" + bytes(13), KEY)
    order = np.argsort(keys, kind="stable").astype(np.int32)
    table = TextKeys(keys[order], order)
    assert table.find(keys).tolist() == [0, 1, 2, 3]
    assert table.find(np.frombuffer(b"\1\0\2" + bytes(13), KEY)).tolist() == [-1]


def test_an_empty_table_knows_nothing() -> None:
    assert find(TextKeys.of([]), "a text") == [-1]


@pytest.mark.parametrize("file", [KEYS_FILE, ROWS_FILE])
def test_a_table_that_lost_entries_is_refused(tmp_path: Path, file: str) -> None:
    TextKeys.of(TEXTS).write(tmp_path)
    np.save(tmp_path / file, np.load(tmp_path / file)[:-1])
    with pytest.raises(CorpusError, match="prepare the corpus again"):
        TextKeys.open(tmp_path)
