"""How often proofs are known to use each premise of a corpus."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

FindRows = Callable[[Sequence[str]], NDArray[np.integer]]


@dataclass(frozen=True, eq=False)
class UseCounts:
    """Counts by row and by module."""

    by_row: NDArray[np.float32]
    by_module: NDArray[np.float32]
    rows_by_use: NDArray[np.int64]
    """Rows that are used at all, the most used first."""

    @classmethod
    def of(cls, by_row: NDArray[np.float32], module_of_row: NDArray[np.int32], modules: int) -> Self:
        """From the counts of rows, shape (rows,)."""
        used = np.flatnonzero(by_row)
        by_module = np.bincount(module_of_row[used], by_row[used], modules).astype(np.float32)
        return cls(by_row, by_module, used[np.argsort(-by_row[used], kind="stable")])


def count_rows(uses: Mapping[str, int], find_rows: FindRows, rows: int) -> NDArray[np.float32]:
    """Counts by row from counts by name; names that the corpus does not have are left out."""
    found = find_rows(list(uses))
    counts = np.fromiter(uses.values(), np.float32, len(uses))
    by_row = np.zeros(rows, dtype=np.float32)
    by_row[found[found >= 0]] = counts[found >= 0]
    return by_row
