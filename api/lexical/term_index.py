"""The lexical index of a corpus: which row has which terms, in memory-mapped files that the replicas of a host share.

A term is an identifier that may be a constant, or a word of identifiers and names.  Postings lead from terms to rows
and find candidates; the rows' fields lead from a candidate to its terms.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from api.lexical.bm25 import Scores, addends_of, rarity_of
from api.lexical.identifiers import list_namespaces, split_words
from api.lexical.symbols import Symbols
from api.lexical.term_files import (
    ADDENDS_FILE,
    CONCLUSION,
    FIELD_STARTS_FILE,
    FIELD_TERMS_FILE,
    FIELDS,
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
from api.mapped_file import map_array
from api.name_table import NameTable

Terms = NDArray[np.int32]
Rows = NDArray[np.integer]

BATCH_CHARACTERS = 262_144
"""Of identifiers; a list of 2,048 ordinary new premises has about as many."""
NO_TERMS: Terms = np.empty(0, dtype=np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class TextTerms:
    """The known terms of a goal or of a new premise."""

    fields: tuple[Terms, Terms, Terms]
    """Conclusion, context less the conclusion, words of the name; each term once, in the text's order."""
    counted: Terms
    """All terms that BM25 counts, each once."""
    repeats: Scores
    """How often, shape (len(counted),)."""
    length: int
    """Terms that BM25 counts, unknown ones and repeats too."""
    namespace: int
    """Term of the name's own namespace, or NO_TERM."""
    conclusion_words: Terms
    """Words of the constants of the conclusion."""
    conclusion_namespaces: Terms
    """Those constants, and the namespaces that they are in."""
    namespaces: Terms
    """The same of all constants."""

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """All of them."""
        words, spaces = self.conclusion_words, (self.conclusion_namespaces, self.namespaces)
        return (*self.fields, self.counted, self.repeats, words, *spaces)

    def nth(self, place: int) -> int:
        """A term of the conclusion, NO_TERM beyond its end."""
        conclusion = self.fields[CONCLUSION]
        return int(conclusion[place]) if place < len(conclusion) else NO_TERM


@dataclass(frozen=True, slots=True, eq=False)
class CountedTexts:
    """What BM25 counts of several texts, behind one another."""

    terms: Terms
    owners: Terms
    """Place of the text that has the term, shape (len(terms),)."""
    repeats: Scores
    lengths: Terms
    """Length of the term's text, shape (len(terms),)."""
    count: int
    """Texts."""

    @classmethod
    def of(cls, texts: Sequence[TextTerms]) -> Self:
        """Join texts."""
        sizes = [len(text.counted) for text in texts]
        return cls(
            terms=np.concatenate([NO_TERMS, *(text.counted for text in texts)]),
            owners=np.repeat(np.arange(len(texts), dtype=np.int32), sizes),
            repeats=np.concatenate([np.empty(0, dtype=np.float32), *(text.repeats for text in texts)]),
            lengths=np.repeat(_as_terms([text.length for text in texts]), sizes),
            count=len(texts),
        )

    @property
    def size_bytes(self) -> int:
        """Of the arrays."""
        return self.terms.nbytes + self.owners.nbytes + self.repeats.nbytes + self.lengths.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class FieldTerms:
    """Terms of one field of several candidates."""

    terms: Terms
    owners: NDArray[np.intp]
    """Place of the candidate that has the term, shape (len(terms),)."""


@dataclass(frozen=True, eq=False)
class TermIndex:
    """Postings and fields of a corpus; a term is a position in its vocabulary."""

    vocabulary: NameTable
    posting_starts: NDArray[np.int64]
    """Where each term's postings begin, shape (terms + 1,); common terms have none."""
    posting_rows: Terms
    addends: Scores
    """What the posting's term adds to its row's score, shape (postings,)."""
    rows_with_term: Terms
    lengths: Terms
    field_starts: NDArray[np.int64]
    """Shape (FIELDS * rows + 1,)."""
    field_terms: Terms
    heads: Terms
    """First term of each row's conclusion, or NO_TERM."""
    seconds: Terms
    """Second one."""
    namespaces: Terms
    """Term of the namespace of each row's name."""
    mentions: Terms
    """How many rows mention each row's name."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the index that `write_term_index` left in a folder."""
        return cls(
            vocabulary=NameTable.open(folder, TABLE),
            posting_starts=map_array(folder / POSTING_STARTS_FILE, np.int64),
            posting_rows=map_array(folder / POSTING_ROWS_FILE, np.int32),
            addends=map_array(folder / ADDENDS_FILE, np.float32),
            rows_with_term=map_array(folder / ROWS_WITH_TERM_FILE, np.int32),
            lengths=map_array(folder / LENGTHS_FILE, np.int32),
            field_starts=map_array(folder / FIELD_STARTS_FILE, np.int64),
            field_terms=map_array(folder / FIELD_TERMS_FILE, np.int32),
            heads=map_array(folder / HEADS_FILE, np.int32),
            seconds=map_array(folder / SECONDS_FILE, np.int32),
            namespaces=map_array(folder / NAMESPACES_FILE, np.int32),
            mentions=map_array(folder / MENTIONS_FILE, np.int32),
        )

    def touch(self) -> None:
        """Read the files once, so that no request waits for the disk."""
        for array in vars(self).values():
            if isinstance(array, np.ndarray):
                array.max(initial=0)

    @property
    def rows(self) -> int:
        """Rows of the corpus."""
        return len(self.lengths)

    @property
    def terms(self) -> int:
        """Size of the vocabulary."""
        return len(self.rows_with_term)

    @cached_property
    def mean_length(self) -> float:
        """Of the rows, in terms."""
        return float(self.lengths.mean())

    @cached_property
    def rarity(self) -> Scores:
        """Weight of each term, shape (terms,)."""
        return rarity_of(self.rows_with_term, self.rows)

    @cached_property
    def _searched_rarity(self) -> Scores:
        """The same, 0 for terms without postings."""
        return np.where(np.diff(self.posting_starts) > 0, self.rarity, np.float32(0))

    def read_texts(self, texts: Iterable[Symbols]) -> list[TextTerms]:
        """The known terms of texts, by one look-up for many: some of the texts at a time are in memory."""
        return [terms for batch in _batches(texts) for terms in self._read_batch(batch)]

    def _read_batch(self, texts: Sequence[Symbols]) -> list[TextTerms]:
        identifiers = {name for text in texts for name in chain(text.conclusion, text.context)}
        words = {name: [f"{WORD_MARK}{word}" for word in split_words(name)] for name in identifiers}
        words |= {text.name: [f"{WORD_MARK}{word}" for word in split_words(text.name)] for text in texts}
        names = {*identifiers, *(text.name for text in texts)}
        spaces = {name: [*list_namespaces(name)] for name in names}
        wanted = list({*identifiers, *chain.from_iterable((*words.values(), *spaces.values()))})
        known = dict(zip(wanted, self.vocabulary.find_rows(wanted).tolist(), strict=True))
        return [_read_text(text, known, words, spaces) for text in texts]

    def score_rows(self, counted: Terms) -> Scores:
        """BM25 of every row for distinct terms, shape (rows,)."""
        scores = np.zeros(self.rows, dtype=np.float32)
        starts, ends = self.posting_starts[counted].tolist(), self.posting_starts[counted + 1].tolist()
        for start, end in zip(starts, ends, strict=True):
            scores[self.posting_rows[start:end]] += self.addends[start:end]
        return scores

    def score_texts(self, counted: Terms, texts: CountedTexts) -> Scores:
        """BM25 of texts, shape (texts.count,): what rows with the same terms would have."""
        weights = np.zeros(self.terms, dtype=np.float32)
        weights[counted] = self._searched_rarity[counted]
        shared = np.flatnonzero(weights[texts.terms])
        rarity = weights[texts.terms[shared]]
        addends = addends_of(rarity, texts.repeats[shared], texts.lengths[shared], self.mean_length)
        return np.bincount(texts.owners[shared], addends, texts.count).astype(np.float32)

    def field(self, rows: Rows, field: int) -> FieldTerms:
        """The terms of one field of rows."""
        starts = self.field_starts[rows * FIELDS + field]
        lengths = self.field_starts[rows * FIELDS + field + 1] - starts
        owners = np.repeat(np.arange(len(rows)), lengths)
        before = np.cumsum(lengths) - lengths
        return FieldTerms(self.field_terms[np.arange(len(owners)) + (starts - before)[owners]], owners)


def _batches(texts: Iterable[Symbols]) -> Iterator[list[Symbols]]:
    batch: list[Symbols] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += sum(map(len, chain(text.conclusion, text.context)))
        if characters > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _read_text(
    text: Symbols, known: dict[str, int], words: dict[str, list[str]], spaces: dict[str, list[str]]
) -> TextTerms:
    constants = [name for name in chain(text.conclusion, text.context) if "." in name or known[name] >= 0]
    counts = Counter(constants)
    counts.update(list(dict.fromkeys(word for name in constants for word in words[name])))  # in order: sums repeat
    counts.update(words[text.name])
    found = [(known[name], count) for name, count in counts.items() if known[name] >= 0]
    concluded = _distinct(text.conclusion, known)
    in_conclusion = set(concluded)
    assumed = [term for term in _distinct(text.context, known) if term not in in_conclusion]
    fields = (_as_terms(concluded), _as_terms(assumed), _as_terms(_distinct(words[text.name], known)))
    return TextTerms(
        fields=fields,
        counted=_as_terms([term for term, _ in found]),
        repeats=np.array([count for _, count in found], dtype=np.float32),
        length=counts.total(),
        namespace=known[spaces[text.name][0]] if spaces[text.name] else NO_TERM,
        conclusion_words=_as_terms(_distinct(chain.from_iterable(map(words.__getitem__, text.conclusion)), known)),
        conclusion_namespaces=_as_terms(_distinct(_with_spaces(text.conclusion, spaces), known)),
        namespaces=_as_terms(_distinct(_with_spaces(constants, spaces), known)),
    )


def _with_spaces(names: Iterable[str], spaces: dict[str, list[str]]) -> Iterator[str]:
    for name in names:
        yield name
        yield from spaces[name]


def _distinct(names: Iterable[str], known: dict[str, int]) -> list[int]:
    return list(dict.fromkeys(known[name] for name in names if known[name] != NO_TERM))


def _as_terms(terms: Sequence[int]) -> Terms:
    return np.array(terms, dtype=np.int32)
