"""How good rankings are, by query: recall, full recall, precision, MRR, nDCG and MAP at cut-offs.

Definitions follow the evaluator of hanwenzhu/LeanHammer-training; docs/evaluation.md has them in formulas.  A query has
R > 0 relevant premises; what stands below the k-th place counts as not retrieved.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METRICS = ("recall", "full_recall", "precision", "mrr", "ndcg", "map")
"""The order of the metrics in arrays of values."""

DEFAULT_CUTOFFS = (1, 4, 8, 16, 32, 64, 128, 256)

Values = NDArray[np.float64]
"""By query, metric and cut-off, shape (queries, metrics, cut-offs)."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What metrics need to know of one ranking."""

    relevant: int
    """How many premises are relevant, at least one."""
    ranks: Sequence[int]
    """Places, from 1, at which relevant premises stand, ascending; those that were not retrieved have none."""


def judge(ranking: Sequence[str], relevant: frozenset[str]) -> Judged:
    """Find the places of the relevant premises in a ranking of names, best first; a repeated name counts once."""
    place: dict[str, int] = {}
    for rank, name in enumerate(ranking, start=1):
        if name in relevant:
            place.setdefault(name, rank)
    return Judged(len(relevant), sorted(place.values()))


def metric_values(judged: Sequence[Judged], cutoffs: Sequence[int]) -> Values:
    """Every metric of every ranking at every cut-off (each at least 1)."""
    deepest = max(cutoffs)
    hits = _hits(judged, deepest)
    relevant = np.array([query.relevant for query in judged], np.float64)[:, None]
    ranks = np.arange(1, deepest + 1, dtype=np.float64)
    found = hits.cumsum(axis=1)
    ideal = np.minimum(relevant, ranks)  # as many as could stand at the first places
    ideal_gains = np.concatenate([[0.0], np.cumsum(1 / np.log2(ranks + 1))])
    by_rank = [
        found / relevant,
        found == relevant,
        found / ranks,
        np.maximum.accumulate(hits / ranks, axis=1),
        np.cumsum(hits / np.log2(ranks + 1), axis=1) / ideal_gains[ideal.astype(np.intp)],
        np.cumsum(hits * found / ranks, axis=1) / ideal,
    ]
    at = np.asarray(cutoffs) - 1
    return np.stack([values[:, at].astype(np.float64) for values in by_rank], axis=1)


def _hits(judged: Sequence[Judged], deepest: int) -> NDArray[np.float64]:
    """1 where a relevant premise stands, shape (queries, deepest)."""
    hits = np.zeros((len(judged), deepest))
    for row, query in zip(hits, judged, strict=True):
        row[[rank - 1 for rank in query.ranks if rank <= deepest]] = 1.0
    return hits
