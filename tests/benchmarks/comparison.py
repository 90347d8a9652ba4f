"""What a benchmark reports: a figure of ours beside that of what one could use instead, from the same run."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One line of a table."""

    section: str
    what: str
    ours: float
    unit: str
    theirs: float | None = None
    alternative: str = ""
    """What `theirs` is of."""
    ratio: float | None = None
    """How many times better ours is."""
    target: float | None = None
    """What `ratio` should be at least; with no ratio, what `ours` should be at most."""

    @property
    def reached(self) -> bool | None:
        """Whether the target was reached; None: there is none."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.ratio is not None else self.ours <= self.target


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def medians(arms: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each arm; the arms take turns, after one call each that does not count.

    What else the machine does then meets all of them alike.
    """
    for arm in arms:
        arm()
    times = [[seconds_of(arm) for arm in arms] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]
