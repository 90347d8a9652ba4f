"""Writes the lexical index of a corpus into its snapshot."""

from array import array
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from api.lexical.bm25 import addends_of, rarity_of
from api.lexical.identifiers import list_namespaces, split_words
from api.lexical.symbols import Symbols, statement_symbols
from api.lexical.term_files import (
    ADDENDS_FILE,
    COMMON_SHARE,
    FIELD_STARTS_FILE,
    FIELD_TERMS_FILE,
    HEADS_FILE,
    LENGTHS_FILE,
    MENTIONS_FILE,
    NAMESPACES_FILE,
    NO_TERM,
    POSTING_ROWS_FILE,
    POSTING_STARTS_FILE,
    ROWS_WITH_TERM_FILE,
    SECONDS_FILE,
    TABLE,
    WORD_MARK,
)
from api.name_table import write_names
from shared.corpus import Corpus

Parts = tuple[int, tuple[int, ...]]
"""An identifier as a term (NO_TERM where it can be no constant), and its words as terms."""


def write_term_index(folder: Path, corpus: Corpus) -> None:
    """Write the index of a corpus: `TermIndex.open` maps it."""
    writer = _Writer(corpus.unfiltered_names)
    for premise in corpus.premises:
        writer.add(statement_symbols(premise.name, premise.binders, premise.result_type))
    writer.write(folder, [premise.name for premise in corpus.premises])


class _Writer:
    """Collects rows by and by: all their symbols at once would take several times the memory of the index."""

    def __init__(self, names: Sequence[str]) -> None:
        self._constants = {*names, *chain.from_iterable(map(list_namespaces, names))}
        self._terms = {"": 0}  # the vocabulary of no corpus is empty
        self._parts: dict[str, Parts] = {}
        self._counted = array("i")
        self._repeats = array("i")
        self._lengths = array("i")
        self._posted = array("i")
        self._field_terms = array("i")
        self._field_ends = array("q", [0])
        self._heads = array("i")
        self._seconds = array("i")
        self._namespaces = array("i")

    def add(self, symbols: Symbols) -> None:
        """Add the next row."""
        conclusion = [self._parts_of(identifier) for identifier in symbols.conclusion]
        context = [self._parts_of(identifier) for identifier in symbols.context]
        words = [self._word(word) for word in split_words(symbols.name)]
        self._add_fields(conclusion, context, words)
        counts = Counter(term for term, _ in chain(conclusion, context) if term != NO_TERM)
        counts.update({word for _, parts in chain(conclusion, context) for word in parts})
        counts.update(words)
        self._counted.extend(counts.keys())
        self._repeats.extend(counts.values())
        self._lengths.append(counts.total())
        self._posted.append(len(counts))
        namespace = next(iter(list_namespaces(symbols.name)), None)
        self._namespaces.append(NO_TERM if namespace is None else self._term(namespace))

    def _add_fields(self, conclusion: Sequence[Parts], context: Sequence[Parts], words: Sequence[int]) -> None:
        concluded = list(dict.fromkeys(term for term, _ in conclusion if term != NO_TERM))
        assumed = dict.fromkeys(term for term, _ in context if term != NO_TERM)
        in_conclusion = set(concluded)
        for field in (concluded, [term for term in assumed if term not in in_conclusion], dict.fromkeys(words)):
            self._field_terms.extend(field)
            self._field_ends.append(len(self._field_terms))
        head, second, *_ = [*concluded, NO_TERM, NO_TERM]
        self._heads.append(head)
        self._seconds.append(second)

    def _parts_of(self, identifier: str) -> Parts:
        parts = self._parts.get(identifier)
        if parts is None:
            may_be_constant = "." in identifier or identifier in self._constants
            term = self._term(identifier) if may_be_constant else NO_TERM
            words = tuple(self._word(word) for word in split_words(identifier)) if may_be_constant else ()
            parts = self._parts[identifier] = (term, words)
        return parts

    def _word(self, word: str) -> int:
        return self._term(f"{WORD_MARK}{word}")

    def _term(self, text: str) -> int:
        return self._terms.setdefault(text, len(self._terms))

    def write(self, folder: Path, names: Sequence[str]) -> None:
        """Write all rows."""
        write_names(folder, list(self._terms), TABLE)
        lengths = _as_array(self._lengths)
        mentioned = self._write_postings(folder, lengths)
        own_terms = np.array([self._terms.get(name, NO_TERM) for name in names], dtype=np.int64)
        np.save(folder / MENTIONS_FILE, np.where(own_terms >= 0, mentioned[own_terms], 0).astype(np.int32))
        np.save(folder / LENGTHS_FILE, lengths)
        np.save(folder / FIELD_STARTS_FILE, np.frombuffer(self._field_ends, dtype=np.int64))
        np.save(folder / FIELD_TERMS_FILE, _as_array(self._field_terms))
        np.save(folder / HEADS_FILE, _as_array(self._heads))
        np.save(folder / SECONDS_FILE, _as_array(self._seconds))
        np.save(folder / NAMESPACES_FILE, _as_array(self._namespaces))

    def _write_postings(self, folder: Path, lengths: NDArray[np.int32]) -> NDArray[np.int64]:
        """Returns how many rows have each term."""
        terms, repeats = _as_array(self._counted), _as_array(self._repeats)
        rows = np.repeat(np.arange(len(lengths), dtype=np.int32), _as_array(self._posted))
        rows_with_term = np.bincount(terms, minlength=len(self._terms))
        rare = rows_with_term <= most_rows_of_a_term(len(lengths))
        kept = np.flatnonzero(rare[terms])
        kept = kept[np.argsort(terms[kept], kind="stable")]
        rarity = rarity_of(rows_with_term, len(lengths))[terms[kept]]
        mean_length = float(lengths.mean())
        addends = addends_of(rarity, repeats[kept].astype(np.float32), lengths[rows[kept]], mean_length)
        np.save(folder / POSTING_STARTS_FILE, np.concatenate([[0], np.cumsum(rows_with_term * rare)]).astype(np.int64))
        np.save(folder / POSTING_ROWS_FILE, rows[kept])
        np.save(folder / ADDENDS_FILE, addends)
        np.save(folder / ROWS_WITH_TERM_FILE, rows_with_term.astype(np.int32))
        return rows_with_term


def most_rows_of_a_term(rows: int) -> float:
    """A term in more rows than this has no postings."""
    return max(COMMON_SHARE * rows, 1000)


def _as_array(values: "array[int]") -> NDArray[np.int32]:
    return np.frombuffer(values, dtype=np.int32)
