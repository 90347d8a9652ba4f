"""Recall against k, of one run or of several side by side."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from api.evaluation.summary import CutoffRow, Interval, RunSummary
from shared.errors import EvaluationError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf")
INCHES = (9.0, 4.5)
BAND_OPACITY = 0.18


def check_plot(path: Path) -> None:
    """Raise `EvaluationError` where no plot can be made; an evaluation of an hour asks beforehand."""
    if path.suffix not in SUFFIXES:
        raise EvaluationError(f"--plot {path}: name a file that ends in {', '.join(SUFFIXES)}.")
    if not path.parent.is_dir():
        raise EvaluationError(f"--plot {path}: there is no folder {path.parent}.")
    if find_spec("matplotlib") is None:
        raise EvaluationError("A plot needs matplotlib: pip install -e '.[evaluation]', or leave --plot out.")


def plot_recall(summaries: Mapping[str, RunSummary], path: Path) -> None:
    """Recall and full recall against k with their intervals, a line for each run, by its name."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "premises", "font.size": 9.0}):
        figure = Figure(figsize=INCHES, layout="constrained")
        for axes, metric, title in zip(
            figure.subplots(1, 2), ("recall", "full_recall"), ("recall@k", "full recall@k"), strict=True
        ):
            for place, (name, summary) in enumerate(summaries.items()):
                _draw(axes, name, summary.overall.rows, metric, f"C{place}")
            ticks = sorted({row.k for summary in summaries.values() for row in summary.overall.rows})
            axes.set(title=title, xlabel="k", ylim=(0, 1), xscale="log")
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.minorticks_off()
            axes.grid(alpha=0.3)
            axes.legend(loc="upper left")
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw(axes: "Axes", name: str, rows: Sequence[CutoffRow], metric: str, colour: str) -> None:
    cutoffs = [row.k for row in rows]
    values: list[Interval] = [getattr(row, metric) for row in rows]
    axes.plot(cutoffs, [value.mean for value in values], marker="o", markersize=3, color=colour, label=name)
    axes.fill_between(
        cutoffs, [value.low for value in values], [value.high for value in values], color=colour, alpha=BAND_OPACITY
    )
