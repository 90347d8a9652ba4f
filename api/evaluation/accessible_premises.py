"""Which premises a theorem's proof may use, in the words of a client's request.

Accessible are the premises of the modules that the theorem's module imports, directly or through others, and those of
the module itself that begin on an earlier line; never the theorem itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from api.evaluation.evaluation_set import EvaluationQuery
from api.evaluation.module_imports import ModuleImports
from shared.corpus import Corpus
from shared.corpus_files import (
    DECLARATIONS_FOLDER,
    LINES_SUFFIX,
    integer_field,
    parse_object,
    read_lines,
    shown,
    string_field,
)
from shared.errors import CorpusError

UNKNOWN_MODULE = "module is not in the corpus"
NOTHING_RELEVANT = "no relevant premise is accessible"


@dataclass(frozen=True, slots=True, eq=False)
class AccessiblePremises:
    """What a request says of a query's place."""

    imported_modules: NDArray[np.int64]
    """Positions in the sorted modules, ascending."""
    local_premises: NDArray[np.int64]
    """Positions in the names before the filters, ascending: the module's own premises on earlier lines."""
    count: int
    """Premises that are accessible, after the filters."""

    @property
    def key(self) -> bytes:
        """Equal for equal sets."""
        return self.imported_modules.tobytes() + b"|" + self.local_premises.tobytes()


@dataclass(frozen=True, slots=True)
class PlacedQuery:
    """A query with what its proof may use."""

    query: EvaluationQuery
    accessible: AccessiblePremises
    relevant: frozenset[str]
    """The query's relevant premises that are accessible; never empty."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A query that cannot be evaluated."""

    query: EvaluationQuery
    why: str
    refused: bool = False
    """Whether the server would not rank it."""


@dataclass(frozen=True, eq=False)
class PlacedCorpus:
    """A corpus with the lines of its declarations and the imports of its modules."""

    folder: Path
    corpus: Corpus
    imports: ModuleImports

    @classmethod
    def read(cls, folder: Path, source: Path, corpus: Corpus) -> Self:
        """`folder` has the declarations, `source` (a folder or an archive) the imports of `corpus`."""
        return cls(folder, corpus, ModuleImports.read(source, corpus.modules))

    def place(self, query: EvaluationQuery) -> PlacedQuery | LeftOut:
        """Find what the query may use; raises `CorpusError` where the corpus does not say."""
        module = self._modules.get(query.module)
        if module is None:
            return LeftOut(query, UNKNOWN_MODULE)
        if not self.imports.knows(module):
            raise CorpusError(f"The corpus does not say what {query.module} imports: extract its imports again.")
        imported = self.imports.transitive(module)
        local = self._earlier(query)
        relevant = frozenset(name for name in query.relevant if self._is_accessible(name, query, imported, local))
        if not relevant:
            return LeftOut(query, NOTHING_RELEVANT)
        count = int(self._premises_of_module[imported].sum()) + len(local)
        positions = np.array(sorted(local.values()), np.int64)
        return PlacedQuery(query, AccessiblePremises(np.flatnonzero(imported), positions, count), relevant)

    def _is_accessible(
        self, name: str, query: EvaluationQuery, imported: NDArray[np.bool_], local: Mapping[str, int]
    ) -> bool:
        if name == query.decl_name:
            return False
        module = self._module_of_premise.get(name)
        return name in local or (module is not None and bool(imported[module]))

    def _earlier(self, query: EvaluationQuery) -> dict[str, int]:
        """Names and positions of the module's own premises that begin on earlier lines."""
        module = self._modules[query.module]
        return {
            name: self._position[name]
            for name, line in _declared(self.folder / DECLARATIONS_FOLDER / f"{query.module}{LINES_SUFFIX}")
            if line < query.line and name != query.decl_name and self._module_of_premise.get(name) == module
        }

    @cached_property
    def _modules(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.corpus.modules)}

    @cached_property
    def _position(self) -> dict[str, int]:
        """A position of each name before the filters; any that has the name means the same premise."""
        return {name: position for position, name in enumerate(self.corpus.unfiltered_names)}

    @cached_property
    def _module_of_premise(self) -> dict[str, int]:
        return {premise.name: self._modules[premise.module] for premise in self.corpus.premises}

    @cached_property
    def _premises_of_module(self) -> NDArray[np.int64]:
        """Premises of each module after the filters, shape (modules,)."""
        modules = list(self._module_of_premise.values())
        return np.bincount(modules, minlength=len(self.corpus.modules))


def _declared(path: Path) -> Iterator[tuple[str, int]]:
    """Name and line of each declaration of a module's file; a module without a file declares nothing."""
    for number, line in enumerate(read_lines(path) if path.exists() else [], start=1):
        try:
            fields = parse_object(line)
            yield string_field(fields, "name"), integer_field(fields, "line")
        except ValueError as error:
            raise CorpusError(
                f"{shown(path)}, line {number}: {error}. Which premises come earlier follows from the lines of the "
                "declarations: mend the line or extract the corpus again."
            ) from error
