"""The premises that are worth a closer look at a goal, put forward by every ranking that is cheap to make."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api.accessibility import Selection

Places = NDArray[np.int64]
"""A premise of a request: a row of the corpus, or, behind all rows, the position of a new premise."""
Scores = NDArray[np.float32]

MOST_BY_USE = 256
MOST_LOCAL = 512


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Distinct places, rows first, in order."""

    places: Places
    dense: Scores
    """Inner products with the goal, shape (len(places),)."""
    lexical: Scores
    """BM25."""


def first_places(scores: Scores, count: int) -> Places:
    """The places of the largest positive scores, best first; equal ones in order."""
    count = min(count, len(scores))
    best = np.argpartition(-scores, count - 1)[:count] if count else np.empty(0, dtype=np.int64)
    best = best[scores[best] > 0]
    return best[np.lexsort((best, -scores[best]))]


def selected(selection: Selection, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which of the rows the caller may see."""
    bits = np.left_shift(1, rows % 8, dtype=np.uint8, casting="unsafe")
    return np.asarray(selection.packed[rows // 8] & bits, dtype=np.bool_)


def most_used(selection: Selection, rows_by_use: NDArray[np.integer]) -> NDArray[np.integer]:
    """The first of the rows that the caller may see."""
    return rows_by_use[selected(selection, rows_by_use)][:MOST_BY_USE]


def ranks_of(scores: Scores) -> Scores:
    """Rank of each score among them, from 0 for the largest; equal ones in order."""
    ranks = np.empty(len(scores), dtype=np.float32)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores), dtype=np.float32)
    return ranks
