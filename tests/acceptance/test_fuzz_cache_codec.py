"""Values of the vector cache: what was written comes back, and whatever else lies there is a miss or a vector."""

import hashlib
import struct
import unicodedata
from typing import Literal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from shared.embedding_cache import CachedVector, Vector, VectorCodec, text_key
from tests.acceptance.fuzz_models import fuzzed

VERSION = 2
FORMATS = {"float32": (1, "<f"), "float16": (2, "<e")}
"""Code and element of each dtype, as `struct` spells it."""

codecs = st.builds(VectorCodec, st.just("space"), st.integers(1, 24), st.sampled_from([*FORMATS]))
token_counts = st.integers(0, 2**32 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def entries(draw: st.DrawFn, codec: VectorCodec) -> CachedVector:
    """Any finite vector that the codec's dtype holds exactly."""
    width: Literal[16, 32] = 32 if codec.cache_dtype == "float32" else 16
    elements = st.floats(width=width, allow_nan=False, allow_infinity=False)
    return CachedVector(draw(st_numpy.arrays(np.float32, codec.dimension, elements=elements)), draw(token_counts))


written = codecs.flatmap(lambda codec: st.tuples(st.just(codec), entries(codec)))
values = written.map(lambda pair: pair[0].encode(pair[1]))


@st.composite
def damaged_values(draw: st.DrawFn) -> tuple[VectorCodec, bytes]:
    """A codec and a value of its own that was cut, lengthened, or changed in one byte, mostly of the header."""
    codec, entry = draw(written)
    value = bytearray(codec.encode(entry))
    place = draw(st.integers(0, 5) | st.integers(0, len(value) - 1))
    damage = draw(st.sampled_from(["cut", "lengthened", "changed"]))
    if damage == "changed":
        value[place] ^= draw(st.integers(1, 255))
        return codec, bytes(value)
    return codec, bytes(value[:place] if damage == "cut" else value + draw(st.binary(min_size=1, max_size=9)))


@st.composite
def values_of_the_right_length(draw: st.DrawFn) -> tuple[VectorCodec, bytes]:
    """Any bytes, infinities and numbers that are none among them, behind a header that mostly fits."""
    codec = draw(codecs)
    code, element = FORMATS[codec.cache_dtype]
    body_bytes = codec.dimension * struct.calcsize(element)
    header = bytes([draw(st.sampled_from([VERSION, VERSION, 0, 2, 255])), draw(st.sampled_from([code, code, 1, 2, 0]))])
    return codec, header + draw(st.binary(min_size=4 + body_bytes, max_size=4 + body_bytes))


def decode_slowly(codec: VectorCodec, value: object) -> tuple[int, list[float]] | None:
    """Tokens and vector, one number at a time."""
    code, element = FORMATS[codec.cache_dtype]
    size = struct.calcsize(element)
    if not isinstance(value, bytes) or len(value) != 6 + codec.dimension * size or value[:2] != bytes([VERSION, code]):
        return None
    numbers = [struct.unpack(element, value[start : start + size])[0] for start in range(6, len(value), size)]
    return int.from_bytes(value[2:6], "little"), numbers


def check_decoded(codec: VectorCodec, value: object, decoded: CachedVector | None) -> None:
    expected = decode_slowly(codec, value)
    if expected is None:
        assert decoded is None
        return
    assert decoded is not None
    assert decoded.tokens == expected[0]
    assert decoded.vector.dtype == np.float32
    np.testing.assert_array_equal(decoded.vector, np.array(expected[1], np.float32))


def token_ids_key(token_ids: NDArray[np.int32]) -> str:
    return hashlib.sha256(b"ids\0" + token_ids.astype("<i4").tobytes()).hexdigest()[:32]


def same_bits(one: Vector, other: Vector) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


@fuzzed(400)
@given(written)
def test_a_finite_vector_comes_back_bit_for_bit(pair: tuple[VectorCodec, CachedVector]) -> None:
    codec, entry = pair
    decoded = codec.decode(codec.encode(entry))
    assert decoded is not None
    assert same_bits(decoded.vector, entry.vector)
    assert decoded.tokens == entry.tokens


@fuzzed(200)
@given(written)
def test_a_value_is_a_header_and_little_endian_numbers(pair: tuple[VectorCodec, CachedVector]) -> None:
    codec, entry = pair
    code, element = FORMATS[codec.cache_dtype]
    numbers = b"".join(struct.pack(element, number) for number in entry.vector.tolist())
    assert codec.encode(entry) == bytes([VERSION, code]) + entry.tokens.to_bytes(4, "little") + numbers


@fuzzed(200)
@given(st_numpy.arrays(np.float32, 8, elements=st.floats(-1, 1, width=32)), token_counts)
def test_half_the_width_keeps_eleven_bits(vector: Vector, tokens: int) -> None:
    codec = VectorCodec("space", 8, "float16")
    decoded = codec.decode(codec.encode(CachedVector(vector, tokens)))
    assert decoded is not None
    np.testing.assert_allclose(decoded.vector, vector, rtol=2**-11, atol=2**-25)


@fuzzed(600)
@given(damaged_values() | values_of_the_right_length() | st.tuples(codecs, values))
def test_what_another_wrote_or_damaged_is_a_miss_or_what_its_bytes_say(case: tuple[VectorCodec, bytes]) -> None:
    codec, value = case
    check_decoded(codec, value, codec.decode(value))


@fuzzed(200)
@given(codecs, st.binary(max_size=120) | st.none() | st.integers() | st.text() | values.map(bytearray))
def test_what_is_no_value_at_all_is_a_miss(codec: VectorCodec, value: object) -> None:
    check_decoded(codec, value, codec.decode(value))


@fuzzed(200)
@given(codecs, st.data())
def test_many_values_are_decoded_as_one_by_one(codec: VectorCodec, data: st.DataObject) -> None:
    own = entries(codec).map(codec.encode)
    answers = data.draw(st.lists(own | own | values | st.none() | st.binary(max_size=9), max_size=9))
    keys = [text_key(str(number)) for number in range(len(answers))]
    decoded = codec.decode_many(keys, iter(answers))
    assert set(decoded) <= set(keys)
    for key, value in zip(keys, answers, strict=True):
        check_decoded(codec, value, decoded.get(key))


@fuzzed(300)
@given(texts)
def test_a_key_is_128_bits_of_a_hash_of_the_text_in_a_domain_of_its_own(text: str) -> None:
    assert text_key(text) == hashlib.sha256(b"text\0" + text.encode("utf-8")).hexdigest()[:32]


@fuzzed(300)
@given(st.lists(texts, min_size=2, max_size=20))
def test_other_texts_have_other_keys_however_alike_they_look(some: list[str]) -> None:
    alike = [form(text) for text in some for form in (str.strip, str.casefold, str.upper, to_nfc, to_nfd, "\0".__add__)]
    distinct = {*some, *alike, "".join(some), "\0".join(some)}
    assert len({text_key(text) for text in distinct}) == len(distinct)


def to_nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def to_nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@fuzzed(200)
@given(st_numpy.arrays(np.int32, st.integers(0, 6), elements=st.integers(0, 127)))
def test_token_ids_and_the_text_of_their_bytes_have_other_keys(token_ids: NDArray[np.int32]) -> None:
    text = token_ids.tobytes().decode()
    assert len({text_key(text), text_key("ids\0" + text), token_ids_key(token_ids)}) == 3
