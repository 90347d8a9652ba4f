"""Two runs over the same queries: the differences of their metrics, query by query."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.evaluation.bootstrap import estimate
from api.evaluation.run import EvaluationRun
from api.evaluation.summary import CutoffRow, require_depth, rows_of
from shared.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run's metrics less those of a first run, over the queries that both have."""

    queries: int
    only_first: int
    """Queries that the first run alone has; they do not count."""
    only_second: int
    rows: Sequence[CutoffRow]
    """Differences, with the intervals of a paired bootstrap."""


def compare(first: EvaluationRun, second: EvaluationRun, cutoffs: Sequence[int]) -> Comparison:
    """Subtract the first run's metrics from the second's.

    Queries are the same where goal, place, relevant premises and the number of accessible ones among these are.  Raises
    `EvaluationError` where the runs have no query in common, or a cut-off is beyond what one of them asked for.
    """
    require_depth(first, cutoffs)
    require_depth(second, cutoffs)
    theirs = {(query.key, query.relevant): query for query in second.answered}
    pairs = [(query, theirs[key]) for query in first.answered if (key := (query.key, query.relevant)) in theirs]
    if not pairs:
        raise EvaluationError("The runs have no query in common: compare runs over one evaluation set.")
    before, after = zip(*pairs, strict=True)
    differences = second.values(cutoffs, after) - first.values(cutoffs, before)
    return Comparison(
        queries=len(pairs),
        only_first=len(first.answered) - len(pairs),
        only_second=len(second.answered) - len(pairs),
        rows=rows_of(estimate(differences), cutoffs),
    )
