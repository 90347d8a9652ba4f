import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.index_list import IndexList


def test_positions_and_names_are_told_apart_in_order() -> None:
    positions, names = IndexList.of([3, "a", -1, "b", 3]).split()
    assert positions.tolist() == [3, -1, 3]
    assert names == ["a", "b"]


def test_an_empty_list_has_neither_positions_nor_names() -> None:
    for empty in (IndexList.of([]), IndexList.of_plain_integers(b"[]")):
        assert empty is not None
        positions, names = empty.split()
        assert positions.tolist() == []
        assert names == []


def test_integers_that_can_point_at_nothing_are_left_out() -> None:
    positions, _ = IndexList.of([10**30, 1, -(10**30), 2**63, 2]).split()
    assert positions.tolist() == [1, 2]


def test_an_integer_text_of_any_length_is_read_without_overflow() -> None:
    integers = IndexList.of_plain_integers(b"[7,%s,8]" % (b"9" * 5000))
    assert integers is not None
    assert [integers.split()[0][place] for place in (0, 2)] == [7, 8]
    assert integers.split()[0][1] > 2**53


@given(st.lists(st.integers(min_value=0, max_value=2**53 - 1)))
def test_text_and_values_of_the_same_integers_are_the_same_list(values: list[int]) -> None:
    from_text = IndexList.of_plain_integers(orjson.dumps(values))
    assert from_text is not None
    assert from_text.digest == IndexList.of(values).digest
    assert from_text.split()[0].tolist() == values


def test_different_lists_have_different_digests() -> None:
    lists: list[list[int | str]] = [[], [1], [1, 2], [2, 1], [12], ["1"], ["1,2"]]
    assert len({IndexList.of(values).digest for values in lists}) == len(lists)


@pytest.mark.parametrize(
    "text",
    [
        "[,]",
        "[1,]",
        "[,1]",
        "[1,,2]",
        "[01]",
        "[1,02]",
        "[-1]",
        "[1.0]",
        "[1e3]",
        "[ 1]",
        "[1, 2]",
        '["a"]',
        "[true]",
        "[[1]",
    ],
)
def test_other_text_is_not_taken_for_plain_integers(text: str) -> None:
    assert IndexList.of_plain_integers(text.encode()) is None


def test_zero_is_a_plain_integer() -> None:
    integers = IndexList.of_plain_integers(b"[0,10,0]")
    assert integers is not None
    assert integers.split()[0].tolist() == [0, 10, 0]
