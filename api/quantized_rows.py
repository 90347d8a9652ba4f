"""The corpus vectors in 8 bits, each with the error of its quantisation, memory-mapped from a snapshot.

A row x is stored as x̂ = centre + scale · codes with whole codes from -127 to 127 and a scale of its own.  What an inner
product with x̂ misses is at most ‖q‖ · ‖x - x̂‖ (Cauchy-Schwarz), and ‖x - x̂‖ is stored with the row: a quarter of the
bytes then bounds every score from above.  Taking the corpus' mean as the centre makes what is left, and so the error,
smaller, and costs one inner product a query.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from api.mapped_file import map_array, map_bytes
from shared.errors import CorpusError

Vectors = NDArray[np.float32]

CODES_FILE = "codes.int8"
SCALES_FILE = "code-scales.npy"
ERRORS_FILE = "code-errors.npy"
CENTRE_FILE = "code-centre.npy"
REACH_FILE = "code-reach.npy"

LARGEST_CODE = 127
BLOCK_ROWS = 2048
ROUNDING = 1e-6
"""The errors are computed in float32 themselves: this share of a row's length is added to each."""


@dataclass(frozen=True, eq=False)
class QuantizedRows:
    """Rows in 8 bits, with what bounds their scores."""

    codes: NDArray[np.int8]
    """Shape (rows, dimension)."""
    scales: Vectors
    """Shape (rows,)."""
    errors: Vectors
    """At least ‖x - x̂‖ of each row, shape (rows,); -inf where the row is not finite, and so never found."""
    centre: Vectors
    """Shape (dimension,)."""
    reach: float
    """At least ‖x̂ - centre‖ of every row."""

    @classmethod
    def of(cls, vectors: Vectors) -> Self:
        """Quantise vectors of shape (rows, dimension) in memory."""
        codes = np.empty(vectors.shape, dtype=np.int8)
        centre = _centre(vectors)

        def put(start: int, block: NDArray[np.int8]) -> None:
            codes[start : start + len(block)] = block

        scales, errors, reach = _quantize(vectors, centre, put)
        return cls(codes, scales, errors, centre, reach)

    @classmethod
    def open(cls, folder: Path, rows: int, dimension: int) -> Self:
        """Map what `write_quantized` wrote; raises `CorpusError` where it does not fit that shape."""
        scales, errors = map_array(folder / SCALES_FILE, np.float32), map_array(folder / ERRORS_FILE, np.float32)
        centre, reach = map_array(folder / CENTRE_FILE, np.float32), map_array(folder / REACH_FILE, np.float32)
        codes = np.frombuffer(map_bytes(folder / CODES_FILE), dtype=np.int8) if rows else np.empty(0, dtype=np.int8)
        if (codes.size, len(scales), len(errors), len(centre), len(reach)) != (
            rows * dimension,
            rows,
            rows,
            dimension,
            1,
        ):
            raise CorpusError(
                f"The 8-bit vectors in {folder} do not fit the corpus: remove that folder and prepare the corpus again "
                "(`premises prepare`)."
            )
        return cls(codes.reshape(rows, dimension), scales, errors, centre, float(reach[0]))


def write_quantized(folder: Path, vectors: Vectors) -> None:
    """Quantise vectors of shape (rows, dimension) block by block into files of `folder`."""
    centre = _centre(vectors)
    with (folder / CODES_FILE).open("wb") as file:
        scales, errors, reach = _quantize(vectors, centre, lambda _, block: file.write(block.data))
    np.save(folder / SCALES_FILE, scales)
    np.save(folder / ERRORS_FILE, errors)
    np.save(folder / CENTRE_FILE, centre)
    np.save(folder / REACH_FILE, np.array([reach], dtype=np.float32))


def _centre(vectors: Vectors) -> Vectors:
    """Mean of the finite rows, shape (dimension,)."""
    total, count = np.zeros(vectors.shape[1], dtype=np.float64), 0
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        finite = block[np.isfinite(block).all(axis=1)]
        total += finite.sum(axis=0, dtype=np.float64)
        count += len(finite)
    return np.asarray(total / max(count, 1), dtype=np.float32)


def _quantize(
    vectors: Vectors, centre: Vectors, put: Callable[[int, NDArray[np.int8]], object]
) -> tuple[Vectors, Vectors, float]:
    """Hand the codes to `put` block by block; returns scales, errors and reach."""
    scales, errors = np.zeros(len(vectors), dtype=np.float32), np.zeros(len(vectors), dtype=np.float32)
    reach, length_of_centre = 0.0, np.linalg.norm(centre)
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        finite = np.asarray(np.isfinite(block).all(axis=1))
        rest = np.where(finite[:, np.newaxis], block, centre) - centre
        scale = np.abs(rest).max(axis=1) / LARGEST_CODE
        codes = np.rint(rest / np.where(scale > 0, scale, 1)[:, np.newaxis])
        stored = codes * scale[:, np.newaxis]
        lengths = np.linalg.norm(stored, axis=1)
        error = np.linalg.norm(rest - stored, axis=1) + ROUNDING * (lengths + length_of_centre)
        scales[start : start + BLOCK_ROWS] = scale
        errors[start : start + BLOCK_ROWS] = np.where(finite, error, -np.inf)
        reach = max(reach, float(lengths.max()) * (1 + ROUNDING))
        put(start, codes.astype(np.int8))
    return scales, errors, reach
