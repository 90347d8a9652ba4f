"""The cache entry's format: exact round trip, and whatever does not fit is a miss."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.embedding_cache import CachedVector, VectorCodec, text_key

CODEC = VectorCodec("space", 4)
ENTRY = CachedVector(np.array([0.5, -0.5, 0.5, 0.5], np.float32), 17)


def test_float32_comes_back_bit_for_bit() -> None:
    decoded = CODEC.decode(CODEC.encode(ENTRY))
    assert decoded is not None
    np.testing.assert_array_equal(decoded.vector, ENTRY.vector)
    assert decoded.tokens == 17


def test_float16_halves_the_vector_and_comes_back_as_float32() -> None:
    codec = VectorCodec("space", 4, "float16")
    value = codec.encode(ENTRY)
    decoded = codec.decode(value)
    assert len(CODEC.encode(ENTRY)) - len(value) == 8
    assert decoded is not None
    assert decoded.vector.dtype == np.float32


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        CODEC.encode(ENTRY)[:-1],
        CODEC.encode(ENTRY) + b"\0",
        b"\xff" + CODEC.encode(ENTRY)[1:],
        VectorCodec("space", 4, "float16").encode(ENTRY),
        VectorCodec("space", 5).encode(CachedVector(np.zeros(5, np.float32), 1)),
    ],
)
def test_a_value_of_another_making_is_a_miss(value: bytes | None) -> None:
    assert CODEC.decode(value) is None


def test_keys_differ_by_namespace() -> None:
    assert CODEC.redis_key("k") != VectorCodec("other", 4).redis_key("k")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_has_one_key_of_128_bits(text: str) -> None:
    key = text_key(text)
    assert key == text_key(text)
    assert len(bytes.fromhex(key)) == 16
    assert key != text_key(text + "\0")
