"""`premises warm`: the texts that Lean clients upload, computed before they do."""

from pathlib import Path

import click

from api.commands.output import json_option, print_json
from api.commands.setting_options import data_dir_option, model_id_option

EPILOG = """\b
Examples:
  premises warm my-project.tar.gz               the spellings of its declarations
  premises warm --texts capture/                what a client sent yesterday
  premises warm mathlib.tar.gz --json           for users of neighbouring versions
"""


@click.command(name="warm", short_help="Compute what Lean clients upload, beforehand.", epilog=EPILOG)
@click.argument("corpus", required=False)
@click.option(
    "--texts",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="A file with what clients sent, or a folder of such files: bodies of /retrieve, or lines with `decl`. May be "
    "repeated.",
)
@model_id_option
@data_dir_option
@json_option
def warm_command(corpus: str | None, texts: tuple[Path, ...], *, as_json: bool, **options: str | None) -> None:
    """Compute the texts that Lean clients upload as new premises, behind all that users ask for.

    Of CORPUS (named as for `premises embed`; without it and without --texts the one that DATA or DATA_REVISION name)
    the spellings that follow from the extraction's fields: its own `decl`, single spaces, with and without the doc
    comment, `axiom` in the place of `theorem` for callers in the module system. Universe names do not follow from
    them; --texts computes exactly what a client sent.

    They stay in DATA_DIR and are used by every server over it within seconds; an interrupted run goes on where it
    stopped. `premises match` tells how many of a client's texts are covered. What is needed to run, and how it is
    found, is as for `premises embed`.
    """
    from api.commands.corpus_vectors import WarmRequest, report_lines, warm
    from api.commands.environment import settings_with

    report = warm(WarmRequest(corpus, texts), settings_with(options))
    if as_json:
        print_json(report)
    else:
        click.echo("\n".join(report_lines(report)))
