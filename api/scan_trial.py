"""Tries the 8-bit scan on this machine before it is used: it must compute rightly, and faster than a flat scan."""

import logging
import time
from collections.abc import Callable

import faiss
import numpy as np
from numpy.typing import NDArray

from api.quantized_rows import QuantizedRows
from api.score_bounds import BoundScan

CHECKED_ROWS = 256
TIMED_ROWS = 8192
REPEATS = 3
MEMORY_ROWS = 65_536
"""Of usual dimensions more than the caches hold: how a kernel reads the memory is what tells them apart."""
PAIRWISE_QUERIES = (1, 2, 4)
"""Numbers of queries for which multiplying pair by pair is tried."""

log = logging.getLogger("api")


def try_scan(rows: QuantizedRows, flat: faiss.IndexFlatIP, threads: int) -> BoundScan | None:
    """The scan with the quickest kernels; None where they are wrong here, or no faster than FAISS' flat search."""
    if not all(_bounds_hold(rows, flat, pairwise_queries) for pairwise_queries in (0, 1)):
        log.warning("8-bit scans compute wrongly on this machine: every search is exhaustive")
        return None
    pairwise_queries = _most_pairwise_queries(rows)
    scanning, searching = _seconds_beside_flat(rows, flat, pairwise_queries)
    if scanning >= searching:
        log.info("8-bit scans are no faster than flat ones here (%.2f of their speed)", searching / scanning)
        return None
    log.info("8-bit scans multiply pair by pair for up to %d queries at once", pairwise_queries)
    return BoundScan(rows, threads, pairwise_queries=pairwise_queries)


def _part(rows: QuantizedRows, count: int) -> QuantizedRows:
    return QuantizedRows(rows.codes[:count], rows.scales[:count], rows.errors[:count], rows.centre, rows.reach)


def _unit_queries(count: int, dimension: int) -> NDArray[np.float32]:
    queries = np.random.default_rng(0).standard_normal((count, dimension)).astype(np.float32)
    return np.asarray(queries / np.linalg.norm(queries, axis=1, keepdims=True), dtype=np.float32)


def _bounds_hold(rows: QuantizedRows, flat: faiss.IndexFlatIP, pairwise_queries: int) -> bool:
    """Bounds are above the exact scores, and above them by no more than both errors."""
    part = _part(rows, CHECKED_ROWS)
    count = len(part.scales)
    query = _unit_queries(1, int(flat.d))
    (bounds,) = BoundScan(part, 1, pairwise_queries=pairwise_queries).scan_all(query)
    above = bounds.values * bounds.unit + bounds.offset - (_vectors(flat, count) @ query[0])
    sound = np.isfinite(part.errors)
    limit = 2 * part.errors[sound] + 3 * bounds.slack + 1e-3 * rows.reach
    return bool(np.all(above[sound] >= -bounds.slack) and np.all(above[sound] <= limit))


def _vectors(flat: faiss.IndexFlatIP, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.asarray(flat.reconstruct_n(0, count))


def _most_pairwise_queries(rows: QuantizedRows) -> int:
    """The largest number of queries, 0 if none, that is multiplied quicker pair by pair than packed."""
    part, most = _part(rows, MEMORY_ROWS), 0
    packed, pairwise = BoundScan(part, 1), BoundScan(part, 1, pairwise_queries=max(PAIRWISE_QUERIES))
    for count in PAIRWISE_QUERIES:
        queries = _unit_queries(count, rows.codes.shape[1])
        if _best_of(lambda: pairwise.scan_all(queries)) >= _best_of(lambda: packed.scan_all(queries)):  # noqa: B023
            break
        most = count
    return most


def _seconds_beside_flat(rows: QuantizedRows, flat: faiss.IndexFlatIP, pairwise_queries: int) -> tuple[float, float]:
    part = _part(rows, TIMED_ROWS)
    count = len(part.scales)
    query = _unit_queries(1, int(flat.d))
    scan = BoundScan(part, 1, pairwise_queries=pairwise_queries)
    parameters = faiss.SearchParameters()
    parameters.sel = faiss.IDSelectorRange(0, count)
    faiss.omp_set_num_threads(1)
    scanning = _best_of(lambda: scan.scan_all(query))
    searching = _best_of(lambda: flat.search(query, 1, params=parameters))
    return scanning, searching


def _best_of(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
