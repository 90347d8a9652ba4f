"""Tries the 8-bit scan on this machine before it is used: it must compute rightly, and faster than a flat scan."""

import logging
import time
from collections.abc import Callable

import faiss
import numpy as np

from api.quantized_rows import QuantizedRows
from api.score_bounds import BoundScan

CHECKED_ROWS = 256
TIMED_ROWS = 8192
REPEATS = 3

log = logging.getLogger("api")


def worth_scanning(rows: QuantizedRows, flat: faiss.IndexFlatIP) -> bool:
    """Whether the first stage's kernels are right on this machine and faster than FAISS' flat search."""
    if not _bounds_hold(rows, flat):
        log.warning("8-bit scans compute wrongly on this machine: every search is exhaustive")
        return False
    scanning, searching = _seconds(rows, flat)
    if scanning >= searching:
        log.info("8-bit scans are no faster than flat ones here (%.2f of their speed)", searching / scanning)
        return False
    return True


def _part(rows: QuantizedRows, count: int) -> QuantizedRows:
    return QuantizedRows(rows.codes[:count], rows.scales[:count], rows.errors[:count], rows.centre, rows.reach)


def _bounds_hold(rows: QuantizedRows, flat: faiss.IndexFlatIP) -> bool:
    """Bounds are above the exact scores, and above them by no more than both errors."""
    part = _part(rows, CHECKED_ROWS)
    count = len(part.scales)
    query = np.random.default_rng(0).standard_normal((1, int(flat.d))).astype(np.float32)
    query /= np.linalg.norm(query)
    (bounds,) = BoundScan(part, 1).scan_all(query)
    above = bounds.values * bounds.unit + bounds.offset - (_vectors(flat, count) @ query[0])
    sound = np.isfinite(part.errors)
    limit = 2 * part.errors[sound] + 3 * bounds.slack + 1e-3 * rows.reach
    return bool(np.all(above[sound] >= -bounds.slack) and np.all(above[sound] <= limit))


def _vectors(flat: faiss.IndexFlatIP, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.asarray(flat.reconstruct_n(0, count))


def _seconds(rows: QuantizedRows, flat: faiss.IndexFlatIP) -> tuple[float, float]:
    part = _part(rows, TIMED_ROWS)
    count = len(part.scales)
    query = np.zeros((1, int(flat.d)), dtype=np.float32)
    query[0, 0] = 1
    scan = BoundScan(part, 1)
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
