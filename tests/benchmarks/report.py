"""Writes what was measured into docs/performance.md, between two marks, with a plot beside it."""

import os
import platform
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import matplotlib as mpl

from tests.benchmarks.comparison import Comparison

mpl.use("agg")
from matplotlib import pyplot as plt

BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
PLOT = "performance.svg"
BAR_HEIGHT = 0.34


def write_report(comparisons: Sequence[Comparison], document: Path, seconds: float) -> None:
    """Replace what stands between the marks, and the plot; raises `ValueError` where the marks are missing."""
    text = document.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{document} has no place for the report: it needs the lines {BEGIN} and {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    document.write_text(f"{before}{BEGIN}\n{as_markdown(comparisons, seconds)}\n{END}{after}")
    plot(comparisons, document.with_name(PLOT))


def write_sections(comparisons: Sequence[Comparison], document: Path, seconds: float) -> None:
    """Replace the tables of these sections alone, or add them behind the others; says that their run was another one.

    The plot stays that of the last full run.  Raises `ValueError` where the marks are missing.
    """
    text = document.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{document} has no place for the report: it needs the lines {BEGIN} and {END}")
    head, rest = text.split(BEGIN)
    report, tail = rest.split(END)
    for section, lines in groupby(comparisons, key=lambda comparison: comparison.section):
        table = "\n".join(
            [f"### {section}\n", f"By a run of its own: {circumstances(seconds)}.\n", *as_table(lines), ""]
        )
        before, found, after = report.partition(f"### {section}\n")
        following = "".join(after.partition("\n### ")[1:]) if found else ""
        report = f"{before.rstrip()}\n\n{table}" + (following or "\n")
    document.write_text(f"{head}{BEGIN}{report}{END}{tail}")


def circumstances(seconds: float) -> str:
    """How long a run took, and where."""
    return f"{seconds / 60:.0f} minutes on {os.cpu_count()} cores ({processor()}), Python {platform.python_version()}"


def as_markdown(comparisons: Sequence[Comparison], seconds: float) -> str:
    """A table for each section."""
    parts = [
        f"\nBy `make bench` in {circumstances(seconds)}. Each ratio is of medians that were measured in turns in one "
        "run; other work on the machine met all arms alike. A target is the least ratio or the largest figure.\n",
        f"![How many times faster than the alternative]({PLOT})\n",
    ]
    for section, lines in groupby(comparisons, key=lambda comparison: comparison.section):
        parts += [f"### {section}\n", *as_table(lines), ""]
    return "\n".join(parts)


def as_table(comparisons: Iterable[Comparison]) -> list[str]:
    """The lines of one section's table."""
    head = ["| what | ours | alternative | | ratio | target |", "| --- | --- | --- | --- | --- | --- |"]
    return head + [as_line(line) for line in comparisons]


def as_line(line: Comparison) -> str:
    """One line of a table."""
    theirs = "" if line.theirs is None else f"{number(line.theirs)} {line.unit}"
    ratio = "" if line.ratio is None else f"{number(line.ratio)}×"
    target = ""
    if line.target is not None:
        bound = f"≥ {number(line.target)}×" if line.ratio is not None else f"≤ {number(line.target)}"
        target = f"{bound}, {'reached' if line.reached else '**missed**'}"
    cells = [line.what, f"{number(line.ours)} {line.unit}".strip(), line.alternative, theirs, ratio, target]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def number(value: float) -> str:
    """Three digits, and no more zeros than needed."""
    if value == 0:
        return "0"
    if abs(value) < 0.001:
        return f"{value:.1e}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def processor() -> str:
    """The CPU's name and what it computes 8-bit and bfloat16 products with."""
    try:
        lines = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"model name\s*: (.*)", lines)
    features = [feature for feature in ("avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16") if f" {feature}" in lines]
    return ", ".join([name[1].strip() if name else platform.machine(), *features])


def plot(comparisons: Sequence[Comparison], path: Path) -> None:
    """A bar for each ratio that has a target, and the target as a mark."""
    shown = [line for line in comparisons if line.ratio is not None and line.target is not None][::-1]
    labels = [f"{line.what}\nagainst {line.alternative}" for line in shown]
    mpl.rcParams["svg.hashsalt"] = "performance"
    figure, axes = plt.subplots(figsize=(11, BAR_HEIGHT * 2 * len(shown) + 1))
    colours = ["#2a7f62" if line.reached else "#c05746" for line in shown]
    axes.barh(range(len(shown)), [line.ratio or 0 for line in shown], color=colours, height=0.6)
    axes.plot([line.target or 0 for line in shown], range(len(shown)), "k|", markersize=16, label="target")
    axes.set_yticks(range(len(shown)), labels, fontsize=8)
    axes.set_xscale("log")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xlabel("times better than the alternative (logarithmic)")
    axes.legend(loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
