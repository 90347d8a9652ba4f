"""Which modules each module imports, directly or through others, from the corpus' `Imports/<Module>.jsonl`.

Extractions list all of them in each file; a compact corpus lists the direct ones alone.  The closure of either is the
same, so it is computed always.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.archive import read_folder_of_archive
from shared.corpus_files import IMPORTS_FOLDER, LINES_SUFFIX, parse_object, string_field
from shared.errors import CorpusError

ModuleSet = int
"""Bit i is set where the module at position i is in the set: thousands of such sets cost little, and `|` is quick."""


class ModuleImports:
    """The imports of a corpus' modules; a module is a position in their sorted list."""

    def __init__(self, listed: Mapping[int, NDArray[np.int64]], modules: int) -> None:
        """`listed` has what each file lists; positions run up to `modules`."""
        self._listed = listed
        self._modules = modules
        self._closed: dict[int, ModuleSet] = {}

    @classmethod
    def read(cls, source: Path, modules: Sequence[str]) -> "ModuleImports":
        """Read them from a corpus folder or archive; imports of modules outside the corpus are left out.

        Raises `CorpusError` where there are none, or a line is broken.
        """
        positions = {name: position for position, name in enumerate(modules)}
        listed = {
            positions[name]: _listed(name, content, positions) for name, content in _files(source) if name in positions
        }
        if not listed:
            raise CorpusError(
                f"{source} has no folder {IMPORTS_FOLDER}: which premises a theorem can use follows from the imports. "
                "Extract them, too, or name a corpus that has them."
            )
        return cls(listed, len(modules))

    def knows(self, module: int) -> bool:
        """Whether there is a file of the module's imports."""
        return module in self._listed

    def transitive(self, module: int) -> NDArray[np.bool_]:
        """Mask of all modules that a module imports, itself left out, shape (modules,).

        Raises `CorpusError` where imports go in a circle.
        """
        closed = self._close(module) & ~(1 << module)
        packed = np.frombuffer(closed.to_bytes(self._modules // 8 + 1, "little"), np.uint8)
        return np.unpackbits(packed, count=self._modules, bitorder="little").view(np.bool_)

    def _close(self, module: int) -> ModuleSet:
        """Depth first, without recursion: chains of imports are hundreds of modules long."""
        entered: set[int] = set()
        waiting = [module]
        while waiting:
            current = waiting[-1]
            missing = [] if current in self._closed else self._not_closed(current)
            if missing and current in entered:
                raise CorpusError("The imports of this corpus go in a circle, as Lean's cannot: extract it again.")
            entered.add(current)
            waiting.extend(missing)
            if not missing:
                waiting.pop()
                if current not in self._closed:
                    self._closed[current] = self._union(current)
        return self._closed[module]

    def _not_closed(self, module: int) -> list[int]:
        return [imported for imported in self._imports(module) if imported not in self._closed]

    def _imports(self, module: int) -> list[int]:
        listed = self._listed.get(module)
        return [] if listed is None else [imported for imported in listed.tolist() if imported != module]

    def _union(self, module: int) -> ModuleSet:
        closed = 1 << module
        for imported in self._imports(module):
            if not closed >> imported & 1:
                closed |= self._closed[imported]
        return closed


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Module and content of each file."""
    if source.is_dir():
        folder = source / IMPORTS_FOLDER
        files = ((path.name, path.read_bytes()) for path in folder.iterdir()) if folder.is_dir() else iter(())
    else:
        files = read_folder_of_archive(source, IMPORTS_FOLDER)
    for name, content in files:
        if name.endswith(LINES_SUFFIX):
            yield name.removesuffix(LINES_SUFFIX), content


def _listed(module: str, content: bytes, positions: Mapping[str, int]) -> NDArray[np.int64]:
    found = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            name = string_field(parse_object(line), "name")
        except ValueError as error:
            raise CorpusError(
                f"{IMPORTS_FOLDER}/{module}{LINES_SUFFIX}, line {number}: {error}. "
                "Mend the line or extract the corpus again."
            ) from error
        if name in positions:
            found.append(positions[name])
    return np.array(found, np.int64)
