"""Whether searches in two stages give what an exhaustive search gives, and how often they had to widen."""

from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np

from api.accessibility import Selection
from api.metrics import Metrics
from api.premise_index import PremiseIndex, score_rows
from api.quantized_rows import write_quantized
from api.service import available_cores
from tests.benchmarks.comparison import Comparison
from tests.benchmarks.synthetic_corpus import Vectors, queries_near

SHARES, PLACES = (0.95, 0.5, 0.05), (32, 1024)
NEAR_TIE = 4e-6
BLOCK_ROWS = 16_384
BLOCK_QUERIES = 250
QUERIES = 1000


def check_exactness(
    index: PremiseIndex, vectors: Vectors, queries: Vectors, metrics: Metrics, name: str
) -> Iterator[Comparison]:
    """Search every query, with one of the shares visible, at every k; compare with the product of rows and queries."""
    selections = [_random_selection(len(vectors), share) for share in SHARES]
    before = _widened(metrics)
    searches = wrong = 0
    for start in range(0, len(queries), BLOCK_QUERIES):
        some = queries[start : start + BLOCK_QUERIES]
        products = _all_products(vectors, some)
        for number, query in enumerate(some):
            selection = selections[(start + number) % len(selections)]
            for k in PLACES:
                searches += 1
                wrong += _differs(index, query, products[number], selection, k)
    widened = _widened(metrics) - before
    yield Comparison(
        section="Exactness", what=f"{name}, {searches} searches: answers that differ", ours=wrong, unit="", target=0
    )
    yield Comparison(section="Exactness", what=f"{name}: searches that widened", ours=widened, unit="")


def check_file(vectors: Vectors, folder: Path) -> Iterator[Comparison]:
    """The same for the vectors of a corpus that a model embedded, searched with queries near its rows."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    faiss.write_index(index, str(folder / "vectors.faiss"))
    write_quantized(folder, vectors)
    metrics = Metrics()
    opened = PremiseIndex.open(folder / "vectors.faiss", threads=available_cores(), metrics=metrics.search)
    name = f"{len(vectors):,} real vectors of {vectors.shape[1]} numbers"
    yield from check_exactness(opened, np.asarray(vectors), queries_near(np.asarray(vectors), QUERIES), metrics, name)


def _widened(metrics: Metrics) -> float:
    lines = metrics.text().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("premises_search_widened_total "))


def _random_selection(rows: int, share: float) -> Selection:
    return Selection.of(np.random.default_rng(int(100 * share)).random(rows) < share)


def _all_products(vectors: Vectors, queries: Vectors) -> Vectors:
    products = np.empty((len(queries), len(vectors)), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK_ROWS):
        products[:, start : start + BLOCK_ROWS] = queries @ vectors[start : start + BLOCK_ROWS].T
    return products


def _differs(index: PremiseIndex, query: Vectors, products: Vectors, selection: Selection, k: int) -> bool:
    """Rows may be exchanged only for others whose scores are as near as rounding to the last place's."""
    wanted = min(k, selection.count)
    (hits,) = index.search(query[np.newaxis], selection, k)
    visible = np.where(selection.mask, products, -np.inf)
    last = np.partition(visible, len(visible) - wanted)[len(visible) - wanted]
    must, may = np.flatnonzero(visible > last + NEAR_TIE), np.flatnonzero(visible >= last - NEAR_TIE)
    complete = len(hits.rows) == wanted == len(np.unique(hits.rows))
    scored = np.array_equal(hits.scores, score_rows(index.flat, query, hits.rows))
    return not (complete and scored and np.isin(must, hits.rows).all() and np.isin(hits.rows, may).all())
