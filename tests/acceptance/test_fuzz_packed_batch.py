"""Texts of a batch laid behind one another, against a loop over their tokens."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.acceptance.fuzz_models import fuzzed
from worker.packed_batch import PackedBatch, pack

batches = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=9), min_size=1, max_size=9)
padding_ids = st.none() | st.integers(0, 4)


def packed(batch: list[list[int]], padding_id: int | None = None) -> PackedBatch:
    return pack([np.array(text, np.int32) for text in batch], padding_id=padding_id, device="cpu")


def longest_first(batch: list[list[int]]) -> list[list[int]]:
    """Texts of one length stay in their order."""
    return sorted(batch, key=len, reverse=True)


def positions_of(text: list[int], padding_id: int | None) -> list[int]:
    if padding_id is None:
        return list(range(len(text)))
    positions, last = [], padding_id
    for token in text:
        last += token != padding_id
        positions.append(padding_id if token == padding_id else last)
    return positions


@fuzzed(150)
@given(batches)
def test_every_text_lies_between_its_offsets_longest_first(batch: list[list[int]]) -> None:
    result = packed(batch)
    token_ids = result.token_ids.tolist()
    assert [token_ids[start:end] for start, end in pairwise(result.offsets.tolist())] == longest_first(batch)
    assert result.offsets.tolist()[-1] == len(token_ids)
    assert result.lengths == [len(text) for text in longest_first(batch)]
    assert result.longest == max(map(len, batch))


@fuzzed(150)
@given(batches)
def test_each_row_is_taken_once_and_leads_back_to_its_text(batch: list[list[int]]) -> None:
    rows = packed(batch).rows.tolist()
    assert sorted(rows) == list(range(len(batch)))
    assert [longest_first(batch)[row] for row in rows] == batch


@fuzzed(150)
@given(batches, padding_ids)
def test_positions_are_counted_anew_in_each_text(batch: list[list[int]], padding_id: int | None) -> None:
    expected = [position for text in longest_first(batch) for position in positions_of(text, padding_id)]
    assert packed(batch, padding_id).positions.tolist() == expected


@fuzzed(100)
@given(batches)
def test_texts_of_one_length_are_one_run(batch: list[list[int]]) -> None:
    lengths = [len(text) for text in batch]
    runs = [(lengths.count(length), length) for length in sorted(set(lengths), reverse=True)]
    assert packed(batch).equal_lengths() == runs
