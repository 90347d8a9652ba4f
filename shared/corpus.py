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

from shared.corpus_files import (
    BLACKLIST_FILE,
    LINES_SUFFIX,
    MODULES_FILE,
    REVISION_FILE,
    declaration_files,
    flag_field,
    parse_object,
    read_bytes,
    read_lines,
    shown,
    string_field,
    strings_field,
)
from shared.errors import CorpusError

OnBrokenLine = Literal["stop", "skip-rest"]
Filter = Literal["blacklist", "type prefix", "name component", "module component"]
DropReason = Filter | Literal["duplicate"]

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

BEFORE_TYPE = " : "

LONGEST_REVISION = 200
"""Characters: it goes into a header of every answer."""

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
    modules = read_modules(folder)
    gathered = GatheredPremises(read_denied_names(folder))
    for premise in _read_declarations(folder, frozenset(modules), on_broken_line):
        gathered.add(premise)
    if not gathered.premises:
        raise CorpusError(f"The corpus {folder} has no premise that survives the filters; check what was extracted.")
    corpus = gathered.as_corpus(revision, modules)
    log.info(
        "read corpus %s: %d modules, %d declarations, %d premises after the filters",
        revision, len(modules), len(corpus.unfiltered_names), len(corpus.premises),
    )  # fmt: skip
    return corpus


class GatheredPremises:
    """The declarations of a corpus so far, in their order, and those of them that the filters leave."""

    def __init__(self, denied_names: frozenset[str]) -> None:
        self._denied_names = denied_names
        self._row_of_name: dict[str, int] = {}
        self.unfiltered_names: list[str] = []
        self.premises: list[Premise] = []

    def add(self, premise: Premise) -> DropReason | None:
        """Take the next declaration; says why it is left out, None where it stays."""
        self.unfiltered_names.append(premise.name)
        if premise.name in self._row_of_name:
            return "duplicate"
        reason = next(filters_against(premise, self._denied_names), None)
        if reason is None:
            self._row_of_name[premise.name] = len(self.premises)
            self.premises.append(premise)
        return reason

    def as_corpus(self, revision: str, modules: list[str]) -> Corpus:
        """All of it; `modules` are sorted."""
        names, row_of_name = self.unfiltered_names, self._row_of_name
        rows = np.fromiter((row_of_name.get(name, -1) for name in names), np.int32, len(names))
        return Corpus(revision, modules, names, self.premises, rows, _digest(revision, modules, names, self.premises))


def read_revision(folder: Path) -> str:
    """The revision that a corpus folder says it is; raises `CorpusError` where it says none."""
    path = folder / REVISION_FILE
    try:
        revision = read_bytes(path).decode().strip()
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 text; it should hold one line with the revision.") from error
    if not revision:
        raise CorpusError(f"{path} is empty; it should hold one line with the revision.")
    if len(revision.splitlines()) > 1 or len(revision) > LONGEST_REVISION:
        raise CorpusError(
            f"{path} is not one line of at most {LONGEST_REVISION} characters; it should hold the revision alone."
        )
    return revision


def read_modules(folder: Path) -> list[str]:
    """The modules' names, sorted; raises `CorpusError` naming the line that is broken."""
    path = folder / MODULES_FILE
    names = set()
    for number, line in enumerate(read_lines(path), start=1):
        try:
            names.add(string_field(parse_object(line), "name"))
        except ValueError as error:
            raise CorpusError(
                f"{shown(path)}, line {number}: {error}. Mend the line or extract the corpus again."
            ) from error
    return sorted(names)


def read_denied_names(folder: Path) -> frozenset[str]:
    """The names that the corpus itself leaves out; raises `CorpusError` where the file cannot be used."""
    path = folder / BLACKLIST_FILE
    if not path.exists():
        log.warning("%s is missing: no premise is left out by name", path)
        return frozenset()
    try:
        return frozenset(strings_field(parse_object(read_bytes(path)), "hammerBlacklist"))
    except ValueError as error:
        raise CorpusError(f"{path}: {error}. Mend the file or extract the corpus again.") from error


def _read_declarations(folder: Path, modules: frozenset[str], on_broken_line: OnBrokenLine) -> Iterator[Premise]:
    """Every declaration as a premise."""
    for path in declaration_files(folder):
        yield from _read_declaration_file(path, modules, on_broken_line)


def _read_declaration_file(path: Path, modules: frozenset[str], on_broken_line: OnBrokenLine) -> Iterator[Premise]:
    module = path.name.removesuffix(LINES_SUFFIX)
    lines = read_lines(path)
    if lines and module not in modules:
        raise CorpusError(
            f"{shown(path)} declares something, but Modules.jsonl has no module {module!r}; extract both again."
        )
    for number, line in enumerate(lines, start=1):
        try:
            declaration = parse_declaration(parse_object(line), module)
        except ValueError as error:
            if on_broken_line == "stop":
                raise CorpusError(
                    f"{shown(path)}, line {number}: {error}. Mend the line or extract the corpus again; "
                    "CORPUS_ON_BROKEN_LINE=skip-rest drops the rest of such a file."
                ) from error
            log.warning(
                "%s, line %d: %s; dropped this and %d more lines", shown(path), number, error, len(lines) - number
            )
            return
        yield declaration


def parse_declaration(fields: dict[str, object], module: str) -> Premise:
    """The premise of a line's fields; raises `ValueError` saying what is broken."""
    name, kind, result_type = string_field(fields, "name"), string_field(fields, "kind"), string_field(fields, "type")
    doc = fields.get("doc")
    if doc is not None and not isinstance(doc, str):
        raise ValueError("field 'doc' is neither a string nor null")
    comment = "" if doc is None else f"/-- {doc.strip()} -/\n"
    before_binders = f"{comment}{kind} {name} "
    before_type = f"{before_binders}{' '.join(strings_field(fields, 'args'))}{BEFORE_TYPE}"
    return Premise(
        name,
        module,
        text=f"{before_type}{result_type}",
        kind=sys.intern(kind),  # a handful of kinds, hundreds of thousands of premises
        binders_start=len(before_binders),
        type_start=len(before_type),
        in_module_system=flag_field(fields, "inModuleSystem"),
        is_exposed=flag_field(fields, "isExposed"),
    )


def filters_against(premise: Premise, denied_names: frozenset[str]) -> Iterator[Filter]:
    """The filters that leave a premise out; none of them: it stays."""
    if premise.name in denied_names:
        yield "blacklist"
    if premise.text.startswith(DENIED_TYPE_PREFIX, premise.type_start):
        yield "type prefix"
    if not DENIED_NAME_COMPONENTS.isdisjoint(premise.name.split(".")):
        yield "name component"
    if not DENIED_MODULE_COMPONENTS.isdisjoint(premise.module.split(".")):
        yield "module component"


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
