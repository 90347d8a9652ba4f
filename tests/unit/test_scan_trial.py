from collections.abc import Callable

import faiss
import numkong
import numpy as np
import pytest
from numpy.typing import NDArray

from api import scan_trial
from api.quantized_rows import QuantizedRows
from api.scan_trial import PAIRWISE_QUERIES, try_scan
from tests.corpora import unit_vectors

Vectors = NDArray[np.float32]


def flat_index(vectors: Vectors) -> faiss.IndexFlatIP:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


class Timer:
    """Seconds for each measurement, in their order, instead of a clock."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = iter(seconds)

    def __call__(self, work: Callable[[], object]) -> float:
        work()
        return next(self.seconds)


@pytest.mark.parametrize(
    ("seconds", "pairwise"),
    [
        ([2, 1, 1, 9], 0),  # pair by pair, packed, then the scan and the flat search
        ([1, 2, 3, 2, 1, 9], 1),
        ([1, 2, 1, 2, 1, 2, 1, 9], max(PAIRWISE_QUERIES)),
    ],
)
def test_the_quicker_kernel_multiplies(monkeypatch: pytest.MonkeyPatch, seconds: list[float], pairwise: int) -> None:
    monkeypatch.setattr(scan_trial, "_best_of", Timer(*seconds))
    vectors = unit_vectors(3000, 64)
    scan = try_scan(QuantizedRows.of(vectors), flat_index(vectors), 1)
    assert scan is not None
    assert scan.pairwise_queries == pairwise


def test_a_scan_that_is_no_faster_than_a_flat_one_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_trial, "_best_of", Timer(2, 1, 5, 5))
    vectors = unit_vectors(3000, 64)
    assert try_scan(QuantizedRows.of(vectors), flat_index(vectors), 1) is None


@pytest.mark.parametrize("kernel", ["dots_packed", "cdist"])
@pytest.mark.parametrize("wrong", [-40, 40_000])
def test_kernels_that_compute_wrongly_are_left_out(monkeypatch: pytest.MonkeyPatch, kernel: str, wrong: int) -> None:
    right = getattr(numkong, kernel)

    def compute(*operands: object, out: numkong.Tensor, **options: object) -> None:
        right(*operands, out=out, **options)
        products = np.asarray(out)
        products += wrong

    monkeypatch.setattr(numkong, kernel, compute)
    vectors = unit_vectors(3000, 64)
    assert try_scan(QuantizedRows.of(vectors), flat_index(vectors), 1) is None
