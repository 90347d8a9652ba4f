"""`premises embed`: the vectors of a corpus, computed as far as nobody has computed them yet."""

from pathlib import Path

import click

from api.commands.output import json_option, print_json
from api.commands.setting_options import data_dir_option, model_id_option

EPILOG = """\b
Examples:
  premises embed mathlib.tar.gz                               kept in DATA_DIR, where `serve` finds them
  premises embed mathlib.tar.gz --output mathlib.npy          and as a file for EMBEDDINGS
  premises embed new/ --reuse old/ old.npy                    only what changed is computed
  premises embed my-project.tar.gz                            its first hammer call is fast
"""


@click.command(name="embed", short_help="Compute the vectors of a corpus.", epilog=EPILOG)
@click.argument("corpus", required=False)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the vectors here, too (.npy, with a .json beside it that says what they are of).",
)
@click.option(
    "--reuse",
    nargs=2,
    multiple=True,
    metavar="CORPUS NPY",
    help="Another corpus and its vectors: texts that are the same to the byte are not computed again. May be repeated.",
)
@click.option(
    "--spellings/--no-spellings",
    default=None,
    help="Also compute the texts that Lean clients upload, as `premises warm` does; by itself for corpora of up to "
    "20,000 premises.",
)
@model_id_option
@data_dir_option
@json_option
def embed_command(
    corpus: str | None,
    output: Path | None,
    reuse: tuple[tuple[str, str], ...],
    *,
    spellings: bool | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Compute the vectors of CORPUS through the queue, behind all that users ask for.

    CORPUS is a folder, a premises.tar.gz, `demo`, hub:REVISION (of DATA_REPO) or hub:OWNER/NAME@REVISION; without it
    the one that DATA or DATA_REVISION name.

    Only texts whose vectors nobody has are computed: they are looked for in Redis, in every corpus that was prepared
    in DATA_DIR with the same model, and in those of --reuse. An interrupted run goes on where it stopped. The vectors
    stay in DATA_DIR, where `premises serve` and `premises prepare` use them; a server that runs over DATA_DIR answers
    uploads of these texts from them within seconds, without a restart.

    A queue with a worker is needed: that of REDIS_URL, or of the `premises serve` (make serve) that runs over
    DATA_DIR. Where there is neither, Redis and a worker are started for as long as the command runs.
    """
    from api.commands.corpus_vectors import EmbedRequest, embed, report_lines
    from api.commands.environment import settings_with

    report = embed(EmbedRequest(corpus, output, reuse, spellings), settings_with(options))
    if as_json:
        print_json(report)
    else:
        click.echo("\n".join(report_lines(report)))
