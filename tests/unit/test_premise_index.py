import threading
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from api.accessibility import Selection
from api.metrics import Metrics
from api.premise_index import Hits, PremiseIndex
from api.quantized_rows import QuantizedRows, write_quantized
from api.score_bounds import BoundScan
from api.shared_scan import SharedScan, _Waiting
from shared.errors import CorpusError, NotReadyError

DIMENSION = 24
ROWS_IN_STAGES = 6000
"""More than are scored directly."""
Vectors = NDArray[np.float32]


def unit_vectors(count: int, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def index_of(vectors: Vectors, *, metrics: Metrics | None = None, staged: bool = True) -> PremiseIndex:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    scan = SharedScan(BoundScan(QuantizedRows.of(vectors), 2)) if staged else None
    return PremiseIndex(index, scan, metrics.search if metrics else None)


def widened(metrics: Metrics) -> bool:
    return "premises_search_widened_total 0.0" not in metrics.text().decode()


def whole(vectors: Vectors, query: Vectors, mask: NDArray[np.bool_], k: int) -> Hits:
    """An exhaustive search in float32, as FAISS scores."""
    (hits,) = index_of(vectors, staged=False).search(query[np.newaxis], Selection.of(mask), k)
    return hits


def all_of(rows: int) -> Selection:
    return Selection.of(np.ones(rows, dtype=np.bool_))


def exhaustive(vectors: Vectors, query: Vectors, mask: NDArray[np.bool_], k: int) -> list[int]:
    scores = np.where(mask, vectors.astype(np.float64) @ query.astype(np.float64), -np.inf)
    best: list[int] = np.argsort(-scores, kind="stable")[: min(k, int(mask.sum()))].tolist()
    return best


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 300), st.integers(1, 400), st.floats(0, 1), st.integers(0, 10**6))
def test_a_search_is_the_exhaustive_search_of_what_is_selected(rows: int, k: int, share: float, seed: int) -> None:
    vectors, queries = unit_vectors(rows, seed), unit_vectors(3, seed + 1)
    mask = np.random.default_rng(seed).random(rows) < share
    for query, hits in zip(queries, index_of(vectors).search(queries, Selection.of(mask), k), strict=True):
        best = exhaustive(vectors, query, mask, k)
        assert len(set(hits.rows.tolist())) == len(hits.rows) == len(best)
        assert mask[hits.rows].all()
        assert np.allclose(hits.scores, vectors[best] @ query, atol=1e-6)  # equals may swap, at the k-th place too
        assert np.allclose(hits.scores, vectors[hits.rows] @ query, atol=1e-6)
        assert hits.scores.dtype == np.float32


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([1, 2, 32, 300, 1024]), st.sampled_from([0.3, 0.6, 0.97, 1.0]), st.integers(0, 10**6))
def test_a_search_in_stages_is_the_exhaustive_search(k: int, share: float, seed: int) -> None:
    vectors, queries = unit_vectors(9000, seed), unit_vectors(3, seed + 1)
    mask = np.random.default_rng(seed).random(9000) < share
    for query, hits in zip(queries, index_of(vectors).search(queries, Selection.of(mask), k), strict=True):
        expected = whole(vectors, query, mask, k)
        assert np.array_equal(hits.rows, expected.rows)
        assert np.array_equal(hits.scores, expected.scores)


@pytest.mark.parametrize("length", [0.01, 1, 50])
def test_vectors_of_another_length_are_searched_exactly(length: float) -> None:
    vectors = unit_vectors(5000) * np.random.default_rng(0).uniform(length / 10, length, (5000, 1)).astype(np.float32)
    query = unit_vectors(1, seed=1) * np.float32(length)
    (hits,) = index_of(vectors).search(query, all_of(5000), 40)
    assert np.array_equal(hits.rows, whole(vectors, query[0], np.ones(5000, dtype=np.bool_), 40).rows)


def test_a_search_that_cannot_be_proved_widens_and_says_so() -> None:
    vectors = unit_vectors(6000)
    vectors[1000:3000] = vectors[1000] + 1e-4 * unit_vectors(2000, seed=5)
    metrics = Metrics()
    index = index_of(vectors, metrics=metrics)
    index.search(unit_vectors(1, seed=9), all_of(6000), 10)
    assert not widened(metrics)
    (hits,) = index.search(vectors[1000:1001], all_of(6000), 10)
    assert widened(metrics)
    assert np.array_equal(hits.rows, whole(vectors, vectors[1000], np.ones(6000, dtype=np.bool_), 10).rows)


def test_equal_rows_without_end_come_in_row_order_from_a_search_in_stages() -> None:
    vectors = np.tile(unit_vectors(1), (5000, 1))
    (hits,) = index_of(vectors).search(unit_vectors(1), all_of(5000), 70)
    assert hits.rows.tolist() == list(range(70))


def test_a_corpus_of_zeros_is_searched() -> None:
    (hits,) = index_of(np.zeros((3000, DIMENSION), dtype=np.float32)).search(unit_vectors(1), all_of(3000), 5)
    assert hits.rows.tolist() == [0, 1, 2, 3, 4]


def test_rows_that_are_not_finite_are_not_found_by_a_search_in_stages() -> None:
    vectors = unit_vectors(4000)
    vectors[100:200] = np.nan
    (hits,) = index_of(vectors).search(vectors[:1], all_of(4000), 1500)
    assert len(hits.rows) == 1500
    assert not set(range(100, 200)) & set(hits.rows.tolist())


@pytest.mark.parametrize("share", [0.9, 0.4])
def test_where_hardly_a_row_is_finite_only_selected_ones_are_found(share: float) -> None:
    vectors = unit_vectors(4000)
    mask = np.random.default_rng(1).random(4000) < share
    sound = np.flatnonzero(mask)[:40]
    vectors[np.setdiff1d(np.flatnonzero(mask), sound)] = np.nan
    (hits,) = index_of(vectors).search(vectors[sound[:1]], Selection.of(mask), 100)
    assert sorted(hits.rows.tolist()) == sound.tolist()


def test_a_query_of_zeros_finds_what_is_finite() -> None:
    vectors = unit_vectors(4000)
    vectors[::2] = np.nan
    (hits,) = index_of(vectors).search(np.zeros((1, DIMENSION), np.float32), all_of(4000), 100)
    assert hits.rows.tolist() == list(range(1, 200, 2))


def test_selections_of_a_tenth_in_a_pass_over_all_rows_are_searched_as_alone() -> None:
    vectors = unit_vectors(ROWS_IN_STAGES)
    index, masks = index_of(vectors), [np.arange(ROWS_IN_STAGES) % 10 == remainder for remainder in range(10)]
    assert index.scan is not None
    shared = index.scan._bounds_of(
        [_Waiting(query, Selection.of(mask)) for query, mask in zip(vectors[:10], masks, strict=True)]
    )
    for query, mask, bounds in zip(vectors[:10], masks, shared, strict=True):
        assert bounds.rows is None
        hits = index._search_in_stages(query, bounds, Selection.of(mask), 20, 72)
        assert hits.rows.tolist() == exhaustive(vectors, query, mask, 20)


def test_equal_scores_come_in_row_order_at_the_last_place_too() -> None:
    vectors = unit_vectors(400)
    equal = np.array([7, 19, 20, 33, 150, 151, 152, 390])
    vectors[equal] = vectors[7]
    query = vectors[7:8]
    for k in range(1, len(equal) + 1):
        (hits,) = index_of(vectors).search(query, all_of(400), k)
        assert hits.rows.tolist() == equal[:k].tolist()


def test_ties_behind_better_rows_come_in_row_order_too() -> None:
    tied, better = (
        np.tile(np.eye(1, DIMENSION, 0, dtype=np.float32), (40, 1)),
        np.eye(1, DIMENSION, 0, dtype=np.float32),
    )
    vectors = np.concatenate([tied, 2 * better, tied, 3 * better])
    for k in range(1, 82):
        (hits,) = index_of(vectors).search(better, all_of(82), k)
        assert hits.rows.tolist() == [81, 40, *range(40), *range(41, 81)][:k]


def test_more_than_there_is_gives_what_there_is() -> None:
    vectors = unit_vectors(20)
    (hits,) = index_of(vectors).search(vectors[:1], all_of(20), 10**30)
    assert len(hits.rows) == 20


@pytest.mark.parametrize("k", [0, -5])
def test_no_places_give_no_hits(k: int) -> None:
    vectors = unit_vectors(20)
    (hits,) = index_of(vectors).search(vectors[:1], all_of(20), k)
    assert (len(hits.scores), len(hits.rows)) == (0, 0)


def test_an_empty_selection_gives_no_hits() -> None:
    vectors = unit_vectors(20)
    (hits,) = index_of(vectors).search(vectors[:1], Selection.of(np.zeros(20, dtype=np.bool_)), 5)
    assert len(hits.rows) == 0


def test_indexed_vectors_that_are_not_finite_are_never_found() -> None:
    vectors = unit_vectors(20)
    vectors[[3, 4]] = np.nan
    (hits,) = index_of(vectors).search(vectors[:1], all_of(20), 20)
    assert sorted(hits.rows.tolist()) == [row for row in range(20) if row not in {3, 4}]


def test_no_queries_give_no_answers() -> None:
    assert index_of(unit_vectors(20)).search(np.empty((0, DIMENSION), dtype=np.float32), all_of(20), 5) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_query_that_is_not_finite_is_the_model_s_fault(value: float) -> None:
    query = unit_vectors(1)
    query[0, 3] = value
    index = index_of(unit_vectors(20))
    with pytest.raises(NotReadyError, match="DTYPE"):
        index.search(query, all_of(20), 5)
    with pytest.raises(NotReadyError, match="DTYPE"):
        index.score(unit_vectors(1), query)


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(CorpusError, match="24 numbers"):
        index_of(unit_vectors(20)).search(np.ones((1, DIMENSION + 1), dtype=np.float32), all_of(20), 5)


def test_a_selection_of_another_corpus_is_refused() -> None:
    with pytest.raises(CorpusError, match="20 rows"):
        index_of(unit_vectors(20)).search(unit_vectors(1), all_of(19), 5)


def test_new_vectors_score_as_the_index_scores_its_own() -> None:
    vectors, queries = unit_vectors(200), unit_vectors(3, seed=1)
    index = index_of(vectors)
    scores = index.score(queries, vectors)
    assert scores.shape == (3, 200)
    assert np.allclose(scores, queries @ vectors.T, atol=1e-6)
    mask = np.random.default_rng(0).random(200) < 0.5
    for row, hits in zip(scores, index.search(queries, Selection.of(mask), 200), strict=True):
        assert np.array_equal(row[hits.rows], hits.scores)


@pytest.mark.parametrize(("queries", "vectors"), [(0, 0), (0, 3), (2, 0)])
def test_nothing_to_score_has_the_right_shape(queries: int, vectors: int) -> None:
    assert index_of(unit_vectors(5)).score(unit_vectors(queries), unit_vectors(vectors)).shape == (queries, vectors)


def test_a_file_is_mapped_and_searched_as_it_was_written(tmp_path: Path) -> None:
    vectors = unit_vectors(100)
    written = faiss.IndexFlatIP(DIMENSION)
    written.add(vectors)
    faiss.write_index(written, str(tmp_path / "index"))
    write_quantized(tmp_path, vectors)
    index = PremiseIndex.open(tmp_path / "index")
    assert (index.rows, index.dimension) == (100, DIMENSION)
    index.touch()
    (hits,) = index.search(vectors[42:43], all_of(100), 3)
    assert hits.rows[0] == 42


def test_a_file_that_is_missing_cut_short_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="missing or damaged"):
        PremiseIndex.open(tmp_path / "missing")
    (tmp_path / "other").write_bytes(b"this is no index at all")
    with pytest.raises(CorpusError, match="missing or damaged"):
        PremiseIndex.open(tmp_path / "other")
    written = faiss.IndexFlatL2(DIMENSION)
    written.add(unit_vectors(50))
    faiss.write_index(written, str(tmp_path / "index"))
    with pytest.raises(CorpusError, match="inner-product"):
        PremiseIndex.open(tmp_path / "index")
    whole = (tmp_path / "index").read_bytes()
    (tmp_path / "index").write_bytes(whole[:-100])
    with pytest.raises(CorpusError, match="missing or damaged"):
        PremiseIndex.open(tmp_path / "index")


def test_threads_search_one_index_each_over_its_own_selection() -> None:
    vectors = unit_vectors(ROWS_IN_STAGES)
    index = index_of(vectors)
    found: dict[int, list[Hits]] = {}

    def search(remainder: int) -> None:
        found[remainder] = index.search(vectors[:40], Selection.of(np.arange(len(vectors)) % 4 == remainder), 20)

    threads = [threading.Thread(target=search, args=(remainder,)) for remainder in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for remainder, answers in found.items():
        for query, hits in zip(vectors[:40], answers, strict=True):
            assert hits.rows.tolist() == exhaustive(vectors, query, np.arange(len(vectors)) % 4 == remainder, 20)
