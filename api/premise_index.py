"""Exact search of the corpus vectors: what an exhaustive float32 inner product over the visible rows gives.

Two stages.  The first bounds every visible row's score from above, from a quarter of the bytes (`api/score_bounds.py`),
and the rows with the best bounds are scored exactly by FAISS.  Let t be the exact score at the last wanted place: a row
whose bound is below t cannot be among the answers.  If such a row was not scored, the search widens to all rows whose
bound reaches t, which is complete by construction, and counts that.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from api.accessibility import Selection
from api.quantized_rows import QuantizedRows
from api.scan_trial import try_scan
from api.score_bounds import ScoreBounds
from api.search_metrics import SearchMetrics
from api.shared_scan import MOST_QUERIES, SharedScan
from shared.errors import CorpusError, NotReadyError

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

DIRECT_ROWS = 1024
"""So few visible rows are scored exactly in the time that a first stage takes."""
FIRST_CANDIDATES_FACTOR = 2
FIRST_CANDIDATES_MORE = 32
GROUPS_OF_A_CANDIDATE = 8
SPARSE_SHARE = 0.25
NUMBERS_IN_A_PAGE = 1024
TOUCHED_NUMBERS = 4 * 1024 * 1024

log = logging.getLogger("api")


class Hits(NamedTuple):
    """The best rows for one query, best first; equal scores in row order."""

    scores: NDArray[np.float32]
    """Shape (m,)."""
    rows: NDArray[np.int64]
    """Shape (m,)."""


NO_HITS = Hits(np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class PremiseIndex:
    """The corpus vectors, as a flat FAISS index and in 8 bits, both in memory-mapped files that replicas share.

    Thread-safe: the interpreter's lock is released while vectors are read, and searches that come at the same time
    share the first stage's pass.
    """

    flat: faiss.IndexFlatIP
    scan: SharedScan | None = None
    """The first stage; None: every search is exhaustive."""
    metrics: SearchMetrics | None = None

    @classmethod
    def open(
        cls, path: Path, *, threads: int = 1, metrics: SearchMetrics | None = None, most_queries: int = MOST_QUERIES
    ) -> Self:
        """Map an index file and the 8-bit rows beside it.

        `threads` share one pass over the rows.  Where this machine scans 8-bit rows no faster than floats the first
        stage is left out, with a line in the log.  Raises `CorpusError` for a file that is missing, cut short, or of
        another kind.
        """
        flat = _open_flat(path)
        rows = QuantizedRows.open(path.parent, int(flat.ntotal), int(flat.d))
        scan = try_scan(rows, flat, threads) if flat.ntotal > DIRECT_ROWS else None
        if scan is None:
            return cls(flat, None, metrics)
        observe = metrics.scanned if metrics else lambda _: None
        return cls(flat, SharedScan(scan, most_queries=most_queries, observe=observe), metrics)

    def touch(self) -> None:
        """Read a byte of every page, so that later searches find all of them in memory and mapped.

        Without it each search pays for the rows that it is the first to score: a fault a page, or a read of the disk.
        """
        vectors = faiss.rev_swig_ptr(self.flat.get_xb(), self.rows * self.dimension)
        for start in range(0, len(vectors), TOUCHED_NUMBERS):
            vectors[start : start + TOUCHED_NUMBERS : NUMBERS_IN_A_PAGE].max()

    @property
    def rows(self) -> int:
        """Indexed premises."""
        return int(self.flat.ntotal)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.flat.d)

    def search(self, queries: Vectors, selection: Selection, k: int) -> list[Hits]:
        """The `min(k, selection.count)` best selected rows for each query; `queries` has shape (n, dimension).

        Raises `NotReadyError` for vectors that are not finite, `CorpusError` for a dimension or a selection that does
        not fit the index.
        """
        self._check_vectors(queries)
        if selection.rows != self.rows:
            raise CorpusError(f"The search index has {self.rows} rows, the corpus {selection.rows}; prepare it again.")
        wanted = min(k, selection.count)
        if wanted <= 0:
            return [NO_HITS] * len(queries)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        first_candidates = FIRST_CANDIDATES_FACTOR * wanted + FIRST_CANDIDATES_MORE
        if selection.count <= max(DIRECT_ROWS, first_candidates):
            rows = selection.list_rows()
            return [_best(score_rows(self.flat, query, rows), rows, wanted) for query in queries]
        if self.scan is None:
            return [self._search_exhaustively(query, selection, wanted) for query in queries]
        hits = []
        for start in range(0, len(queries), MOST_QUERIES):  # bounds are as many as rows: not of all queries at once
            some = queries[start : start + MOST_QUERIES]
            for query, bounds in zip(some, self.scan.bounds(some, selection), strict=True):
                hits.append(self._search_in_stages(query, bounds, selection, wanted, first_candidates))
        return hits

    def score(self, queries: Vectors, vectors: Vectors) -> NDArray[np.float32]:
        """Inner products, shape (n, m), computed as the index does: a vector that it holds gets the same score."""
        self._check_vectors(queries)
        self._check_vectors(vectors)
        scores = np.empty((len(queries), len(vectors)), dtype=np.float32)
        if scores.size:
            index = faiss.IndexFlatIP(self.dimension)
            index.add(np.ascontiguousarray(vectors, dtype=np.float32))
            rows = np.arange(len(vectors))
            for row, query in zip(scores, np.ascontiguousarray(queries, dtype=np.float32), strict=True):
                row[:] = score_rows(index, query, rows)
        return scores

    def _search_exhaustively(self, query: Vectors, selection: Selection, wanted: int) -> Hits:
        """One place more than wanted is searched, to see whether a tie crosses the end; if so, until its end."""
        selector = faiss.IDSelectorBitmap(selection.packed.size, faiss.swig_ptr(selection.packed))
        searched = min(wanted + 1, selection.count)
        scores, rows = _search_flat(self.flat, query, selector, searched)
        while searched < selection.count and scores[wanted - 1] == scores[-1]:
            searched = min(2 * searched, selection.count)
            scores, rows = _search_flat(self.flat, query, selector, searched)
        found = rows[rows >= 0]  # -1: fewer were found, which damaged vectors can cause
        return _best(score_rows(self.flat, query, found), found, wanted)

    def _search_in_stages(
        self, query: Vectors, bounds: ScoreBounds, selection: Selection, wanted: int, first_candidates: int
    ) -> Hits:
        visible, values = _visible(bounds, selection)
        last = _value_of_first(values, first_candidates)
        rows = _rows_at(visible, values >= last)
        scores = score_rows(self.flat, query, rows)
        threshold = bounds.reaching(_last_wanted(scores, wanted))
        if not np.isfinite([last, threshold]).all():  # so many damaged vectors that bounds say nothing
            return self._search_exhaustively(query, selection, wanted)
        widened = threshold <= last
        if widened:
            more = _rows_at(visible, (values >= threshold) & (values < last))
            rows, scores = np.concatenate([rows, more]), np.concatenate([scores, score_rows(self.flat, query, more)])
        if self.metrics:
            self.metrics.searched(len(rows), widened=widened)
        return _best(scores, rows, wanted)

    def _check_vectors(self, vectors: Vectors) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise CorpusError(
                f"The search index holds vectors of {self.dimension} numbers, the model's have another length; "
                "prepare the corpus with the model that serves it."
            )
        if not np.isfinite(vectors).all():
            raise NotReadyError("The model gave a vector with values that are not numbers; check the worker's DTYPE.")


def score_rows(index: faiss.IndexFlatIP, query: Vectors, rows: Rows) -> NDArray[np.float32]:
    """Exact inner products of a query, shape (dimension,), with some rows, shape (len(rows),), by FAISS."""
    scores = np.empty(len(rows), dtype=np.float32)
    if len(rows):
        faiss.omp_set_num_threads(1)  # the setting belongs to the calling thread
        pointer = faiss.swig_ptr
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        raw: Any = index  # its type hints leave this method out
        raw.compute_distance_subset(1, pointer(query), len(rows), pointer(scores), pointer(rows))
    return scores


def _open_flat(path: Path) -> faiss.IndexFlatIP:
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise CorpusError(
            f"The search index {path} is missing or damaged; remove its folder and prepare the corpus again."
        ) from error
    if not isinstance(index, faiss.IndexFlatIP):
        raise CorpusError(f"{path} is no flat inner-product index; remove its folder and prepare the corpus again.")
    return index


def _visible(bounds: ScoreBounds, selection: Selection) -> tuple[Rows | None, Vectors]:
    """The selected rows and their values, or None and the values of all rows, -inf where not selected."""
    if bounds.rows is not None:
        return bounds.rows, bounds.values
    if selection.count < SPARSE_SHARE * selection.rows:
        rows = selection.list_rows()
        return rows, bounds.values[rows]
    return None, np.where(selection.mask, bounds.values, np.float32(-np.inf))


def _value_of_first(values: Vectors, count: int) -> float:
    """A value that at least `count` of the values, and hardly more, reach.

    It is found among the largest of each group of values, which are few: to select among all would take ten times as
    long as to find these.
    """
    groups = min(len(values), GROUPS_OF_A_CANDIDATE * count)
    members = len(values) // groups
    largest = values[: members * groups].reshape(members, groups).max(axis=0)
    return float(np.partition(largest, groups - count)[groups - count])


def _rows_at(visible: Rows | None, chosen: NDArray[np.bool_]) -> Rows:
    positions = np.flatnonzero(chosen)
    return positions if visible is None else visible[positions]


def _last_wanted(scores: NDArray[np.float32], wanted: int) -> float:
    """The score at the last wanted place; -inf where damaged vectors leave fewer scores."""
    sound = scores[~np.isnan(scores)]
    return float(np.partition(sound, len(sound) - wanted)[len(sound) - wanted]) if len(sound) >= wanted else -np.inf


def _best(scores: NDArray[np.float32], rows: Rows, wanted: int) -> Hits:
    sound = ~np.isnan(scores)
    scores, rows = scores[sound], rows[sound]
    order = np.lexsort((rows, -scores))[:wanted]
    return Hits(scores[order], rows[order])


def _search_flat(
    index: faiss.Index, query: Vectors, selector: faiss.IDSelector, k: int
) -> tuple[NDArray[np.float32], Rows]:
    faiss.omp_set_num_threads(1)  # the setting belongs to the calling thread
    parameters = faiss.SearchParameters()
    parameters.sel = selector
    scores, rows = index.search(np.ascontiguousarray(query[np.newaxis], dtype=np.float32), k, params=parameters)
    return scores[0], rows[0]
