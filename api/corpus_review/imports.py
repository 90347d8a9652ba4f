"""Looks through the import lists of a corpus, of which there may be tens of millions of lines.

A server does not read them; evaluations do, since they decide what a theorem could have used.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api.corpus_review.findings import Findings
from shared.corpus_files import IMPORTS_FOLDER, LINES_SUFFIX, flag_field, parse_object, string_field

UNKNOWN = -1
LONGEST_SHOWN_CYCLE = 8

Positions = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ImportsReport:
    """What there is."""

    files: int
    lines: int
    modules_outside: int
    """Imported modules that the corpus does not have: of Lean itself, as a rule."""


class ImportReview:
    """Takes the files of Imports in any order; `modules` are sorted."""

    def __init__(self, modules: Sequence[str], findings: Findings) -> None:
        self._modules = modules
        self._findings = findings
        self._position_of_module = {name: position for position, name in enumerate(modules)}
        self._position_of_line: dict[bytes, int] = {}  # the same line stands in thousands of files
        self._imports: dict[int, Positions] = {}
        self._unknown: set[str] = set()
        self._files = self._lines = 0

    def take_files(self, files: Iterable[tuple[str, bytes]]) -> ImportsReport:
        """Review files, given by name and content, and then what is missing and what goes round in circles."""
        for name, content in files:
            if name.endswith(LINES_SUFFIX):
                self._take_file(f"{IMPORTS_FOLDER}/{name}", name.removesuffix(LINES_SUFFIX), content)
        if self._files:
            self._tell_missing()
            self._tell_cycles()
        else:
            self._findings.add("missing-imports", IMPORTS_FOLDER, None, "there are no import lists.")
        return ImportsReport(self._files, self._lines, len(self._unknown))

    def _take_file(self, file: str, module: str, content: bytes) -> None:
        lines = content.removesuffix(b"\n").split(b"\n") if content else []
        self._files += 1
        self._lines += len(lines)
        positions = [self._position_of_line.get(line) for line in lines]
        found = [
            self._read_line(file, number, line) if position is None else position
            for number, (line, position) in enumerate(zip(lines, positions, strict=True), start=1)
        ]
        importer = self._position_of_module.get(module)
        if importer is None:
            self._findings.add("stray-imports", file, None, f"Modules.jsonl has no module {module!r}.")
        else:
            self._imports[importer] = np.array(found, dtype=np.int32)

    def _read_line(self, file: str, number: int, line: bytes) -> int:
        try:
            fields = parse_object(line)
            name = string_field(fields, "name")
            flag_field(fields, "isDirect")
        except ValueError as error:
            self._findings.add("broken-import", file, number, f"{error}.")
            return UNKNOWN
        if name not in self._position_of_module and name not in self._unknown:
            self._unknown.add(name)
            self._findings.add(
                "unknown-import", file, number, f"the module {name} is imported and not in this corpus (told once)."
            )
        position = self._position_of_module.get(name, UNKNOWN)
        self._position_of_line[line] = position
        return position

    def _tell_missing(self) -> None:
        for position, module in enumerate(self._modules):
            if position not in self._imports:
                file = f"{IMPORTS_FOLDER}/{module}{LINES_SUFFIX}"
                self._findings.add("missing-imports", file, None, f"the module {module} has no import list.")

    def _tell_cycles(self) -> None:
        nothing = np.empty(0, dtype=np.int32)
        imports = [self._imports.get(position, nothing) for position in range(len(self._modules))]
        for cycle in find_cycles(imports):
            first, second = cycle[0], cycle[1]
            line = int(np.flatnonzero(imports[first] == second)[0]) + 1
            self._findings.add(
                "import-cycle", f"{IMPORTS_FOLDER}/{self._modules[first]}{LINES_SUFFIX}", line, self._told(cycle)
            )

    def _told(self, cycle: list[int]) -> str:
        names = [self._modules[position] for position in cycle]
        if len(names) > LONGEST_SHOWN_CYCLE:
            names[LONGEST_SHOWN_CYCLE - 2 : -2] = ["…"]
        return f"modules import each other in a circle: {' → '.join(names)}."


def find_cycles(imports: Sequence[Positions]) -> Iterator[list[int]]:
    """Circles of modules, each from a module back to itself, until what is left has none.

    `imports[m]` holds positions of modules, or `UNKNOWN`; a module that lists itself is no circle.
    """
    importers, starts, waiting = _importers(imports)
    placed = np.zeros(len(imports), dtype=np.bool_)
    ready = np.flatnonzero(waiting == 0)
    while True:
        while len(ready):
            placed[ready] = True
            freed = np.concatenate([importers[starts[module] : starts[module + 1]] for module in ready.tolist()])
            waiting -= np.bincount(freed, minlength=len(imports))
            ready = np.flatnonzero((waiting <= 0) & ~placed)
        if placed.all():
            return
        cycle = _walk(imports, placed)
        yield cycle
        ready = np.array(cycle[:-1])


def _importers(imports: Sequence[Positions]) -> tuple[Positions, NDArray[np.intp], NDArray[np.intp]]:
    """Modules by what they import, where each imported module's begin, and how many imports each module has."""
    count = len(imports)
    importing = np.repeat(np.arange(count, dtype=np.int32), [len(listed) for listed in imports])
    imported = np.concatenate([*imports, np.empty(0, dtype=np.int32)])
    others = (imported != UNKNOWN) & (imported != importing)
    importing, imported = importing[others], imported[others]
    order = np.argsort(imported, kind="stable")
    starts = np.searchsorted(imported[order], np.arange(count + 1))
    return importing[order], starts, np.bincount(importing, minlength=count)


def _walk(imports: Sequence[Positions], placed: NDArray[np.bool_]) -> list[int]:
    """From a module along imports that are not placed, each of which has such an import, until one comes again."""
    path = [int(np.flatnonzero(~placed)[0])]
    while path[-1] not in path[:-1]:
        listed = imports[path[-1]]
        open_ones = listed[(listed != UNKNOWN) & (listed != path[-1])]
        path.append(int(open_ones[~placed[open_ones]][0]))
    return path[path.index(path[-1]) :]
