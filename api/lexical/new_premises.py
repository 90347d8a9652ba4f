"""Reads the new premises of requests; what a client sends again and again is read once."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from api.lexical.lexical_stage import NewPremises
from api.lexical.symbols import declaration_symbols, declares_theorem
from api.lexical.term_index import TermIndex, TextTerms
from api.lexical.use_counts import UseCounts
from api.schemas import NewPremise

REMEMBERED_PREMISES = 8192
"""Some 2 kB each."""


class NewPremiseReader:
    """Thread-safe."""

    def __init__(self, index: TermIndex, find_rows: Callable[[Sequence[str]], NDArray[np.int32]]) -> None:
        self._index = index
        self._find_rows = find_rows
        self._recent: LRUCache[tuple[str, str], TextTerms] = LRUCache(REMEMBERED_PREMISES)
        self._lock = threading.Lock()

    def read(self, premises: Sequence[NewPremise], uses: UseCounts) -> NewPremises:
        """What the ranking looks at; one of an indexed premise's name is used as often as that."""
        if not premises:
            return NewPremises.none()
        rows = self._find_rows([premise.name for premise in premises])
        known = rows >= 0
        return NewPremises(
            terms=self._read_terms(premises),
            is_theorem=np.array([declares_theorem(premise.decl) for premise in premises]),
            uses=np.where(known, uses.by_row[rows], np.float32(0)),
            mentions=np.where(known, self._index.mentions[rows], 0).astype(np.int32),
        )

    def _read_terms(self, premises: Sequence[NewPremise]) -> list[TextTerms]:
        keys = [(premise.name, premise.decl) for premise in premises]
        with self._lock:
            known = {key: terms for key in keys if (terms := self._recent.get(key)) is not None}
        unknown = [key for key in dict.fromkeys(keys) if key not in known]
        if unknown:
            read = self._index.read_texts([declaration_symbols(name, decl) for name, decl in unknown])
            known |= dict(zip(unknown, read, strict=True))
            with self._lock:
                self._recent.update(known)
        return [known[key] for key in keys]
