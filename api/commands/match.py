"""`premises match`: are the texts that a Lean client uploads those whose vectors are known?"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.commands.output import json_option, print_json
from api.commands.setting_options import data_dir_option

if TYPE_CHECKING:
    from api.upload_match import UploadMatch
    from shared.settings import Settings

NOT_COVERED = 1

EPILOG = """\b
Examples:
  premises match capture/                                 are these texts known on this host?
  premises match capture/ --corpus my-project.tar.gz      how do they differ from the extraction's?
"""


@click.command(name="match", short_help="Check that uploads are what was computed.", epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--corpus", help="Hold them against the premises of this corpus, named as for `premises embed`.")
@click.option("--most", default=3, show_default=True, type=click.IntRange(0), help="Differences of a kind to show.")
@data_dir_option
@json_option
def match_command(
    files: tuple[Path, ...], corpus: str | None, most: int, *, as_json: bool, **options: str | None
) -> None:
    """Check that what a Lean client uploads is, to the byte, what was embedded beforehand.

    FILES hold what clients sent (folders: all files in them): bodies of /retrieve as Lean wrote them, records with
    such a `body`, or lines with `decl`. docs/own-projects.md tells how to catch them.

    Tells how many of the texts are known on this host, that is, have vectors in DATA_DIR; with --corpus also how many
    are a text of that corpus or a spelling that `premises warm` computes, and where the others differ first. Nothing
    has to run. Ends with 0 where every text is known, or would be after `premises embed --spellings` of that corpus,
    with 1 where some would not, with 2 where the files cannot be read.
    """
    from api.commands.environment import settings_with

    match = _match(files, corpus, most, settings_with(options))
    if as_json:
        print_json(match)
    else:
        click.echo("\n".join(match_lines(match, corpus)))
    if match.not_covered:
        click.get_current_context().exit(NOT_COVERED)


def _match(files: Sequence[Path], corpus: str | None, most: int, settings: "Settings") -> "UploadMatch":
    from api.client_spellings import spellings_by_name
    from api.commands.corpus_vectors import OpenCorpus, files_of
    from api.known_folders import known_texts
    from api.upload_match import match_uploads
    from api.uploaded_texts import read_uploads

    uploads = [upload for path in files_of(files) for upload in read_uploads(path)]
    names = {upload.name for upload in uploads}
    opened = OpenCorpus.of(corpus, settings) if corpus else None
    texts = (
        {premise.name: premise.text for premise in opened.corpus.premises if premise.name in names} if opened else {}
    )
    return match_uploads(
        uploads,
        known=known_texts(settings.data_dir, {upload.text for upload in uploads}),
        corpus_texts=texts,
        spellings=spellings_by_name(opened.named.folder, texts.keys()) if opened else {},
        most_of_a_reason=most,
    )


def match_lines(match: "UploadMatch", corpus: str | None) -> Iterator[str]:
    """The result as people read it."""
    yield f"{match.new_premises:,} new premises, {match.texts:,} different texts"
    yield f"known on this host       {_share(match.known_here, match.texts)}"
    if corpus:
        different = match.reasons.total()
        yield f"named in {corpus}: {_share(match.named_in_corpus, match.texts)}"
        yield f"  equal to its text      {_share(match.equal_to_text, match.named_in_corpus)}"
        yield f"  equal to a spelling    {_share(match.equal_to_spelling, match.named_in_corpus)}"
        yield f"  different              {_share(different, match.named_in_corpus)}{_in_what(match)}"
    for difference in match.differences:
        yield f"{difference.name}: {difference.reason}, from character {difference.character} on"
        yield f"  sent    {difference.sent!r}"
        yield f"  corpus  {difference.expected!r}"
    if match.not_covered:
        yield f"{match.not_covered:,} would be embedded when they are sent; `premises warm --texts` does it beforehand."


def _share(count: int, of: int) -> str:
    return f"{count:,} of {of:,} ({100 * count / of:.1f} %)" if of else "0"


def _in_what(match: "UploadMatch") -> str:
    named = ", ".join(f"{count:,} in {reason}" for reason, count in match.reasons.most_common())
    return f": {named}" if named else ""
