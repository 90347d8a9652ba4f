"""`premises evaluate`: how well a server, or a corpus with its vectors, finds the premises that proofs have used."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.commands.output import json_option, print_json

if TYPE_CHECKING:
    from api.evaluation.run import EvaluationRun

SOME_REFUSED = 1
LARGEST_CUTOFF = 10_000
"""Ten times what a server gives by default; what metrics take of memory grows with it."""

EPILOG = """\b
Examples:
  premises evaluate                                      the demo set, through the `make serve` of this machine
  premises evaluate dev.jsonl.gz --data mathlib.tar.gz --output minilm.json --plot recall.svg
  premises evaluate dev.jsonl --server https://host/v4.32.0 --selector hybrid --sample 500
  premises evaluate dev.jsonl --in-process --data mathlib.tar.gz --embeddings new-model.npy
  premises compare minilm.json hybrid.json --plot recall.svg
"""


def read_cutoffs(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
    """Cut-offs as they are typed: integers from 1 to `LARGEST_CUTOFF` with commas between, each once, ascending."""
    try:
        cutoffs = sorted({int(part) for part in value.split(",")})
    except ValueError:
        raise click.BadParameter("give integers with commas between them, for example 1,8,32") from None
    if cutoffs[0] < 1:
        raise click.BadParameter("the smallest place is 1")
    if cutoffs[-1] > LARGEST_CUTOFF:
        raise click.BadParameter(f"give at most {LARGEST_CUTOFF}")
    return tuple(cutoffs)


cutoffs_option = click.option(
    "--k",
    "cutoffs",
    default="1,4,8,16,32,64,128,256",
    show_default=True,
    callback=read_cutoffs,
    help="Cut-offs of the metrics: the lengths of list at which they are told.",
)
plot_option = click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw recall against k (.svg, .png, .pdf)."
)
group_depth_option = click.option(
    "--group-depth",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Components of a module's name that name its group: 2 gives Mathlib.Algebra.",
)


@click.command(name="evaluate", epilog=EPILOG)
@click.argument("evaluation_set", default="demo", metavar="[EVAL]")
@click.option("--data", help="Corpus of the server: `demo`, a folder, a premises.tar.gz or hub:REVISION.  [env: DATA]")
@click.option("--server", help="Address of the server, perhaps with a prefix.  [default: http://127.0.0.1:PORT]")
@click.option("--key", envvar="PREMISES_API_KEY", show_envvar=True, help="Key of the server, if it wants one.")
@click.option("--in-process", is_flag=True, help="Rank in this process; a Redis and a worker have to run.")
@click.option("--embeddings", help="In process: vectors of the corpus, a .npy file.  [env: EMBEDDINGS]")
@click.option("--data-dir", help="Folder for all that is kept (.state).  [env: DATA_DIR]")
@click.option(
    "--selector",
    type=click.Choice(["dense", "hybrid"]),
    help="How to rank; else as the server does by itself.",
)
@cutoffs_option
@group_depth_option
@click.option("--limit", type=click.IntRange(min=1), help="Take the first N queries alone.")
@click.option("--sample", type=click.IntRange(min=1), help="Take N queries at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which random queries --sample takes.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, help="Requests at a time.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Save the run, for `premises compare`.")
@plot_option
@json_option
def evaluate_command(
    *, cutoffs: tuple[int, ...], group_depth: int, plot: Path | None, as_json: bool, **options: object
) -> None:
    """Measure how well the premises that proofs have used are found.

    EVAL is a .jsonl or .jsonl.gz; each line has `decl_name`, `module`, `line`, `state` and `relevant`, the names of the
    premises that the proof uses. `demo`, which is the default, is a small set over the demo corpus. Every goal is
    ranked over what its proof could use: the premises of all imports, and its module's own on earlier lines.
    docs/evaluation.md defines the metrics.

    The corpus is named by --data, because a server does not tell lines and imports; that it is the server's is checked.
    With --in-process no API has to run: goals are embedded by the worker of the `make serve` that uses DATA_DIR, or by
    those at REDIS_URL.

    Ctrl-C loses nothing: the same command goes on where it stopped. Ends with 1 where goals were refused.
    """
    from api.commands.evaluation_session import EvaluationOptions, EvaluationSession
    from api.evaluation.plot import check_plot

    if options["limit"] and options["sample"]:
        raise click.UsageError("--limit and --sample exclude each other.")
    if plot:
        check_plot(plot)
    run = EvaluationSession(EvaluationOptions.model_validate({**options, "k": max(cutoffs)})).run()
    show_run(run, cutoffs, depth=group_depth, plot=plot, as_json=as_json)
    if any(query.refused for query in run.left_out):
        click.get_current_context().exit(SOME_REFUSED)


def show_run(run: "EvaluationRun", cutoffs: tuple[int, ...], *, depth: int, plot: Path | None, as_json: bool) -> None:
    """Print what a run comes to, and plot it where that is wanted."""
    from api.evaluation.plot import plot_recall
    from api.evaluation.report_text import run_text
    from api.evaluation.summary import summarise

    summary = summarise(run, cutoffs, depth=depth)
    if plot:
        plot_recall({run.label: summary}, plot)
    if as_json:
        print_json(summary.as_json())
    else:
        click.echo(run_text(summary))
