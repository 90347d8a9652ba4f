from hypothesis import given
from hypothesis import strategies as st

from api.lexical.byte_bounded import ByteBounded

MOST_BYTES = 100


@given(sizes=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2 * MOST_BYTES))))
def test_never_more_bytes_are_remembered_than_allowed(sizes: list[tuple[int, int]]) -> None:
    remembered: ByteBounded[int, str] = ByteBounded(MOST_BYTES)
    for key, size in sizes:
        remembered.put(key, "value", size)
        assert remembered.size_bytes <= MOST_BYTES


def test_what_was_used_last_is_kept() -> None:
    remembered: ByteBounded[str, int] = ByteBounded(MOST_BYTES)
    for key in "ab":
        remembered.put(key, 1, MOST_BYTES // 2)
    remembered.get("a")
    remembered.put("c", 1, MOST_BYTES // 2)
    assert [remembered.get(key) for key in "abc"] == [1, None, 1]
