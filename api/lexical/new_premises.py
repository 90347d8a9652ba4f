"""Reads the new premises of requests; what a client sends again and again is read once."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from api.lexical.lexical_stage import NewPremises
from api.lexical.symbols import declaration_symbols, declares_theorem
from api.lexical.term_index import CountedTexts, TermIndex, TextTerms
from api.lexical.use_counts import UseCounts
from api.schemas import NewPremise

REMEMBERED_PREMISES = 8192
"""Some 2 kB each: a list of which a part has changed is read in that part."""
REMEMBERED_LISTS = 16
"""Up to 2 MB each."""

Key = tuple[str, str]
"""Name and declaration."""


class NewPremiseReader:
    """Reads new premises against one corpus; thread-safe."""

    def __init__(
        self, index: TermIndex, uses: UseCounts, find_rows: Callable[[Sequence[str]], NDArray[np.int32]]
    ) -> None:
        self._index = index
        self._uses = uses
        self._find_rows = find_rows
        self._premises: LRUCache[Key, TextTerms] = LRUCache(REMEMBERED_PREMISES)
        self._lists: LRUCache[tuple[Key, ...], NewPremises] = LRUCache(REMEMBERED_LISTS)
        self._lock = threading.Lock()

    def read(self, premises: Sequence[NewPremise]) -> NewPremises:
        """What the ranking looks at; one of an indexed premise's name is used as often as that."""
        if not premises:
            return NewPremises.none()
        keys = tuple((premise.name, premise.decl) for premise in premises)
        with self._lock:
            known = self._lists.get(keys)
        if known is None:
            known = self._read_list(keys)
            with self._lock:
                self._lists[keys] = known
        return known

    def _read_list(self, keys: Sequence[Key]) -> NewPremises:
        terms = self._read_terms(keys)
        rows = self._find_rows([name for name, _ in keys])
        indexed = rows >= 0
        return NewPremises(
            terms=terms,
            counted=CountedTexts.of(terms),
            is_theorem=np.array([declares_theorem(decl) for _, decl in keys]),
            uses=np.where(indexed, self._uses.by_row[rows], np.float32(0)),
            mentions=np.where(indexed, self._index.mentions[rows], 0).astype(np.int32),
        )

    def _read_terms(self, keys: Sequence[Key]) -> list[TextTerms]:
        with self._lock:
            known = {key: terms for key in keys if (terms := self._premises.get(key)) is not None}
        unknown = [key for key in dict.fromkeys(keys) if key not in known]
        if unknown:
            read = self._index.read_texts([declaration_symbols(name, decl) for name, decl in unknown])
            fresh = dict(zip(unknown, read, strict=True))
            with self._lock:
                self._premises.update(fresh)
            known |= fresh
        return [known[key] for key in keys]
