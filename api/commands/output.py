"""What commands print: prose for people, or one JSON object for scripts; progress goes to stderr in either case."""

import sys
from typing import TYPE_CHECKING, NoReturn

import click
import orjson

if TYPE_CHECKING:
    from tqdm import tqdm

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object for scripts; progress stays on stderr."
)
"""Every command that reports something takes it; the command's function gets it as `as_json`."""

SELDOM_SECONDS = 10.0
OFTEN_SECONDS = 0.5


def print_json(value: object) -> None:
    """Print a value (dataclasses, too) as one indented JSON object on stdout."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode())


def progress_interval() -> float:
    """Seconds between two updates of a progress bar: a log need not hold hundreds of them."""
    return OFTEN_SECONDS if sys.stderr.isatty() else SELDOM_SECONDS


def progress_bar(label: str, total: int, unit: str, done: int = 0) -> "tqdm[NoReturn]":
    """A bar on stderr; `unit` begins with a space, `done` was done before.  Use it as a context manager."""
    from tqdm import tqdm

    return tqdm(total=total, initial=done, desc=label, unit=unit, mininterval=progress_interval())
