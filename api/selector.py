"""What orders an answer: the seam between the recipe of a retrieval and the ways to rank what a caller may see."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from api.accessibility import Rows, Selection
from api.ranking import RankedPremise
from api.schemas import NewPremise

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is to be ranked for whom: goals, and the premises that their caller may see."""

    states: Sequence[str]
    state_vectors: Vectors
    """Shape (states, dimension)."""
    selection: Selection
    """The indexed premises."""
    new_premises: Sequence[NewPremise]
    new_vectors: Vectors
    """Shape (new premises, dimension)."""
    k: int
    """At least 1."""


class StageClock(Protocol):
    """Takes the time of a request's stages."""

    def timing(self, stage: str) -> AbstractContextManager[None]:
        """Add the time of a block to a stage."""
        ...


class Selector(Protocol):
    """One way to rank, thread-safe."""

    @property
    def name(self) -> str:
        """As the setting `SELECTOR` and the request's field `selector` call it."""
        ...

    def rank(self, question: Question, stages: StageClock) -> list[list[RankedPremise]]:
        """One ranking a state, best first: all that the caller may see, or the best k of it."""
        ...


class NamesOfRows(Protocol):
    """A corpus' names."""

    def names(self, rows: Rows) -> list[str]:
        """Names of rows, in their order."""
        ...
