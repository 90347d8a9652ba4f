"""How the server that this one replaces selects and searches: sets of names, a selector of listed ids, a flat index."""

from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np
from pydantic import BaseModel

from tests.benchmarks.synthetic_corpus import NamedRows, Vectors


class ListedRequest(BaseModel):
    """A request with lists as pydantic reads them."""

    state: str
    imported_modules: list[str | int] | None = None
    local_premises: list[str | int] | None = None
    k: int


class ReplacedWay:
    """The index lives in this process' memory, as there."""

    def __init__(self, corpus: NamedRows, vectors: Vectors) -> None:
        self._names = corpus.all_names
        self._row_of_name = {name: row for row, name in enumerate(corpus.all_names)}
        self._names_of_module: list[list[str]] = [[] for _ in corpus.modules]
        for name, module in zip(corpus.all_names, corpus.module_of_row.tolist(), strict=True):
            self._names_of_module[module].append(name)
        self.index = faiss.IndexFlatIP(vectors.shape[1])
        self.index.add(vectors)

    def select(self, modules: Sequence[int | str], local: Sequence[int | str]) -> set[str]:
        """Names that may be seen."""
        accessible: set[str] = set()
        for module in modules:
            if isinstance(module, int):
                accessible.update(self._names_of_module[module])
        for premise in local:
            name = self._names[premise] if isinstance(premise, int) else premise
            if name in self._row_of_name:
                accessible.add(name)
        return accessible

    def search(self, query: Vectors, accessible: set[str], k: int) -> list[dict[str, Any]]:
        """The best of them for a query of shape (dimension,)."""
        parameters = faiss.SearchParameters()
        parameters.sel = faiss.IDSelectorArray(np.array([self._row_of_name[name] for name in accessible]))
        (scores,), (rows,) = self.index.search(query[np.newaxis], k, params=parameters)
        return [
            {"score": score.item(), "name": self._names[row]}
            for score, row in zip(scores, rows, strict=True)
            if row >= 0
        ]
