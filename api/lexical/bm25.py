"""BM25 (Robertson and Zaragoza, 2009), with the weights of rare terms that Lucene uses."""

import numpy as np
from numpy.typing import NDArray

SATURATION = 1.2
"""BM25's k1: how soon repeats of a term cease to count."""
LENGTH_SHARE = 0.75
"""BM25's b: how much a long statement is held against a row."""

Scores = NDArray[np.float32]


def rarity_of(rows_with_term: NDArray[np.integer], rows: int) -> Scores:
    """Weight of terms by the number of rows that have them."""
    weights: Scores = np.log1p((rows - rows_with_term + 0.5) / (rows_with_term + 0.5)).astype(np.float32)
    return weights


def addends_of(rarity: Scores, repeats: Scores, lengths: NDArray[np.integer], mean_length: float) -> Scores:
    """What terms add to the scores of rows in which they occur that often, for rows of those lengths."""
    scale = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * lengths.astype(np.float32) / np.float32(mean_length))
    result: Scores = (rarity * repeats / (repeats + scale)).astype(np.float32)
    return result
