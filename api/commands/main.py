"""The `premises` program: one sub-command per chore; a usage or configuration error is a sentence and exit code 2."""

import io
import os
import sys
import warnings
from typing import TextIO

import click

from api.commands.check import check_command
from api.commands.child_process import USAGE_EXIT_CODE, end_at_end_of_input
from api.commands.command_group import OrderedGroup
from api.commands.compare import compare_command
from api.commands.corpora import corpora_command
from api.commands.diff import diff_command
from api.commands.embed import embed_command
from api.commands.evaluate import evaluate_command
from api.commands.fetch import fetch_command
from api.commands.match import match_command
from api.commands.publish import publish_command
from api.commands.setting_options import data_dir_option, model_id_option
from api.commands.warm import warm_command
from shared.corpus_prefix import check_prefix
from shared.errors import PremiseServerError
from shared.log_setup import set_up_logging
from shared.settings import load_settings

SECTIONS = {
    "Run the server": ("serve", "prepare", "flower"),
    "A corpus through its life": ("fetch", "check", "diff", "embed", "warm", "match", "publish", "corpora"),
    "Measure how well it finds": ("evaluate", "compare"),
}

EPILOG = """\b
Examples:
  premises serve                                   try it: demo corpus, demo model, nothing to download
  premises fetch --revision v4.32.0                a published corpus, before the server starts
  premises check extraction/                       a new extraction: what is in it, what is wrong with it?
  premises diff hub:v4.31.0 extraction/            what does it change, what does it cost to embed?
  premises embed extraction/                       compute the vectors that are not known yet
  premises publish extraction/ --repo me/premises  for everybody
  premises corpora add v4.33.0 --revision v4.33.0  a second corpus in the server that runs
  premises evaluate                                does the server find what proofs have used?
"""


def main() -> None:
    """Entry point of the console script and of `python -m api.commands.main`."""
    warnings.showwarning = _say_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # Lean is full of letters that some terminals lack
    try:
        premises(prog_name="premises")
    except PremiseServerError as error:
        print(error, file=sys.stderr)
        sys.exit(USAGE_EXIT_CODE)
    except OSError as error:
        if error.strerror is None:  # a time-out, say: no word of the system on a file
            raise
        print(f"{error.filename or 'Reading or writing failed'}: {error.strerror}.", file=sys.stderr)
        _give_up_output()
        sys.exit(USAGE_EXIT_CODE)


@click.group(
    cls=OrderedGroup,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
)
@click.version_option(package_name="lean-premise-server", message="%(version)s")
def premises() -> None:
    """Premise selection for Lean: given a goal, find the theorems that help to prove it.

    A corpus is what is searched: the declarations of a Mathlib release, or of your own project, as an extraction
    writes them. `premises COMMAND --help` tells what each command does and needs, with examples.

    Every setting is an environment variable; .env.example lists them all with their defaults. An option of a command
    sets the variable named beside it. Commands that report something take --json. They end with 0, with 1 where they
    have found faults, and with 2, and a sentence on what to do, where they could not do their work.
    """


@premises.command(
    name="serve",
    epilog="""\b
Examples:
  premises serve                                   the demo, at http://127.0.0.1:8000
  premises serve --data premises.tar.gz --port 9000
  DATA_REVISION=v4.32.0 MODEL_ID=org/model MODEL_REVISION=v2 premises serve
""",
)
@click.option("--data", envvar="DATA", show_envvar=True, help="Corpus: `demo`, a folder or a premises.tar.gz.")
@click.option("--embeddings", envvar="EMBEDDINGS", show_envvar=True, help="Vectors of the corpus, a .npy file.")
@model_id_option
@click.option("--host", envvar="HOST", show_envvar=True, help="Address to listen on (127.0.0.1).")
@click.option("--port", envvar="PORT", show_envvar=True, help="Port to listen on (8000).")
@data_dir_option
def serve_command(**options: str | None) -> None:
    """Run the whole server on this machine: Redis, worker, API.

    Without options it serves a small demo corpus with a small model, with nothing to download. For another corpus
    the vectors that are missing are computed first; they are kept, and an interrupted computation goes on where it
    stopped. Ctrl-C stops everything.
    """
    from api.commands.serve import serve

    os.environ.update({name.upper(): value for name, value in options.items() if value is not None})
    if not any(os.environ.get(name) for name in ("DATA", "DATA_REPO", "DATA_REVISION")):
        os.environ["DATA"] = "demo"
    serve(load_settings(), os.environ)


@premises.command(
    name="prepare",
    short_help="Make of the corpus what the API serves.",
    epilog="Example: REDIS_URL=redis://host:6379/0 DATA=premises.tar.gz premises prepare",
)
@click.option("--prefix", default="", hidden=True, help="Prepare what is wanted there (`premises corpora watch`).")
@click.option("--added-at", default=0.0, hidden=True, help="Since when it is wanted there.")
@click.option("--digest", default="", hidden=True, help="Refuse a corpus with another digest.")
@click.option("--end-with-stdin", is_flag=True, hidden=True, help="End when standard input does: a parent holds it.")
def prepare_command(prefix: str, added_at: float, digest: str, *, end_with_stdin: bool) -> None:
    """Turn the corpus named by DATA or DATA_REPO into what the API serves.

    Reads and checks the files, computes the vectors that are missing through the queue (a worker must be running),
    and writes a snapshot into DATA_DIR. `premises serve` does this by itself, `premises corpora watch` for prefixes.
    """
    from api.commands.prepare import prepare

    settings = load_settings()
    set_up_logging(settings)
    if end_with_stdin:
        end_at_end_of_input()
    prepare(settings, prefix=prefix and check_prefix(prefix), added_at=added_at, digest=digest)


premises.add_command(fetch_command)
premises.add_command(check_command)
premises.add_command(compare_command)
premises.add_command(diff_command)
premises.add_command(evaluate_command)
premises.add_command(publish_command)
premises.add_command(corpora_command)
premises.add_command(embed_command)
premises.add_command(match_command)
premises.add_command(warm_command)


@premises.command(
    name="flower",
    short_help="Run Flower, the queue's web page.",
    epilog="Example: FLOWER_BASIC_AUTH=me:secret REDIS_URL=redis://host:6379/0 premises flower --port 5555",
)
@click.option("--address", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on (FLOWER_PORT).")
def flower_command(address: str, port: int | None) -> None:
    """Run Flower, the queue's web page, for those whom FLOWER_BASIC_AUTH names.

    It shows jobs, workers and queues at REDIS_URL, and never a text. It needs the extra `monitoring`, which
    `make install` brings.
    `FLOWER=1 premises serve` does this by itself.
    """
    from api.commands.flower import run_flower

    settings = load_settings()
    run_flower(settings, address, port or settings.flower_port)


def _give_up_output() -> None:
    """Send what standard output could not take nowhere: the interpreter would fail over it once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"Warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
