"""Lengths of many vectors, which may lie in a mapped file larger than the memory."""

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

CHUNK_ROWS = 16_384
NORM_TOLERANCE = 1e-3


def vector_lengths(vectors: Vectors) -> NDArray[np.float32]:
    """Euclidean length of each row of vectors, shape (rows, dimension); not finite where the row is not."""
    lengths = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), CHUNK_ROWS):
        chunk = vectors[start : start + CHUNK_ROWS]
        lengths[start : start + CHUNK_ROWS] = np.sqrt(np.einsum("ij,ij->i", chunk, chunk))
    return lengths


def unusable_rows(vectors: Vectors, *, normalized: bool = False) -> NDArray[np.intp]:
    """Rows that cannot be the vector of a text: all zero or not finite; where all are `normalized`, not of length 1."""
    lengths = vector_lengths(vectors)
    usable = np.abs(lengths - 1) <= NORM_TOLERANCE if normalized else np.isfinite(lengths) & (lengths > 0)
    return np.flatnonzero(~usable)  # NaN is within no tolerance
