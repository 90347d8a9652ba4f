"""Reads what Lean clients upload, from files: bodies of /retrieve, records that hold one, or lines with `decl`."""

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from shared.errors import ArtifactError

DECL_FOR_MODULES = "decl_module_caller"
"""What a line with `decl` may hold beside it: the text for callers inside of the module system."""

GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class UploadedText:
    """A new premise as a client sends it."""

    name: str
    text: str


def read_uploads(path: Path) -> Iterator[UploadedText]:
    """The new premises in a file, in its order; raises `ArtifactError` naming the file (and line) that is none.

    The file holds one JSON object, or one a line, and may be gzipped.  An object is the body of a /retrieve (with
    `new_premises`), has one as its `body`, or is itself a premise with `name`, `decl` and perhaps `decl_module_caller`.
    """
    for place, found in _read_objects(path):
        try:
            yield from _uploads_of(found)
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{place} is neither the body of a /retrieve nor a line with `decl`: name a file with what a client "
                "sent."
            ) from error


def _read_objects(path: Path) -> Iterator[tuple[str, object]]:
    content = _read(path)
    try:
        whole = orjson.loads(content)
    except orjson.JSONDecodeError:
        yield from _read_lines(path, content.splitlines())
    else:
        yield str(path), whole


def _read_lines(path: Path, lines: Sequence[bytes]) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"{path}, line {number}", orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise ArtifactError(f"{path}, line {number}: not valid JSON ({error}). Mend or remove it.") from error


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(GZIP) else content
    except (OSError, EOFError, zlib.error) as error:
        raise ArtifactError(f"{path} cannot be read ({error}): name a file with what a client sent.") from error


def _uploads_of(found: object) -> Iterator[UploadedText]:
    if not isinstance(found, Mapping):
        raise TypeError("no object")
    if "body" in found:
        body = found["body"]  # None: that of a recorded GET
        if body is not None:
            yield from _uploads_of(orjson.loads(body) if isinstance(body, str) else body)
    elif "decl" in found:
        name = _string(found.get("name") or "")
        yield UploadedText(name, _string(found["decl"]))
        if found.get(DECL_FOR_MODULES) is not None:
            yield UploadedText(name, _string(found[DECL_FOR_MODULES]))
    elif "state" in found or "new_premises" in found:
        for premise in found.get("new_premises") or []:
            yield UploadedText(_string(premise["name"]), _string(premise["decl"]))
    else:
        raise ValueError("nothing that a client uploads")


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no string")
    return value
