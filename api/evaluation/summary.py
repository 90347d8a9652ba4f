"""What a run comes to: every metric with its interval, over all queries and by group of modules."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from api.evaluation.bootstrap import LEVEL, RESAMPLES, SEED, Estimate, estimate
from api.evaluation.metrics import METRICS
from api.evaluation.run import AnsweredQuery, EvaluationRun, Provenance
from shared.errors import EvaluationError

GROUP_DEPTH = 2
"""Components of a module's name that name its group: `Mathlib.Algebra` of `Mathlib.Algebra.Group.Basic`."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over queries with its confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CutoffRow:
    """Every metric at one cut-off; the names are those of `METRICS`."""

    k: int
    recall: Interval
    full_recall: Interval
    precision: Interval
    mrr: Interval
    ndcg: Interval
    map: Interval


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """The queries of one group of modules, or all of them."""

    group: str
    queries: int
    rows: Sequence[CutoffRow]
    """One a cut-off; none where there is no query."""

    def row(self, k: int) -> CutoffRow:
        """The row of a cut-off."""
        return next(row for row in self.rows if row.k == k)


@dataclass(frozen=True, slots=True)
class IntervalMethod:
    """How the intervals were made."""

    level: float = LEVEL
    resamples: int = RESAMPLES
    seed: int = SEED
    method: str = "percentile bootstrap over queries"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """All that is reported of a run."""

    provenance: Provenance
    overall: GroupSummary
    groups: Sequence[GroupSummary]
    """Largest first."""
    mean_accessible: float
    """0 where no query was answered."""
    inaccessible: int
    left_out: dict[str, int]
    """Queries that do not count, by reason."""
    intervals: IntervalMethod

    def as_json(self) -> dict[str, object]:
        """Everything, for scripts."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**fields, "provenance": self.provenance.model_dump()}


def summarise(run: EvaluationRun, cutoffs: Sequence[int], *, depth: int = GROUP_DEPTH) -> RunSummary:
    """Summarise a run at cut-offs; raises `EvaluationError` where one is beyond what the run asked for."""
    require_depth(run, cutoffs)
    by_group: dict[str, list[AnsweredQuery]] = {}
    for query in run.answered:
        by_group.setdefault(group_of(query.module, depth), []).append(query)
    largest_first = sorted(by_group.items(), key=lambda item: (-len(item[1]), item[0]))
    return RunSummary(
        provenance=run.provenance,
        overall=_summarise("all", run, run.answered, cutoffs),
        groups=[_summarise(group, run, queries, cutoffs) for group, queries in largest_first],
        mean_accessible=float(np.mean([query.accessible for query in run.answered])) if run.answered else 0.0,
        inaccessible=run.inaccessible,
        left_out=dict(Counter(query.why.partition(":")[0] for query in run.left_out)),
        intervals=IntervalMethod(),
    )


def group_of(module: str, depth: int = GROUP_DEPTH) -> str:
    """The group of a module: the first components of its name."""
    return ".".join(module.split(".")[:depth])


def require_depth(run: EvaluationRun, cutoffs: Sequence[int]) -> None:
    """Raise `EvaluationError` where a cut-off is beyond the premises that a run asked for."""
    if max(cutoffs) > run.k:
        raise EvaluationError(f"The run asked for {run.k} premises a query: cut-offs beyond that say nothing (--k).")


def rows_of(estimates: Estimate, cutoffs: Sequence[int]) -> list[CutoffRow]:
    """One row a cut-off; the arrays have shape (metrics, cut-offs)."""
    bounds = np.stack([estimates.mean, estimates.low, estimates.high], axis=-1)
    return [
        CutoffRow(k, *(Interval(*bounds[metric, at].tolist()) for metric in range(len(METRICS))))
        for at, k in enumerate(cutoffs)
    ]


def _summarise(
    group: str, run: EvaluationRun, queries: Sequence[AnsweredQuery], cutoffs: Sequence[int]
) -> GroupSummary:
    rows = rows_of(estimate(run.values(cutoffs, queries)), cutoffs) if queries else []
    return GroupSummary(group, len(queries), rows)
