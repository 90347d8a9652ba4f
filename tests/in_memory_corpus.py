"""A corpus small enough to read in a test; it has what selection asks of a snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Row:
    """A premise that survived the filters."""

    name: str
    module: str
    is_theorem: bool = True
    in_module_system: bool = False
    is_exposed: bool = False


class InMemoryCorpus:
    """`unfiltered` lists the names before the filters, `modules` all modules; without them it is what the rows have."""

    def __init__(
        self, rows: Sequence[Row], unfiltered: Sequence[str] | None = None, modules: Sequence[str] | None = None
    ) -> None:
        self._names = [row.name for row in rows]
        self._row_of_name = {name: row for row, name in enumerate(self._names)}
        self.modules = sorted({row.module for row in rows} if modules is None else modules)
        self.module_of_row = np.array([self.modules.index(row.module) for row in rows], dtype=np.int32)
        self.is_theorem = np.array([row.is_theorem for row in rows], dtype=np.bool_)
        self.in_module_system = np.array([row.in_module_system for row in rows], dtype=np.bool_)
        self.is_exposed = np.array([row.is_exposed for row in rows], dtype=np.bool_)
        self.row_of_unfiltered = self.find_rows(self._names if unfiltered is None else unfiltered)

    def names(self, rows: NDArray[np.integer]) -> list[str]:
        return [self._names[row] for row in rows.tolist()]

    def find_rows(self, names: Sequence[str]) -> NDArray[np.int32]:
        return np.array([self._row_of_name.get(name, -1) for name in names], dtype=np.int32)

    def find_module(self, name: str) -> int:
        return self.modules.index(name) if name in self.modules else -1
