"""Confidence intervals of means over queries, by resampling the queries (percentile bootstrap)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 2000
SEED = 20250101
"""Fixed, so that the same run has the same intervals."""

RESAMPLES_AT_ONCE = 200


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Means with their confidence intervals; the arrays have one shape."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def estimate(
    values: NDArray[np.float64], *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = SEED
) -> Estimate:
    """Mean over the first axis, and the interval that holds `level` of the means of resampled queries.

    `values` has shape (queries, ...), with at least one query.  All columns are resampled together.  A difference of
    two runs is estimated from the differences by query (a paired bootstrap).
    """
    queries = len(values)
    columns = values.reshape(queries, -1)
    generator = np.random.default_rng(seed)
    tails = (1 - level) / 2
    means = np.concatenate([
        generator.multinomial(queries, np.full(queries, 1 / queries), size=size) @ columns / queries
        for size in _portions(resamples)
    ])  # fmt: skip
    low, high = np.quantile(means, [tails, 1 - tails], axis=0)
    shape = values.shape[1:]
    return Estimate(values.mean(axis=0), low.reshape(shape), high.reshape(shape))


def _portions(resamples: int) -> list[int]:
    """Numbers that add up to `resamples`: how often each query was drawn is a row of floats for every resample."""
    whole, rest = divmod(resamples, RESAMPLES_AT_ONCE)
    return [RESAMPLES_AT_ONCE] * whole + [rest] * bool(rest)
