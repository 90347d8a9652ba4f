"""The content-addressed vector cache in Redis, shared by all replicas and workers.

Key: `emb:{namespace}:{first 128 bits of sha256 of the text}`; token ids have a domain of their own.  Value: a 6-byte
header (format version, dtype code, token count) and the vector.  A value of another length, version or dtype is a miss,
never an error.
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

EmbeddingInput = str | Sequence[int]
"""What is embedded: a text, or token ids of the model's own, as they stand (special ones too)."""

HEADER = struct.Struct("<BBI")
FORMAT_VERSION = 2
DTYPES: dict[str, tuple[int, np.dtype[np.float32] | np.dtype[np.float16]]] = {
    "float32": (1, np.dtype("<f4")),
    "float16": (2, np.dtype("<f2")),
}


@dataclass(frozen=True, slots=True)
class CachedVector:
    """A vector (float32, shape (dimension,), unit length if the model normalises) and the length of its text."""

    vector: Vector
    tokens: int
    """Of the whole text, special ones included; where they are more than the model's limit, it was truncated."""


def text_key(text: str) -> str:
    """Content hash of a text: 32 hexadecimal digits, in a domain of its own beside token ids."""
    return hashlib.sha256(b"text\0" + text.encode()).hexdigest()[:32]


def token_ids_key(token_ids: Sequence[int]) -> str:
    """Content hash of token ids (each fits in 32 bits): as long as a text's, and never equal to one."""
    return hashlib.sha256(b"ids\0" + np.asarray(token_ids, "<i4").tobytes()).hexdigest()[:32]


def input_key(given: EmbeddingInput) -> str:
    """Content hash of a text or of token ids."""
    return text_key(given) if isinstance(given, str) else token_ids_key(given)


@dataclass(frozen=True, slots=True)
class VectorCodec:
    """Turns vectors into cache values and back for one namespace."""

    namespace: str
    dimension: int
    cache_dtype: str = "float32"
    normalized: bool = False
    """Whether every vector of the namespace has length 1."""

    def redis_key(self, key: str) -> str:
        """The Redis key of a content hash."""
        return f"emb:{self.namespace}:{key}"

    def encode(self, entry: CachedVector) -> bytes:
        """The value to SET."""
        code, dtype = DTYPES[self.cache_dtype]
        return HEADER.pack(FORMAT_VERSION, code, entry.tokens) + entry.vector.astype(dtype).tobytes()

    def decode(self, value: object) -> CachedVector | None:
        """The entry, or None where the value (what redis-py returns of a GET) was not written by this codec."""
        code, dtype = DTYPES[self.cache_dtype]
        if not isinstance(value, bytes) or len(value) != HEADER.size + self.dimension * dtype.itemsize:
            return None
        version, value_code, tokens = HEADER.unpack_from(value)
        if version != FORMAT_VERSION or value_code != code:
            return None
        return CachedVector(np.frombuffer(value, dtype, offset=HEADER.size).astype(np.float32), tokens)

    def decode_many(self, keys: Sequence[str], values: Iterable[object]) -> dict[str, CachedVector]:
        """Entries by content hash for the values of one MGET; misses are left out."""
        decoded = ((key, self.decode(value)) for key, value in zip(keys, values, strict=True))
        return {key: entry for key, entry in decoded if entry is not None}
