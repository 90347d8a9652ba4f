"""Which row of the corpus has which terms: postings in memory-mapped files that the replicas of a host share.

Scores are those of BM25 (Robertson and Zaragoza, 2009) with Lucene's weights of rare terms.  What a term adds to a
row's score is computed when the corpus is prepared, so that a search only sums.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from api.mapped_file import map_array
from api.name_table import TABLE_FILES, NameTable, write_names

TABLE = "term"
STARTS_FILE = "term-posting-starts.npy"
ROWS_FILE = "term-posting-rows.npy"
ADDENDS_FILE = "term-posting-addends.npy"
LENGTHS_FILE = "term-row-lengths.npy"

LEXICAL_FILES = frozenset({
    *(name.format(TABLE) for name in TABLE_FILES), STARTS_FILE, ROWS_FILE, ADDENDS_FILE, LENGTHS_FILE,
})  # fmt: skip
"""All files of the index in a snapshot."""

SATURATION = 1.2
"""BM25's k1: how soon repeats of a term cease to count."""
LENGTH_SHARE = 0.75
"""BM25's b: how much a long statement is held against a row."""

Scores = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TermIndex:
    """Postings of a corpus; a term is a position in its vocabulary."""

    vocabulary: NameTable
    starts: NDArray[np.int64]
    """Where each term's postings begin, shape (terms + 1,)."""
    posting_rows: NDArray[np.int32]
    """Shape (postings,); in row order within a term."""
    addends: Scores
    """What the posting's term adds to its row's score, shape (postings,)."""
    lengths: NDArray[np.int32]
    """Terms of each row, repeats counted, shape (rows,)."""
    mean_length: float

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the index that `write_term_index` left in a folder."""
        lengths = map_array(folder / LENGTHS_FILE, np.int32)
        return cls(
            vocabulary=NameTable.open(folder, TABLE),
            starts=map_array(folder / STARTS_FILE, np.int64),
            posting_rows=map_array(folder / ROWS_FILE, np.int32),
            addends=map_array(folder / ADDENDS_FILE, np.float32),
            lengths=lengths,
            mean_length=float(lengths.mean()),
        )

    def find_terms(self, words: Iterable[str]) -> NDArray[np.int32]:
        """Those of the words that the corpus knows, as terms, each once."""
        found = self.vocabulary.find_rows(list(dict.fromkeys(words)))
        return found[found >= 0]

    def score_rows(self, terms: NDArray[np.int32]) -> Scores:
        """Score of every row for distinct terms, shape (rows,)."""
        scores = np.zeros(len(self.lengths), dtype=np.float32)
        for start, end in zip(self.starts[terms].tolist(), self.starts[terms + 1].tolist(), strict=True):
            scores[self.posting_rows[start:end]] += self.addends[start:end]
        return scores

    def score_texts(self, terms: NDArray[np.int32], texts: Sequence[Sequence[str]]) -> Scores:
        """Score of texts given by their words, shape (len(texts),): what a row with the same words would have."""
        wanted = dict(zip(terms.tolist(), self._rarity(terms).tolist(), strict=True))
        scores = np.zeros(len(texts), dtype=np.float32)
        for place, words in enumerate(texts):
            counts = Counter(words)
            known = zip(self.vocabulary.find_rows(list(counts)).tolist(), counts.values(), strict=True)
            shared = [(wanted[term], count) for term, count in known if term in wanted]
            if shared:
                rarity, repeats = np.array(shared, dtype=np.float32).T
                length = np.full(len(shared), len(words))
                scores[place] = addends_of(rarity, repeats, length, self.mean_length).sum()
        return scores

    def _rarity(self, terms: NDArray[np.int32]) -> Scores:
        return rarity_of(self.starts[terms + 1] - self.starts[terms], len(self.lengths))


def rarity_of(rows_with_term: NDArray[np.int64], rows: int) -> Scores:
    """Weight of terms by the number of rows that have them."""
    weights: Scores = np.log1p((rows - rows_with_term + 0.5) / (rows_with_term + 0.5)).astype(np.float32)
    return weights


def addends_of(rarity: Scores, repeats: Scores, lengths: NDArray[np.integer], mean_length: float) -> Scores:
    """What terms add to the scores of rows in which they occur that often, for rows of those lengths."""
    scale = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * lengths.astype(np.float32) / np.float32(mean_length))
    result: Scores = (rarity * repeats / (repeats + scale)).astype(np.float32)
    return result


def write_term_index(folder: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write the index of at least one row, each given by its words."""
    places: dict[str, int] = {}
    lengths, row_of, term_of, repeats = [], [], [], []
    for row, words in enumerate(rows):
        counts = Counter(words)
        lengths.append(len(words))
        row_of.append(np.full(len(counts), row, dtype=np.int32))
        term_of.append(np.array([places.setdefault(word, len(places)) for word in counts], dtype=np.int32))
        repeats.append(np.fromiter(counts.values(), np.float32, len(counts)))
    _write(
        folder,
        list(places) or [""],
        np.array(lengths, dtype=np.int32),
        np.concatenate(row_of),
        np.concatenate(term_of),
        np.concatenate(repeats),
    )


def _write(
    folder: Path,
    words: Sequence[str],
    lengths: NDArray[np.int32],
    row_of: NDArray[np.int32],
    term_of: NDArray[np.int32],
    repeats: Scores,
) -> None:
    order = np.argsort(term_of, kind="stable")
    row_of, term_of, repeats = row_of[order], term_of[order], repeats[order]
    rows_with_term = np.bincount(term_of, minlength=len(words))
    rarity = rarity_of(rows_with_term, len(lengths))[term_of]
    write_names(folder, words, TABLE)
    np.save(folder / STARTS_FILE, np.concatenate([[0], np.cumsum(rows_with_term)]).astype(np.int64))
    np.save(folder / ROWS_FILE, row_of)
    np.save(folder / ADDENDS_FILE, addends_of(rarity, repeats, lengths[row_of], float(lengths.mean())))
    np.save(folder / LENGTHS_FILE, lengths)
