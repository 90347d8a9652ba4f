"""`premises compare`: saved evaluations side by side, with the differences between them."""

from pathlib import Path

import click

from api.commands.evaluate import cutoffs_option, group_depth_option, plot_option
from api.commands.output import json_option, print_json

EPILOG = """\b
Examples:
  premises compare dense.json hybrid.json --plot recall.svg
  premises compare old-model.json new-model.json newest-model.json --k 16,32 --json
"""


@click.command(name="compare", epilog=EPILOG)
@click.argument("runs", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@cutoffs_option
@group_depth_option
@plot_option
@json_option
def compare_command(
    runs: tuple[Path, ...], *, cutoffs: tuple[int, ...], group_depth: int, plot: Path | None, as_json: bool
) -> None:
    """Show saved evaluations, and how the others differ from the first.

    RUNS are files that `premises evaluate --output` wrote. Differences are taken query by query over the queries that
    two runs have in common, with intervals of a paired bootstrap: that is far sharper than to compare the intervals of
    the runs themselves. --plot draws all runs, named by their files.
    """
    from api.evaluation.comparison import compare
    from api.evaluation.plot import check_plot, plot_recall
    from api.evaluation.report_text import comparison_text, run_text
    from api.evaluation.run import EvaluationRun
    from api.evaluation.summary import summarise

    if plot:
        check_plot(plot)
    read = {path.stem: EvaluationRun.read(path) for path in runs}
    if len(read) < len(runs):
        raise click.UsageError("Two of the runs have the same file name: a table could not tell them apart.")
    summaries = {name: summarise(run, cutoffs, depth=group_depth) for name, run in read.items()}
    first, *others = read
    comparisons = {name: compare(read[first], read[name], cutoffs) for name in others}
    if plot:
        plot_recall(summaries, plot)
    if as_json:
        print_json({
            "runs": {name: summary.as_json() for name, summary in summaries.items()},
            "first": first,
            "differences": comparisons,
        })  # fmt: skip
        return
    shown = [f"== {name}\n\n{run_text(summary)}" for name, summary in summaries.items()]
    shown += [f"== {comparison_text(name, first, comparison)}" for name, comparison in comparisons.items()]
    click.echo("\n\n".join(shown))
