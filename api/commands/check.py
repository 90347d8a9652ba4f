"""`premises check`: what is in a corpus, what the filters do to it, and all that is wrong with it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.commands.output import json_option, print_json, progress_bar
from api.corpus_review.findings import MOST_NOTES

if TYPE_CHECKING:
    from api.commands.corpus_argument import NamedCorpus
    from api.corpus_review.report import CorpusReport
    from shared.settings import Settings

SHOWN_OF_A_KIND = 10
HAS_FAULTS = 1

EPILOG = """\b
Examples:
  premises check mathlib/                        a folder as the extraction writes it
  premises check premises.tar.gz --json          for scripts
  premises check hub:v4.32.0                     what is published
  premises check corpus/ --embeddings e.npy      do these vectors belong to it?
"""


@click.command(name="check", epilog=EPILOG)
@click.argument("corpus", required=False)
@click.option("--embeddings", type=click.Path(path_type=Path), help="Vectors to hold against the corpus, a .npy file.")
@click.option(
    "--all",
    "all_findings",
    is_flag=True,
    help=f"List every finding, not {SHOWN_OF_A_KIND} of each kind ({MOST_NOTES} of notes).",
)
@json_option
def check_command(corpus: str | None, embeddings: Path | None, *, all_findings: bool, as_json: bool) -> None:
    """Look through CORPUS before it is served or published.

    CORPUS is a folder, a premises.tar.gz, `demo`, hub:REVISION (of DATA_REPO) or hub:OWNER/NAME@REVISION; without it
    the one that DATA or DATA_REVISION name, with EMBEDDINGS. Nothing has to run, and nothing is embedded; archives
    are unpacked into DATA_DIR.

    Tells what is in it, what each filter leaves out, how long the texts are, the digest that computed vectors lie
    under, and all that is wrong, with file and line: errors keep a server from starting, warnings and notes do not.
    Import lists are looked through, too; evaluations need them, a server does not.

    Ends with 0 where the corpus can be served, with 1 where it cannot, with 2 where there is none.
    """
    from api.commands.corpus_argument import open_named_corpus
    from api.corpus_review.report_text import report_lines
    from shared.settings import load_settings

    settings = load_settings()
    named = open_named_corpus(corpus, settings)
    if embeddings is None and corpus is None and settings.embeddings:
        embeddings = Path(settings.embeddings).expanduser()
    report = check_corpus(named, settings, embeddings, most_of_a_kind=None if all_findings else SHOWN_OF_A_KIND)
    if as_json:
        print_json(report)
    else:
        click.echo("\n".join(report_lines(report)))
    if not report.can_be_served:
        click.get_current_context().exit(HAS_FAULTS)


def check_corpus(
    named: "NamedCorpus", settings: "Settings", embeddings: Path | None, *, most_of_a_kind: int | None = SHOWN_OF_A_KIND
) -> "CorpusReport":
    """The report on a corpus and its embeddings, if any, with a progress bar; with so many findings of a kind."""
    from api.corpus_review.inspection import Inspection, inspect_corpus

    return inspect_corpus(
        Inspection(
            named=named.name,
            folder=named.folder,
            archive=named.archive,
            embeddings=embeddings,
            max_text_characters=settings.max_text_characters,
            progress=progress_bar,
            most_of_a_kind=most_of_a_kind,
        )
    )
