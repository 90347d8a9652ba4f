"""The choice of a kernel: by speed, among those that agree with the reference, or as the operator wants it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.errors import ModelError
from tests.embedding_fakes import HandClock
from worker.kernel_candidates import Candidate
from worker.kernel_choice import KernelChoice, KernelTrial, disagreement, probe_texts, thread_counts
from worker.packed_batch import TokenIds

REFERENCE = "padded"
TEXTS = [np.arange(length, dtype=np.int32) for length in (5, 8, 13)]


@dataclass(frozen=True)
class TimedForward:
    """Gives every text its token count, moved by `error`, and moves the clock by `seconds` a token."""

    clock: HandClock
    seconds: float
    error: float = 0.0

    def __call__(self, batch: Sequence[TokenIds]) -> torch.Tensor:
        self.clock.now += self.seconds * sum(map(len, batch))
        return torch.tensor([[float(len(text)) / 100, 0.5 + self.error] for text in batch])

    def cost_tokens(self, count: int, longest: int, total: int) -> int:
        raise NotImplementedError


class KernelsUnderTest:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.candidates = [Candidate(REFERENCE, lambda: TimedForward(self.clock, seconds=0.01))]

    def add(self, name: str, *, seconds: float, error: float = 0.0) -> None:
        self.candidates.append(Candidate(name, lambda: TimedForward(self.clock, seconds, error)))

    def choose(self, wanted: str = "auto", dtype: str = "float32") -> KernelChoice:
        trial = KernelTrial(Path("model"), "cpu", dtype, self.candidates, TEXTS, self.clock)
        return trial.choose(wanted, [1])


@pytest.fixture
def kernels() -> KernelsUnderTest:
    return KernelsUnderTest()


def test_the_fastest_kernel_is_chosen(kernels: KernelsUnderTest) -> None:
    kernels.add("slow", seconds=0.02)
    kernels.add("fast", seconds=0.005)
    timing = kernels.choose().timing
    assert (timing.kernel, timing.threads) == ("fast", 1)
    assert timing.tokens_per_second == pytest.approx(200)


def test_the_reference_is_chosen_where_it_is_fastest(kernels: KernelsUnderTest) -> None:
    kernels.add("slow", seconds=0.02)
    assert kernels.choose().timing.kernel == REFERENCE


def test_a_fast_kernel_that_disagrees_is_out(kernels: KernelsUnderTest, caplog: pytest.LogCaptureFixture) -> None:
    kernels.add("wrong", seconds=0.001, error=2e-5)
    kernels.add("right", seconds=0.005, error=5e-6)
    with caplog.at_level(logging.INFO, "worker"):
        assert kernels.choose().timing.kernel == "right"
    assert "kernel wrong is out: it differs from the padded forward by 2.0e-05" in caplog.text
    assert "right (1 thread) 200; padded (1 thread) 100" in caplog.text


def test_short_floats_are_compared_by_their_cosine(kernels: KernelsUnderTest) -> None:
    kernels.add("rounded", seconds=0.005, error=1e-3)
    kernels.add("wrong", seconds=0.001, error=-0.4)
    assert kernels.choose(dtype="bfloat16").timing.kernel == "rounded"


def test_a_kernel_that_fails_is_out(kernels: KernelsUnderTest) -> None:
    def build() -> TimedForward:
        raise RuntimeError("no such operator")

    kernels.candidates.append(Candidate("absent", build))
    assert kernels.choose().timing.kernel == REFERENCE


def test_the_wanted_kernel_is_taken_though_another_is_faster(kernels: KernelsUnderTest) -> None:
    kernels.add("slow", seconds=0.02)
    kernels.add("fast", seconds=0.005)
    assert kernels.choose("slow").timing.kernel == "slow"
    assert kernels.choose(REFERENCE).timing.kernel == REFERENCE


def test_a_wanted_kernel_that_is_not_there_is_refused_with_those_that_are(kernels: KernelsUnderTest) -> None:
    kernels.add("packed", seconds=0.02)
    with pytest.raises(
        ModelError, match=r"^WORKER_KERNEL=packed-varlen cannot be used on cpu in float32: choose among packed, padded"
    ):
        kernels.choose("packed-varlen")


def test_a_wanted_kernel_that_disagrees_is_refused(kernels: KernelsUnderTest) -> None:
    kernels.add("wrong", seconds=0.001, error=0.1)
    with pytest.raises(ModelError, match=r"WORKER_KERNEL=wrong cannot be used: it differs from the padded forward"):
        kernels.choose("wrong")


def test_values_that_are_not_finite_disagree() -> None:
    vectors = np.ones((2, 2), np.float32)
    assert disagreement(vectors * np.float32(np.nan), vectors, "bfloat16") == "it computes values that are not finite"


def test_threads_double_up_to_the_cores_unless_the_operator_says() -> None:
    counts = thread_counts(0, "cpu")
    assert counts[0] == 1
    assert all(more <= 2 * fewer for fewer, more in pairwise(counts))
    assert thread_counts(3, "cpu") == [3]
    assert thread_counts(3, "cuda:0") == [0]


def test_probe_texts_are_of_many_lengths_within_the_limit() -> None:
    texts = probe_texts(np.arange(10, dtype=np.int32), 100, "cpu")
    assert max(map(len, texts)) == 100
    assert len(set(map(len, texts))) > 4
    assert len(probe_texts(np.arange(10, dtype=np.int32), 100, "cuda:0")) > len(texts)
