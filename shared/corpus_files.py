"""The files of a corpus folder as bytes, lines and fields, with a sentence for what cannot be read.

What they mean is said in `shared/corpus.py`.
"""

from pathlib import Path

import orjson

from shared.errors import CorpusError

REVISION_FILE = "revision"
MODULES_FILE = "Modules.jsonl"
BLACKLIST_FILE = "HammerBlacklist.jsonl"
DECLARATIONS_FOLDER = "Declarations"
IMPORTS_FOLDER = "Imports"
LINES_SUFFIX = ".jsonl"


def declaration_files(folder: Path) -> list[Path]:
    """The files of declarations in the order in which they count; raises `CorpusError` where there is no folder."""
    declarations = folder / DECLARATIONS_FOLDER
    if not declarations.is_dir():
        raise CorpusError(f"{folder} is no corpus: it has no folder {DECLARATIONS_FOLDER}.")
    paths = sorted(declarations.iterdir(), key=lambda path: path.name)
    return [path for path in paths if path.name.endswith(LINES_SUFFIX)]


def read_lines(path: Path) -> list[bytes]:
    """Lines of a file without their ends; what follows the last newline counts only if it is not empty."""
    lines = read_bytes(path).split(b"\n")
    return lines if lines[-1] else lines[:-1]


def read_bytes(path: Path) -> bytes:
    """A file's content; raises `CorpusError` where it cannot be had."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise CorpusError(f"{shown(path)} is no regular file: remove it, or extract the corpus again.")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CorpusError(
            f"{path.parent} is no corpus: it has no file {path.name}; DATA names a folder or "
            "a premises.tar.gz as the extraction writes them."
        ) from error
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}.") from error


def parse_object(line: bytes) -> dict[str, object]:
    """A line's fields; raises `ValueError`, as all below do, saying what is broken."""
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not valid JSON in UTF-8 ({error})") from error
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the file is wrong, not the program
    return fields


def string_field(fields: dict[str, object], key: str) -> str:
    """A field that has to be a string."""
    value = fields.get(key)
    if not isinstance(value, str):
        raise ValueError(f"field {key!r} is missing or not a string")  # noqa: TRY004
    return value


def strings_field(fields: dict[str, object], key: str) -> list[str]:
    """A field that has to be a list of strings."""
    values = fields.get(key)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"field {key!r} is missing or not a list of strings")
    return values


def integer_field(fields: dict[str, object], key: str) -> int:
    """A field that has to be an integer."""
    value = fields.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"field {key!r} is missing or no integer")  # noqa: TRY004
    return value


def flag_field(fields: dict[str, object], key: str) -> bool:
    """False where the field is missing or null, as in data extracted before the module system."""
    value = fields.get(key)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"field {key!r} is neither true nor false")
    return bool(value)


def shown(path: Path) -> str:
    """A path as an error or a log line shows it: on one line, whatever the file is called."""
    return str(path) if str(path).isprintable() else repr(str(path))
