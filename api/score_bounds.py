"""One pass over the 8-bit rows for one or several queries: an upper bound of every score.

A query is split into two rows of 8-bit numbers (a coarse one and what that one misses), so that next to nothing is lost
on its side, and all queries of a pass are one matrix product of whole numbers, by the kernels of NumKong (AMX, VNNI,
NEON...).  Of these there are two sorts.  One packs the queries first and multiplies many of them by some rows at a
time, so that sixteen take little longer than one; the other takes each pair of a row and a query by itself, which on
some machines reads the memory faster for a query or two (`api/scan_trial.py` finds out).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numkong
import numpy as np
from numpy.typing import NDArray

from api.quantized_rows import LARGEST_CODE, QuantizedRows

Vectors = NDArray[np.float32]
Rows = NDArray[np.intp]
Range = tuple[int, int]
ProductType = Literal["int32", "float32"]
Multiply = Callable[[NDArray[np.int8], Any], object]
"""Writes the whole-number products of codes, shape (n, dimension), with all queries into a tensor of n rows."""

FINE_STEPS = 2 * LARGEST_CODE
"""Fine codes from -127 to 127 divide one coarse step."""
SLACK = 4e-6
"""For the rounding of float32 sums of vectors of length 1."""
PRODUCTS = 65_536
"""Products that are worked on at a time, so that they stay in a core's cache."""
SMALLEST_WINDOW_ROWS = 1024
GATHERED_ROWS = 1024
"""Rows that are copied together at a time: the copies have to stay in the cache too."""
SMALLEST_PART_ROWS = 8192
"""Fewer rows are read in the time that it takes to wake another thread."""


@dataclass(frozen=True, slots=True)
class ScoreBounds:
    """For one query, an upper bound of the score of each row, in a unit of its own."""

    values: Vectors
    """Shape (n,): of the rows that were asked for, in their order, or of all."""
    rows: Rows | None
    """The rows that were asked for; None: all."""
    unit: float
    offset: float
    slack: float

    def reaching(self, score: float) -> float:
        """The least value that a row with at least this score can have."""
        return (score - self.slack - self.offset) / self.unit


@dataclass(frozen=True, slots=True, eq=False)
class _Queries:
    """Queries as a pass takes them; `coarse · FINE_STEPS + fine`, times `units`, is nearly the query."""

    multiply: Multiply
    product_dtype: ProductType
    units: Vectors
    error_factors: Vectors
    offsets: Vectors
    slacks: Vectors

    def __len__(self) -> int:
        return len(self.units)

    def bounds(self, values: Vectors, rows: Rows | None) -> list[ScoreBounds]:
        """From values of shape (queries, n) to one bound a query."""
        terms = zip(self.units.tolist(), self.offsets.tolist(), self.slacks.tolist(), strict=True)
        return [ScoreBounds(row, rows, *each) for row, each in zip(values, terms, strict=True)]


class BoundScan:
    """Scans the rows, several threads sharing one pass; thread-safe.

    Up to `pairwise_queries` at a time are multiplied pair by pair where all rows are read.
    """

    def __init__(self, rows: QuantizedRows, threads: int, *, pairwise_queries: int = 0) -> None:
        self.rows = rows
        self.pairwise_queries = pairwise_queries
        self._threads = threads
        self._helpers = ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="scan")

    def scan_all(self, queries: Vectors) -> list[ScoreBounds]:
        """Bounds of all rows for each of the queries, shape (n, dimension)."""
        prepared = _prepare(queries, self.rows, _PAIRWISE if len(queries) <= self.pairwise_queries else _PACKED)
        values = np.empty((len(queries), len(self.rows.scales)), dtype=np.float32)
        self._divide(values.shape[1], lambda part: self._scan_range(prepared, values, part))
        return prepared.bounds(values, None)

    def scan_rows(self, queries: Vectors, rows: Rows) -> list[ScoreBounds]:
        """Bounds of some rows, shape (m,), for each of the queries, shape (n, dimension)."""
        prepared = _prepare(queries, self.rows, _PACKED)
        values = np.empty((len(queries), len(rows)), dtype=np.float32)
        self._divide(len(rows), lambda part: self._scan_gathered(prepared, values, rows, part))
        return prepared.bounds(values, rows)

    def _divide(self, rows: int, work: Callable[[Range], None]) -> None:
        """Do `work` on consecutive ranges, each in a thread; the caller's does the first."""
        parts = max(1, min(self._threads, rows // SMALLEST_PART_ROWS))
        size = -(-rows // parts)
        first, *others = [(start, min(start + size, rows)) for start in range(0, rows, size)]
        helped = [self._helpers.submit(work, part) for part in others]
        try:
            work(first)
        finally:
            for part in helped:
                part.result()

    def _scan_range(self, queries: _Queries, values: Vectors, part: Range) -> None:
        products = _Products(queries)
        for rows in _windows(part, products.rows):
            products.put(0, self.rows.codes[rows])
            _bound(queries, products, self.rows.scales[rows], self.rows.errors[rows], values[:, rows])

    def _scan_gathered(self, queries: _Queries, values: Vectors, chosen: Rows, part: Range) -> None:
        products = _Products(queries)
        copied = np.empty((GATHERED_ROWS, self.rows.codes.shape[1]), dtype=np.int8)
        for window in _windows(part, products.rows):
            rows = chosen[window]
            for few in _windows((0, len(rows)), GATHERED_ROWS):
                some = rows[few]
                products.put(few.start, self.rows.codes.take(some, axis=0, out=copied[: len(some)], mode="clip"))
            _bound(queries, products, self.rows.scales[rows], self.rows.errors[rows], values[:, window])


class _Products:
    """Whole-number products of rows with the queries, in memory that is used again."""

    def __init__(self, queries: _Queries) -> None:
        self.rows = max(SMALLEST_WINDOW_ROWS, PRODUCTS // (2 * len(queries)))
        self._multiply = queries.multiply
        self._tensor: Any = numkong.zeros((self.rows, 2 * len(queries)), dtype=queries.product_dtype)
        self.array: NDArray[np.int32] | Vectors = np.asarray(self._tensor)
        """Shape (rows, 2 · queries): all coarse products, then all fine ones."""

    def put(self, start: int, codes: NDArray[np.int8]) -> None:
        """Multiply codes of shape (n, dimension) into the places from `start` on."""
        self._multiply(codes, self._tensor[start : start + len(codes)])


def _windows(part: Range, rows: int) -> Sequence[slice]:
    start, end = part
    return [slice(begin, min(begin + rows, end)) for begin in range(start, end, rows)]


def _bound(queries: _Queries, products: _Products, scales: Vectors, errors: Vectors, values: Vectors) -> None:
    """From the first products to bounds of shape (queries, rows)."""
    count = len(queries)
    exact = products.array[: len(scales)].astype(np.float32, copy=False)
    np.multiply(exact[:, :count].T, np.float32(FINE_STEPS), out=values)
    values += exact[:, count:].T
    values *= scales
    values += queries.error_factors[:, np.newaxis] * errors


def _packed(queries: NDArray[np.int8]) -> Multiply:
    packed = numkong.dots_pack(queries)
    return lambda codes, out: numkong.dots_packed(codes, packed, out=out)


def _pair_by_pair(queries: NDArray[np.int8]) -> Multiply:
    return lambda codes, out: numkong.cdist(codes, queries, metric="dot", out=out)


@dataclass(frozen=True, slots=True)
class _Kernel:
    prepare: Callable[[NDArray[np.int8]], Multiply]
    product_dtype: ProductType


_PACKED = _Kernel(_packed, "int32")
_PAIRWISE = _Kernel(_pair_by_pair, "float32")
"""Asked for whole numbers, NumKong would pack these queries too."""


def _prepare(queries: Vectors, rows: QuantizedRows, kernel: _Kernel) -> _Queries:
    """Quantise queries of shape (n, dimension)."""
    wide = queries.astype(np.float64)
    steps = np.maximum(np.abs(wide).max(axis=1), np.finfo(np.float32).tiny) / LARGEST_CODE
    scaled = wide / steps[:, np.newaxis]
    coarse = np.rint(scaled)
    fine = np.rint((scaled - coarse) * FINE_STEPS)
    units = steps / FINE_STEPS
    norms = np.linalg.norm(wide, axis=1)
    missed = np.linalg.norm(wide - (coarse * FINE_STEPS + fine) * units[:, np.newaxis], axis=1)
    centre = rows.centre.astype(np.float64)
    return _Queries(
        multiply=kernel.prepare(np.concatenate([coarse, fine]).astype(np.int8)),
        product_dtype=kernel.product_dtype,
        units=units,
        error_factors=np.maximum(norms / units, np.finfo(np.float32).tiny).astype(np.float32),  # 0 · inf is no bound
        offsets=wide @ centre + missed * rows.reach,
        slacks=SLACK * np.maximum(1, norms * (rows.reach + np.linalg.norm(centre))),
    )
