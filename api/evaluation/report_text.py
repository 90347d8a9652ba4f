"""Runs and their comparisons as tables for people."""

from collections.abc import Sequence

from api.evaluation.comparison import Comparison
from api.evaluation.metrics import METRICS
from api.evaluation.summary import CutoffRow, GroupSummary, Interval, IntervalMethod, RunSummary

LABELS = {
    "recall": "recall",
    "full_recall": "full recall",
    "precision": "precision",
    "mrr": "MRR",
    "ndcg": "nDCG",
    "map": "MAP",
}
GROUP_METRICS = ("recall", "full_recall", "mrr", "ndcg", "map")
USUAL_K = 32
"""The cut-off that groups are shown at, where it is among those asked for."""

Cells = Sequence[str]


def run_text(summary: RunSummary) -> str:
    """Everything of one run."""
    rows = summary.overall.rows
    parts = [_heading(summary), _rows_table(rows) if rows else "No query was answered: there is nothing to measure."]
    if len(summary.groups) > 1:
        parts.append(_groups_table(summary))
    return "\n\n".join([*parts, _notes(summary)])


def comparison_text(name: str, first: str, comparison: Comparison) -> str:
    """How a run differs from the first one."""
    common = f"{name} less {first}, over the {comparison.queries} queries of both"
    if comparison.only_first or comparison.only_second:
        common += f" (left out: {comparison.only_first} of the first run alone, {comparison.only_second} of the other)"
    cells = [[str(row.k), *(_difference(getattr(row, metric)) for metric in METRICS)] for row in comparison.rows]
    table = _table(["k", *(LABELS[metric] for metric in METRICS)], cells)
    return f"{common}:\n\n{table}\n\n* the interval does not hold 0"


def usual_k(cutoffs: Sequence[int]) -> int:
    """32 where it is among the cut-offs, else the largest."""
    return USUAL_K if USUAL_K in cutoffs else max(cutoffs)


def _heading(summary: RunSummary) -> str:
    made, answerer = summary.provenance, summary.provenance.answerer
    return "\n".join([
        f"{made.evaluation_set}: {summary.overall.queries} queries, "
        f"{summary.mean_accessible:,.0f} accessible premises each on average",
        f"corpus {made.revision} ({made.corpus_digest[:12]}), model {answerer.model or 'unknown'} "
        f"({(answerer.namespace or 'unknown')[:12]}), selector {answerer.selector or 'not told'}, "
        f"{'through ' + answerer.server if answerer.server else 'in process'}, {made.started_at}",
    ])  # fmt: skip


def _rows_table(rows: Sequence[CutoffRow]) -> str:
    cells = [[str(row.k), *(_interval(getattr(row, metric)) for metric in METRICS)] for row in rows]
    return _table(["k", *(LABELS[metric] for metric in METRICS)], cells)


def _groups_table(summary: RunSummary) -> str:
    k = usual_k([row.k for row in summary.overall.rows])
    header = ["group", "queries", *(f"{LABELS[metric]}@{k}" for metric in GROUP_METRICS)]
    return _table(header, [_group_cells(group, k) for group in summary.groups])


def _group_cells(group: GroupSummary, k: int) -> Cells:
    row = group.row(k)
    return [group.group, str(group.queries), *(_interval(getattr(row, metric)) for metric in GROUP_METRICS)]


def _notes(summary: RunSummary) -> str:
    method: IntervalMethod = summary.intervals
    notes = [
        f"Means over queries [{method.level:.0%} {method.method}, {method.resamples} resamples, seed {method.seed}].",
        *(f"Left out: {count} queries: {why}." for why, count in summary.left_out.items()),
    ]
    if summary.inaccessible:
        notes.append(f"{summary.inaccessible} relevant premises are not accessible to their queries and do not count.")
    return "\n".join(notes)


def _interval(value: Interval) -> str:
    return f"{value.mean:.3f} [{_short(f'{value.low:.3f}')} {_short(f'{value.high:.3f}')}]"


def _difference(value: Interval) -> str:
    sure = "*" if value.low > 0 or value.high < 0 else " "
    return f"{value.mean:+.3f} [{_short(f'{value.low:+.3f}')} {_short(f'{value.high:+.3f}')}]{sure}"


def _short(number: str) -> str:
    """Without the 0 before the point: six intervals then fit on a line of a terminal."""
    return number.replace("0.", ".", 1) if number.lstrip("+-").startswith("0.") else number


def _table(header: Cells, rows: Sequence[Cells]) -> str:
    """Columns as wide as they need to be; the first one to the left, k to the right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
