import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from api.accessibility import Selection
from api.quantized_rows import QuantizedRows
from api.score_bounds import BoundScan, ScoreBounds
from api.shared_scan import SharedScan
from tests.embedding_fakes import wait_until

ROWS, DIMENSION = 3000, 8
Vectors = NDArray[np.float32]


def some_rows() -> QuantizedRows:
    return QuantizedRows.of(np.random.default_rng(0).standard_normal((ROWS, DIMENSION)).astype(np.float32))


def some_queries(count: int) -> Vectors:
    return np.random.default_rng(1).standard_normal((count, DIMENSION)).astype(np.float32)


def selection(share: float, seed: int = 0) -> Selection:
    return Selection.of(np.random.default_rng(seed).random(ROWS) < share)


class GatedScan(BoundScan):
    """A scan whose passes wait for leave, so that others come meanwhile."""

    def __init__(self, rows: QuantizedRows) -> None:
        super().__init__(rows, 1)
        self.leave = threading.Event()
        self.passes: list[int] = []
        self.fails = False

    def scan_all(self, queries: Vectors) -> list[ScoreBounds]:
        self.passes.append(len(queries))
        self.leave.wait()
        if self.fails:
            raise MemoryError("no room")
        return super().scan_all(queries)


def bounds_of(shared: SharedScan, query: NDArray[np.float32], selected: Selection) -> ScoreBounds:
    [bounds] = shared.bounds(query[np.newaxis], selected)
    return bounds


def waiting_in(shared: SharedScan) -> int:
    return len(shared._waiting)


def test_everyone_gets_the_bounds_of_his_own_query_and_selection() -> None:
    scan = BoundScan(some_rows(), 2)
    shared, queries = SharedScan(scan), some_queries(60)
    selections = [selection(share, seed) for seed, share in enumerate([0.05, 0.2, 0.5, 0.97] * 15)]
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda query, selected: bounds_of(shared, query, selected), queries, selections))
    for query, selected, bounds in zip(queries, selections, found, strict=True):
        (alone,) = scan.scan_all(query[np.newaxis])
        rows = selected.list_rows()
        values = bounds.values[rows] if bounds.rows is None else bounds.values
        assert np.array_equal(values, alone.values[rows])


def test_those_who_come_during_a_pass_share_the_next() -> None:
    scan, queries, everything = GatedScan(some_rows()), some_queries(7), selection(1.0)
    shared = SharedScan(scan, most_queries=4)
    with ThreadPoolExecutor(7) as pool:
        first = pool.submit(bounds_of, shared, queries[0], everything)
        wait_until(lambda: scan.passes == [1])
        others = [pool.submit(bounds_of, shared, query, everything) for query in queries[1:]]
        wait_until(lambda: waiting_in(shared) == 6)
        scan.leave.set()
        assert all(len(future.result().values) == ROWS for future in [first, *others])
    assert scan.passes == [1, 4, 2]


def test_a_pass_that_fails_fails_for_all_of_it_and_not_for_the_next() -> None:
    scan, queries, everything = GatedScan(some_rows()), some_queries(3), selection(1.0)
    shared, scan.fails = SharedScan(scan), True
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(bounds_of, shared, queries[0], everything)]
        wait_until(lambda: scan.passes == [1])
        futures += [pool.submit(bounds_of, shared, query, everything) for query in queries[1:]]
        wait_until(lambda: waiting_in(shared) == 2)
        scan.leave.set()
        for future in futures:
            with pytest.raises(MemoryError, match="no room"):
                future.result()
    scan.fails = False
    assert len(bounds_of(shared, queries[0], everything).values) == ROWS


def test_queries_of_one_request_share_passes_with_those_of_others() -> None:
    scan, everything = GatedScan(some_rows()), selection(1.0)
    shared, many = SharedScan(scan, most_queries=4), some_queries(7)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(shared.bounds, some_queries(1), everything)
        wait_until(lambda: scan.passes == [1])
        others = [pool.submit(shared.bounds, some, everything) for some in (many[:5], many[5:])]
        wait_until(lambda: waiting_in(shared) == 7)
        scan.leave.set()
        assert [len(future.result()) for future in [first, *others]] == [1, 5, 2]
    assert scan.passes == [1, 4, 3]
    (alone,) = scan.scan_all(many[4:5])
    assert np.array_equal(others[0].result()[4].values, alone.values)


def test_a_failed_pass_leaves_nobody_waiting_for_the_rest_of_its_queries() -> None:
    scan, everything = GatedScan(some_rows()), selection(1.0)
    shared, scan.fails = SharedScan(scan, most_queries=2), True
    scan.leave.set()
    with pytest.raises(MemoryError, match="no room"):
        shared.bounds(some_queries(5), everything)
    assert scan.passes == [2, 2, 1]
    assert waiting_in(shared) == 0
    scan.fails = False
    assert len(shared.bounds(some_queries(3), everything)) == 3


def test_small_selections_are_read_alone() -> None:
    scan = GatedScan(some_rows())
    bounds = bounds_of(SharedScan(scan), some_queries(1)[0], selection(0.1))
    assert scan.passes == []
    assert bounds.rows is not None
