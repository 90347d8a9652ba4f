"""Exact search of the corpus vectors: an exhaustive float32 inner product over the rows that a caller may see."""

from pathlib import Path
from typing import NamedTuple, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from api.accessibility import Selection
from shared.errors import CorpusError, NotReadyError

Vectors = NDArray[np.float32]


class Hits(NamedTuple):
    """The best rows for one query, best first; equal scores in row order."""

    scores: NDArray[np.float32]
    """Shape (m,)."""
    rows: NDArray[np.int64]
    """Shape (m,)."""


NO_HITS = Hits(np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64))


class PremiseIndex:
    """A flat inner-product index in a memory-mapped file, so that the replicas of a host share one copy.

    Thread-safe: faiss releases the interpreter's lock while it searches, and a search uses one core, so callers that
    want throughput search from several threads.
    """

    def __init__(self, index: faiss.IndexFlatIP) -> None:
        self._index = index

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map an index file; raises `CorpusError` where it is missing, cut short, or of another kind."""
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise CorpusError(
                f"The search index {path} is missing or damaged; remove its folder and prepare the corpus again."
            ) from error
        if not isinstance(index, faiss.IndexFlatIP):
            raise CorpusError(f"{path} is no flat inner-product index; remove its folder and prepare the corpus again.")
        return cls(index)

    @property
    def rows(self) -> int:
        """Indexed premises."""
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

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
        # Every search goes through a bitmap, a full one too: it costs nothing, and equal vectors then score equally.
        selector = faiss.IDSelectorBitmap(selection.packed.size, faiss.swig_ptr(selection.packed))
        return [self._search_one(query, selector, wanted, selection.count) for query in queries]

    def score(self, queries: Vectors, vectors: Vectors) -> NDArray[np.float32]:
        """Inner products, shape (n, m), computed as the index does: a vector that it holds gets the same score."""
        self._check_vectors(queries)
        self._check_vectors(vectors)
        index = faiss.IndexFlatIP(self.dimension)
        index.add(np.ascontiguousarray(vectors))
        scores = np.empty((len(queries), len(vectors)), dtype=np.float32)
        if scores.size:
            for query, row in zip(queries, scores, strict=True):
                found, columns = _search_flat(index, query, faiss.IDSelectorAll(), len(vectors))
                row[columns] = found
        return scores

    def _search_one(self, query: Vectors, selector: faiss.IDSelector, wanted: int, selected: int) -> Hits:
        """One place more than wanted is searched, to see whether a tie crosses the end; if so, until its end."""
        searched = min(wanted + 1, selected)
        scores, rows = _search_flat(self._index, query, selector, searched)
        while searched < selected and scores[wanted - 1] == scores[-1]:
            searched = min(2 * searched, selected)
            scores, rows = _search_flat(self._index, query, selector, searched)
        scores, rows = scores[rows >= 0], rows[rows >= 0]  # -1: fewer were found, which damaged vectors can cause
        order = np.lexsort((rows, -scores))[:wanted]
        return Hits(scores[order], rows[order])

    def _check_vectors(self, vectors: Vectors) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise CorpusError(
                f"The search index holds vectors of {self.dimension} numbers, the model's have another length; "
                "prepare the corpus with the model that serves it."
            )
        if not np.isfinite(vectors).all():
            raise NotReadyError("The model gave a vector with values that are not numbers; check the worker's DTYPE.")


def _search_flat(
    index: faiss.Index, query: Vectors, selector: faiss.IDSelector, k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    faiss.omp_set_num_threads(1)  # the setting belongs to the calling thread
    parameters = faiss.SearchParameters()
    parameters.sel = selector
    scores, rows = index.search(np.ascontiguousarray(query[np.newaxis], dtype=np.float32), k, params=parameters)
    return scores[0], rows[0]
