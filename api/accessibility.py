"""Which indexed premises a caller may see: pure numpy, no HTTP.

The rules, by the numbers of the HTTP contract: (1) premises of the imported modules and the local premises, or the
whole corpus when neither list is given; (2) a caller in the module system does not see what other modules keep
unexposed; (3) new premises shadow indexed ones of the same name; (4) positions that point at a filtered premise mean
the survivor of that name.  Unknown names and positions out of range are ignored.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from api.index_list import IndexList

LARGEST_REMEMBERED_LIST = 32_768

MOST_LOCAL_ROWS = 1024
"""More local premises than a file declares: a client that sends all that it imports as local premises."""

Rows = NDArray[np.integer]
"""Row numbers of the index, which are those of the corpus after its filters."""
NO_ROWS: Rows = np.empty(0, dtype=np.int64)


class CorpusView(Protocol):
    """What selection and ranking need to know of a corpus; a row is a premise that survived the filters."""

    @property
    def modules(self) -> Sequence[str]:
        """All modules, sorted."""
        ...

    @property
    def module_of_row(self) -> NDArray[np.int32]:
        """Position of each row's module in `modules`, shape (rows,)."""
        ...

    @property
    def is_theorem(self) -> NDArray[np.bool_]:
        """Shape (rows,)."""
        ...

    @property
    def in_module_system(self) -> NDArray[np.bool_]:
        """Shape (rows,)."""
        ...

    @property
    def is_exposed(self) -> NDArray[np.bool_]:
        """Shape (rows,)."""
        ...

    @property
    def row_of_unfiltered(self) -> NDArray[np.int32]:
        """Row of each entry of `/indexed-premises` by its name, -1 where no premise of that name survived."""
        ...

    def names(self, rows: Rows) -> list[str]:
        """Names of rows, in their order."""
        ...

    def find_rows(self, names: Sequence[str]) -> NDArray[np.int32]:
        """Rows of names, -1 where unknown, shape (len(names),)."""
        ...

    def find_module(self, name: str) -> int:
        """Position in `modules`, -1 where unknown."""
        ...


@dataclass(frozen=True, slots=True)
class _Scope:
    """A request's lists, from which what the caller may see follows; None is not the same as an empty list."""

    imported_modules: IndexList | None
    local_premises: IndexList | None
    imported_all_modules: IndexList | None
    caller_in_module_system: bool

    @property
    def key(self) -> tuple[bytes | None, ...]:
        """Equal for scopes that select the same rows of one corpus by the same lists."""
        visibility = (self.imported_all_modules or IndexList.of([])) if self.caller_in_module_system else None
        lists = (self.imported_modules, self.local_premises, visibility)
        return tuple(None if values is None else values.digest for values in lists)


@dataclass(frozen=True, eq=False)
class Selection:
    """A set of rows as a bitmap: bit `row % 8` (little-endian) of byte `row // 8`; never changed once made."""

    packed: NDArray[np.uint8]
    """Shape (ceil(rows / 8),), read-only."""
    rows: int
    """Rows of the corpus."""
    count: int
    """Rows in the set."""
    local_rows: Rows
    """Those that are there by `local_premises` alone: what the caller's own file declares.  Empty where they are more
    than a file declares."""

    @classmethod
    def of(cls, mask: NDArray[np.bool_], local_rows: Rows = NO_ROWS) -> "Selection":
        """Pack a mask of shape (rows,)."""
        packed = _read_only(np.packbits(mask, bitorder="little"))
        return cls(packed, len(mask), int(np.count_nonzero(mask)), local_rows)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The set as booleans, shape (rows,)."""
        return np.unpackbits(self.packed, count=self.rows, bitorder="little").view(np.bool_)

    def list_rows(self) -> NDArray[np.intp]:
        """The rows in the set, in order, shape (count,); of small sets it is remembered."""
        return self._listed if self.count <= LARGEST_REMEMBERED_LIST else np.flatnonzero(self.mask)

    @cached_property
    def _listed(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.mask)

    def without(self, rows: Rows) -> "Selection":
        """The set less some rows (each from 0 to `rows` - 1, repeats allowed)."""
        removed = np.unique(rows)
        bits = np.left_shift(1, removed % 8, dtype=np.uint8, casting="unsafe")
        present = int(np.count_nonzero(self.packed[removed // 8] & bits))
        packed = self.packed.copy()
        np.bitwise_and.at(packed, removed // 8, ~bits)
        local_rows = self.local_rows[~np.isin(self.local_rows, removed)]
        return Selection(_read_only(packed), self.rows, self.count - present, local_rows)


class Accessibility:
    """Selects the rows that a caller may see; thread-safe, remembers the selections of recent request lists."""

    def __init__(self, corpus: CorpusView, *, remembered_selections: int = 256) -> None:
        self._corpus = corpus
        self._visible_anyway = np.asarray(corpus.is_theorem | corpus.is_exposed | ~corpus.in_module_system)
        self._rows_of_module = _consecutive(corpus.module_of_row, len(corpus.modules))
        self._recent: OrderedDict[tuple[bytes | None, ...], Selection] = OrderedDict()
        self._remembered_selections = remembered_selections
        self._lock = threading.Lock()

    def select(
        self,
        *,
        imported_modules: IndexList | None = None,
        local_premises: IndexList | None = None,
        imported_all_modules: IndexList | None = None,
        caller_in_module_system: bool = False,
        shadowed_names: Sequence[str] = (),
    ) -> Selection:
        """Rows that the caller may see by a request's lists, less those whose names are among `shadowed_names`."""
        scope = _Scope(imported_modules, local_premises, imported_all_modules, caller_in_module_system)
        key = scope.key
        selection = self._recall(key) or self._remember(key, self._build(scope))
        if not shadowed_names:
            return selection
        rows = self._corpus.find_rows(shadowed_names)
        return selection.without(rows[rows >= 0])

    def _recall(self, key: tuple[bytes | None, ...]) -> Selection | None:
        with self._lock:
            if key in self._recent:
                self._recent.move_to_end(key)
            return self._recent.get(key)

    def _remember(self, key: tuple[bytes | None, ...], selection: Selection) -> Selection:
        with self._lock:
            self._recent[key] = selection
            while len(self._recent) > self._remembered_selections:
                self._recent.popitem(last=False)
        return selection

    def _build(self, scope: _Scope) -> Selection:
        mask, local_rows = self._accessible(scope)
        if scope.caller_in_module_system:
            mask &= self._visible_anyway | self._in_modules(scope.imported_all_modules)
        local_rows = local_rows if len(local_rows) <= MOST_LOCAL_ROWS else NO_ROWS
        return Selection.of(mask, local_rows[mask[local_rows]])

    def _accessible(self, scope: _Scope) -> tuple[NDArray[np.bool_], Rows]:
        """Mask of the accessible rows, shape (rows,), and those that are in no imported module."""
        if scope.imported_modules is None and scope.local_premises is None:
            return np.ones(len(self._corpus.module_of_row), dtype=np.bool_), NO_ROWS
        mask = self._in_modules(scope.imported_modules)
        rows = self._local_rows(scope.local_premises)
        local_rows = np.unique(rows[~mask[rows]])
        mask[local_rows] = True
        return mask, local_rows

    def _in_modules(self, modules: IndexList | None) -> NDArray[np.bool_]:
        """Mask of the rows of some modules, shape (rows,)."""
        chosen = np.zeros(len(self._corpus.modules), dtype=np.bool_)
        if modules is not None:
            positions, names = modules.split()
            chosen[_within(positions, len(chosen))] = True
            named = np.array([self._find_module(name) for name in names], dtype=np.int64)
            chosen[named[named >= 0]] = True
        if self._rows_of_module is not None:
            return np.repeat(chosen, self._rows_of_module)
        return np.take(chosen, self._corpus.module_of_row)

    def _find_module(self, name: str) -> int:
        """Position of a module given as `A.B` or `A/B.lean`, -1 where unknown."""
        return self._corpus.find_module(
            name.removesuffix(".lean").replace("/", ".") if name.endswith(".lean") else name
        )

    def _local_rows(self, premises: IndexList | None) -> Rows:
        if premises is None:
            return np.empty(0, dtype=np.int64)
        positions, names = premises.split()
        by_position = self._corpus.row_of_unfiltered
        rows = np.concatenate([by_position[_within(positions, len(by_position))], self._corpus.find_rows(names)])
        return rows[rows >= 0]


def _consecutive(module_of_row: NDArray[np.int32], modules: int) -> NDArray[np.intp] | None:
    """Rows of each module where they follow one another in the modules' order, as a corpus' files give them."""
    in_order = bool(np.all(module_of_row[:-1] <= module_of_row[1:]))
    return np.bincount(module_of_row, minlength=modules) if in_order else None


def _within(positions: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    return positions[(positions >= 0) & (positions < length)]


def _read_only(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    packed.flags.writeable = False
    return packed
