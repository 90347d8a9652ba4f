"""One ranking from two: indexed premises and those that came with the request."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class RankedPremise(NamedTuple):
    """A premise of the answer."""

    score: float
    """Inner product of normalised vectors."""
    name: str

    def as_json(self) -> dict[str, float | str]:
        """As clients read it."""
        return {"score": self.score, "name": self.name}


def merge(
    indexed_scores: NDArray[np.float32],
    indexed_names: Sequence[str],
    new_scores: NDArray[np.float32],
    new_names: Sequence[str],
    k: int,
) -> list[RankedPremise]:
    """The at most k best of indexed and new premises by score.

    Each score array has the shape (names of its kind,); the indexed ones come as the index ranks them.  On equal
    scores indexed premises come first, in their order, then new ones in theirs; every new premise is ranked, those
    that share a name too.
    """
    scores = np.concatenate([indexed_scores, new_scores])
    names = [*indexed_names, *new_names]
    best = np.argsort(-scores, kind="stable")[: max(k, 0)]
    return [
        RankedPremise(score, names[place]) for score, place in zip(scores[best].tolist(), best.tolist(), strict=True)
    ]
