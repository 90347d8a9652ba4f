"""`premises diff`: what changes from one corpus to another, and what embedding the second one would cost."""

import click

from api.commands.output import json_option, print_json

EPILOG = """\b
Examples:
  premises diff hub:v4.31.0 hub:v4.32.0          two revisions of DATA_REPO
  premises diff hub:v4.32.0 ./premises.tar.gz    what a publication would change
  premises diff old/ new/ --limit 0              the counts alone
  premises diff old/ new/ --json | jq '.statements_changed[].name'
"""


@click.command(name="diff", epilog=EPILOG)
@click.argument("before")
@click.argument("after")
@click.option("--limit", type=click.IntRange(min=0), default=10, show_default=True, help="Lines of each list.")
@json_option
def diff_command(before: str, after: str, *, limit: int, as_json: bool) -> None:
    """Tell how the corpus AFTER differs from the corpus BEFORE.

    Each is a folder, a premises.tar.gz, `demo`, hub:REVISION (of DATA_REPO) or hub:OWNER/NAME@REVISION. Nothing has
    to run, and nothing is embedded; archives are unpacked into DATA_DIR.

    Compares the premises after the filters: added, removed, renamed (a guess: the same text under another name),
    moved to another module, of another kind, with another statement, or with other documentation alone. Then how many
    texts `premises embed` would have to compute anew, and whether the numbers that Lean clients send for modules and
    premises still mean the same. `--json` has the lists in full.
    """
    from api.commands.corpus_argument import open_named_corpus
    from api.corpus_review.difference import compare_corpora
    from api.corpus_review.difference_text import difference_lines
    from shared.corpus import Corpus, read_corpus
    from shared.settings import load_settings

    settings = load_settings()

    def read(argument: str) -> Corpus:
        named = open_named_corpus(argument, settings)
        click.echo(f"reading {named.name} ...", err=True)
        return read_corpus(named.folder, on_broken_line=settings.corpus_on_broken_line)

    difference = compare_corpora(read(before), read(after), (before, after))
    if as_json:
        print_json(difference)
    else:
        click.echo("\n".join(difference_lines(difference, limit)))
