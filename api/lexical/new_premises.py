"""Reads the new premises of requests; what a client sends again and again is read once."""

import sys
import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from api.lexical.byte_bounded import ByteBounded
from api.lexical.lexical_stage import NewPremises
from api.lexical.symbols import declaration_symbols, declares_theorem
from api.lexical.term_index import CountedTexts, TermIndex, TextTerms
from api.lexical.use_counts import UseCounts
from api.schemas import NewPremise

REMEMBERED_PREMISES_BYTES = 32 * 1024 * 1024
"""Some 3 kB each: a list of which a part has changed is read in that part."""
REMEMBERED_LISTS_BYTES = 64 * 1024 * 1024
"""Some 6 MB for a list of 2,048, whether or not its premises are remembered, too."""
ENTRY_BYTES = 512
"""What an entry takes beside its texts and arrays."""

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
        self._premises: ByteBounded[Key, TextTerms] = ByteBounded(REMEMBERED_PREMISES_BYTES)
        self._lists: ByteBounded[tuple[Key, ...], NewPremises] = ByteBounded(REMEMBERED_LISTS_BYTES)
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
            size = sum(map(_size_bytes, keys, known.terms)) + known.counted.size_bytes
            with self._lock:
                self._lists.put(keys, known, size)
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
            read = self._index.read_texts(declaration_symbols(name, decl) for name, decl in unknown)
            fresh = dict(zip(unknown, read, strict=True))
            with self._lock:
                for key, terms in fresh.items():
                    self._premises.put(key, terms, _size_bytes(key, terms))
            known |= fresh
        return [known[key] for key in keys]


def _size_bytes(key: Key, terms: TextTerms) -> int:
    return ENTRY_BYTES + sum(map(sys.getsizeof, (*key, *terms.arrays)))
