import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from api.quantized_rows import QuantizedRows
from api.score_bounds import BoundScan, ScoreBounds

Vectors = NDArray[np.float32]


def some_vectors(rows: int, dimension: int, seed: int) -> Vectors:
    return np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32) + np.float32(0.2)


def as_scores(bounds: ScoreBounds) -> NDArray[np.float64]:
    return np.asarray(bounds.values.astype(np.float64) * bounds.unit + bounds.offset)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3000), st.integers(1, 70), st.integers(1, 18), st.sampled_from([0, 18]), st.integers(0, 10**6))
def test_no_score_is_above_its_bound(rows: int, dimension: int, queries: int, pairwise: int, seed: int) -> None:
    vectors, asked = some_vectors(rows, dimension, seed), some_vectors(queries, dimension, seed + 1)
    quantized = QuantizedRows.of(vectors)
    scan = BoundScan(quantized, 1, pairwise_queries=pairwise)
    exact = asked.astype(np.float64) @ vectors.astype(np.float64).T
    for scores, query, bounds in zip(exact, asked, scan.scan_all(asked), strict=True):
        above = as_scores(bounds) - scores
        assert np.all(above >= -bounds.slack)
        assert np.all(
            above <= 2 * np.linalg.norm(query) * quantized.errors + 0.01 * np.abs(query).max() * quantized.reach
        )


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("queries", [1, 3, 40])
def test_chosen_rows_have_the_bounds_that_they_have_among_all(threads: int, queries: int) -> None:
    vectors, asked = some_vectors(70_000, 16, 0), some_vectors(queries, 16, 1)
    scan = BoundScan(QuantizedRows.of(vectors), threads)
    rows = np.flatnonzero(np.random.default_rng(0).random(70_000) < 0.4)
    for all_rows, chosen in zip(scan.scan_all(asked), scan.scan_rows(asked, rows), strict=True):
        assert np.array_equal(all_rows.values[rows], chosen.values)
        assert all_rows.reaching(0.5) == chosen.reaching(0.5)


@pytest.mark.parametrize("queries", [1, 2, 5])
def test_both_sorts_of_kernel_give_the_same_bounds(queries: int) -> None:
    rows, asked = QuantizedRows.of(some_vectors(40_000, 96, 0)), some_vectors(queries, 96, 1)
    chosen = np.flatnonzero(np.random.default_rng(0).random(40_000) < 0.1)
    packed, pairwise = BoundScan(rows, 2), BoundScan(rows, 2, pairwise_queries=5)
    for some, others in zip(packed.scan_all(asked), pairwise.scan_all(asked), strict=True):
        assert np.array_equal(some.values, others.values)
    for some, others in zip(packed.scan_rows(asked, chosen), pairwise.scan_rows(asked, chosen), strict=True):
        assert np.array_equal(some.values, others.values)


def test_a_query_of_zeros_has_bounds() -> None:
    (bounds,) = BoundScan(QuantizedRows.of(some_vectors(10, 4, 0)), 1).scan_all(np.zeros((1, 4), dtype=np.float32))
    assert np.allclose(as_scores(bounds), 0, atol=1e-30)
