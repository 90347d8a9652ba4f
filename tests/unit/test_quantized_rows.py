from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from api.quantized_rows import CODES_FILE, QuantizedRows, write_quantized
from shared.errors import CorpusError

Vectors = NDArray[np.float32]


def some_vectors(rows: int, dimension: int, seed: int = 0, scale: float = 1.0) -> Vectors:
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(0, scale, (rows, 1))
    return np.asarray(rng.standard_normal((rows, dimension)) * lengths + 0.3, dtype=np.float32)


def restored(rows: QuantizedRows) -> NDArray[np.float64]:
    codes = rows.codes.astype(np.float64)
    return np.asarray(rows.centre + rows.scales[:, np.newaxis].astype(np.float64) * codes)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 80), st.integers(1, 40), st.integers(0, 10**6), st.sampled_from([1e-6, 1.0, 1e4]))
def test_errors_bound_what_the_codes_miss(rows: int, dimension: int, seed: int, scale: float) -> None:
    vectors = some_vectors(rows, dimension, seed, scale)
    quantized = QuantizedRows.of(vectors)
    missed = np.linalg.norm(vectors.astype(np.float64) - restored(quantized), axis=1)
    assert np.all(missed <= quantized.errors)
    reached = np.linalg.norm(restored(quantized) - quantized.centre, axis=1)
    assert np.all(reached <= quantized.reach + 1e-9)


def test_eight_bits_miss_less_than_a_hundredth_of_a_vector() -> None:
    vectors = some_vectors(500, 64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert QuantizedRows.of(vectors).errors.max() < 0.01


def test_rows_that_are_not_finite_have_no_bound_and_leave_the_others_alone() -> None:
    vectors = some_vectors(50, 8)
    vectors[3, 2], vectors[7, 0] = np.nan, np.inf
    quantized = QuantizedRows.of(vectors)
    assert np.flatnonzero(np.isneginf(quantized.errors)).tolist() == [3, 7]
    assert np.isfinite(np.delete(quantized.errors, [3, 7])).all()
    assert np.isfinite(quantized.centre).all()


def test_what_is_written_is_what_is_mapped(tmp_path: Path) -> None:
    vectors = some_vectors(20_000, 6)
    write_quantized(tmp_path, vectors)
    mapped, made = QuantizedRows.open(tmp_path, 20_000, 6), QuantizedRows.of(vectors)
    assert np.array_equal(mapped.codes, made.codes)
    assert np.array_equal(mapped.scales, made.scales)
    assert np.array_equal(mapped.errors, made.errors)
    assert np.array_equal(mapped.centre, made.centre)
    assert mapped.reach == pytest.approx(made.reach)


def test_files_of_another_corpus_are_refused(tmp_path: Path) -> None:
    write_quantized(tmp_path, some_vectors(20, 6))
    with pytest.raises(CorpusError, match="do not fit"):
        QuantizedRows.open(tmp_path, 21, 6)
    (tmp_path / CODES_FILE).write_bytes(b"\0" * 119)
    with pytest.raises(CorpusError, match="do not fit"):
        QuantizedRows.open(tmp_path, 20, 6)
