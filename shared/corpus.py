"""Reads a corpus of premises in the format of its extraction, with the filters of hanwenzhu/lean-premise-server.

A corpus folder holds `revision`, `Modules.jsonl`, `HammerBlacklist.jsonl` and `Declarations/<Module>.jsonl`.  Clients
send positions in the order of these files, so nothing here may depend on anything but the files.
"""

import hashlib
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from shared.errors import CorpusError

OnBrokenLine = Literal["stop", "skip-rest"]

DENIED_MODULE_COMPONENTS = frozenset({
    "Aesop", "Auto", "Cli", "CodeAction", "DocGen4", "Duper", "ImportGraph", "Lake", "Lean", "LeanSearchClient",
    "Linter", "Mathport", "MD4Lean", "Plausible", "ProofWidgets", "Qq", "QuerySMT", "Tactic", "TacticExtra", "Test",
    "Testing", "UnicodeBasic", "Util",
})  # fmt: skip
"""A premise of a module with one of these between its dots is left out."""

DENIED_NAME_COMPONENTS = frozenset({"Lean", "Lake", "Qq"})
"""A premise with one of these between the dots of its name is left out."""

DENIED_TYPE_PREFIX = "Lean."
"""A premise whose type starts so is left out: parsers, elaborators and the like."""

LINES_SUFFIX = ".jsonl"
BEFORE_TYPE = " : "

log = logging.getLogger("corpus")


@dataclass(frozen=True, slots=True)
class Premise:
    """A declaration that survived the filters."""

    name: str
    module: str
    text: str
    """What is embedded: the doc comment, if any, and the signature `kind name binders : type`."""
    kind: str
    """`theorem`, `def`, `instance`, … as the extraction says."""
    binders_start: int
    """Where the binders begin in `text`.  Places in it cost less memory than copies of its parts."""
    type_start: int
    """Where the resulting type begins in `text`."""
    in_module_system: bool
    is_exposed: bool

    @property
    def is_theorem(self) -> bool:
        """Whether it is visible wherever its module is imported."""
        return self.kind == "theorem"

    @property
    def binders(self) -> str:
        """Binders in their brackets, joined by spaces; empty where there are none."""
        return self.text[self.binders_start : self.type_start - len(BEFORE_TYPE)]

    @property
    def result_type(self) -> str:
        """What stands behind the binders' colon."""
        return self.text[self.type_start :]


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """The premises of one revision; a row is a position in `premises`."""

    revision: str
    modules: list[str]
    """Sorted."""
    unfiltered_names: list[str]
    """Names before the filters: files in the order of their names, lines in theirs."""
    premises: list[Premise]
    """What the filters left, in the same order; names are unique."""
    row_of_unfiltered: NDArray[np.int32]
    """Row of the premise with that name, shape (len(unfiltered_names),); -1 where none survived."""
    digest: str
    """SHA-256 of all of the above, in hexadecimal digits."""


def read_corpus(folder: Path, *, on_broken_line: OnBrokenLine = "stop") -> Corpus:
    """Read a corpus folder.

    A broken line ends the reading, or drops the rest of its file with a warning (`skip-rest`, what the original
    server does).  Raises `CorpusError` naming the file (and line) that cannot be used.
    """
    revision = read_revision(folder)
    modules = _read_modules(folder)
    denied_names = _read_denied_names(folder)
    unfiltered_names: list[str] = []
    premises: list[Premise] = []
    row_of_name: dict[str, int] = {}
    for premise in _read_declarations(folder, frozenset(modules), on_broken_line):
        unfiltered_names.append(premise.name)
        if premise.name not in row_of_name and _survives(premise, denied_names):
            row_of_name[premise.name] = len(premises)
            premises.append(premise)
    if not premises:
        raise CorpusError(f"The corpus {folder} has no premise that survives the filters; check what was extracted.")
    rows = np.fromiter((row_of_name.get(name, -1) for name in unfiltered_names), np.int32, len(unfiltered_names))
    log.info(
        "read corpus %s: %d modules, %d declarations, %d premises after the filters",
        revision, len(modules), len(unfiltered_names), len(premises),
    )  # fmt: skip
    digest = _digest(revision, modules, unfiltered_names, premises)
    return Corpus(revision, modules, unfiltered_names, premises, rows, digest)


def read_revision(folder: Path) -> str:
    """The revision that a corpus folder says it is; raises `CorpusError` where it says none."""
    path = folder / "revision"
    try:
        revision = _read_bytes(path).decode().strip()
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 text; it should hold one line with the revision.") from error
    if not revision:
        raise CorpusError(f"{path} is empty; it should hold one line with the revision.")
    return revision


def _read_modules(folder: Path) -> list[str]:
    path = folder / "Modules.jsonl"
    names = set()
    for number, line in enumerate(_lines(path), start=1):
        try:
            names.add(_string(_parse_object(line), "name"))
        except ValueError as error:
            raise CorpusError(
                f"{_shown(path)}, line {number}: {error}. Mend the line or extract the corpus again."
            ) from error
    return sorted(names)


def _read_denied_names(folder: Path) -> frozenset[str]:
    path = folder / "HammerBlacklist.jsonl"
    if not path.exists():
        log.warning("%s is missing: no premise is left out by name", path)
        return frozenset()
    try:
        return frozenset(_strings(_parse_object(_read_bytes(path)), "hammerBlacklist"))
    except ValueError as error:
        raise CorpusError(f"{path}: {error}. Mend the file or extract the corpus again.") from error


def _read_declarations(folder: Path, modules: frozenset[str], on_broken_line: OnBrokenLine) -> Iterator[Premise]:
    """Every declaration as a premise."""
    declarations = folder / "Declarations"
    if not declarations.is_dir():
        raise CorpusError(f"{folder} is no corpus: it has no folder Declarations.")
    for path in sorted(declarations.iterdir(), key=lambda path: path.name):
        if path.name.endswith(LINES_SUFFIX):
            yield from _read_declaration_file(path, modules, on_broken_line)


def _read_declaration_file(path: Path, modules: frozenset[str], on_broken_line: OnBrokenLine) -> Iterator[Premise]:
    module = path.name.removesuffix(LINES_SUFFIX)
    lines = _lines(path)
    if lines and module not in modules:
        raise CorpusError(
            f"{_shown(path)} declares something, but Modules.jsonl has no module {module!r}; extract both again."
        )
    for number, line in enumerate(lines, start=1):
        try:
            declaration = _parse_declaration(line, module)
        except ValueError as error:
            if on_broken_line == "stop":
                raise CorpusError(
                    f"{_shown(path)}, line {number}: {error}. Mend the line or extract the corpus again; "
                    "CORPUS_ON_BROKEN_LINE=skip-rest drops the rest of such a file."
                ) from error
            log.warning(
                "%s, line %d: %s; dropped this and %d more lines", _shown(path), number, error, len(lines) - number
            )
            return
        yield declaration


def _parse_declaration(line: bytes, module: str) -> Premise:
    """A line's premise; raises `ValueError` saying what is broken."""
    fields = _parse_object(line)
    name, kind, result_type = _string(fields, "name"), _string(fields, "kind"), _string(fields, "type")
    doc = fields.get("doc")
    if doc is not None and not isinstance(doc, str):
        raise ValueError("field 'doc' is neither a string nor null")
    comment = "" if doc is None else f"/-- {doc.strip()} -/\n"
    before_binders = f"{comment}{kind} {name} "
    before_type = f"{before_binders}{' '.join(_strings(fields, 'args'))}{BEFORE_TYPE}"
    return Premise(
        name,
        module,
        text=f"{before_type}{result_type}",
        kind=sys.intern(kind),  # a handful of kinds, hundreds of thousands of premises
        binders_start=len(before_binders),
        type_start=len(before_type),
        in_module_system=_flag(fields, "inModuleSystem"),
        is_exposed=_flag(fields, "isExposed"),
    )


def _survives(premise: Premise, denied_names: frozenset[str]) -> bool:
    return not (
        premise.name in denied_names
        or premise.text.startswith(DENIED_TYPE_PREFIX, premise.type_start)
        or not DENIED_NAME_COMPONENTS.isdisjoint(premise.name.split("."))
        or not DENIED_MODULE_COMPONENTS.isdisjoint(premise.module.split("."))
    )


def _digest(revision: str, modules: Sequence[str], unfiltered_names: Sequence[str], premises: Sequence[Premise]) -> str:
    digest = hashlib.sha256(orjson.dumps([revision, modules, unfiltered_names]))
    for premise in premises:
        digest.update(orjson.dumps(_digested(premise)))
    return digest.hexdigest()


def _digested(premise: Premise) -> dict[str, str | bool]:
    """What the digest covers, in this order: computed vectors lie under the digest, and to change it loses them."""
    return {
        "name": premise.name,
        "module": premise.module,
        "text": premise.text,
        "is_theorem": premise.is_theorem,
        "in_module_system": premise.in_module_system,
        "is_exposed": premise.is_exposed,
    }


def _lines(path: Path) -> list[bytes]:
    """Lines of a file without their ends; what follows the last newline counts only if it is not empty."""
    lines = _read_bytes(path).split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CorpusError(
            f"{path.parent} is no corpus: it has no file {path.name}; DATA names a folder or "
            "a premises.tar.gz as the extraction writes them."
        ) from error
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}.") from error


def _parse_object(line: bytes) -> dict[str, object]:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not valid JSON in UTF-8 ({error})") from error
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the file is wrong, not the program
    return fields


def _string(fields: dict[str, object], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise ValueError(f"field {key!r} is missing or not a string")  # noqa: TRY004
    return value


def _strings(fields: dict[str, object], key: str) -> list[str]:
    values = fields.get(key)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"field {key!r} is missing or not a list of strings")
    return values


def _flag(fields: dict[str, object], key: str) -> bool:
    """False where the field is missing or null, as in data extracted before the module system."""
    value = fields.get(key)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"field {key!r} is neither true nor false")
    return bool(value)


def _shown(path: Path) -> str:
    """A path as an error or a log line shows it: on one line, whatever the file is called."""
    return str(path) if str(path).isprintable() else repr(str(path))
