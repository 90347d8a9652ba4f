"""Chooses how the loaded model is computed, by measuring: which kernel, on how many CPU threads.

A second or two at the start.  A way that disagrees with transformers' own forward is out, however fast.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import ModelError
from worker.forward import Forward
from worker.kernel_candidates import Candidate
from worker.packed_batch import TokenIds
from worker.transformer import one_line

AUTO = "auto"
PROBE_TOKENS = (59, 20, 120, 32, 180, 45, 80)
"""Lengths of Lean declarations: median 59, mean 77."""
PROBE_COPIES = {"cpu": 1, "mps": 8, "cuda": 32}
SMALLEST_PROBE = 2
LONGEST_PASS_SECONDS = 0.15
TIMED_PASSES = 2
LARGEST_DIFFERENCE = 1e-5
SMALLEST_COSINE = 0.999

log = logging.getLogger("worker")

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Timing:
    """What one way reached; `threads` is 0 where the model does not run on CPU threads."""

    kernel: str
    threads: int
    tokens_per_second: float

    def __str__(self) -> str:
        threads = f" ({self.threads} thread{'s' * (self.threads > 1)})" if self.threads else ""
        return f"{self.kernel}{threads} {self.tokens_per_second:.0f}"


@dataclass(frozen=True, slots=True)
class KernelChoice:
    """The way that won, ready to run."""

    forward: Forward
    timing: Timing


@dataclass
class KernelTrial:
    """Runs every candidate over the same texts; the first candidate is the reference."""

    path: Path
    device: str
    dtype: str
    candidates: Sequence[Candidate]
    texts: Sequence[TokenIds]
    clock: Callable[[], float] = time.perf_counter
    _timings: list[Timing] = field(default_factory=list)
    _refused: dict[str, str] = field(default_factory=dict)
    _best: KernelChoice | None = None

    def choose(self, wanted: str, thread_counts: Sequence[int]) -> KernelChoice:
        """Measure what `wanted` leaves to choose, and log it.

        Raises `ModelError` where the model does not compute, or the wanted kernel is not there or not right.
        """
        contenders = self._contenders(wanted)
        expected = self._reference_vectors(thread_counts[0])
        for candidate in contenders:
            # The first one, which needs no copies, finds the number of threads; the others run on as many.
            counts = thread_counts if self._best is None else [self._best.timing.threads]
            self._measure(candidate, expected, counts)
        if self._best is None:
            raise ModelError(
                f"WORKER_KERNEL={wanted} cannot be used: {self._refused[wanted]}. Unset it to leave the choice to "
                "the worker."
            )
        self._log()
        use_threads(self._best.timing.threads)
        return self._best

    def _contenders(self, wanted: str) -> list[Candidate]:
        """Those to measure: packed ways first, the reference last."""
        usable = [*self.candidates[1:], self.candidates[0]]
        contenders = [candidate for candidate in usable if wanted in (AUTO, candidate.name)]
        if not contenders:
            raise ModelError(
                f"WORKER_KERNEL={wanted} cannot be used on {self.device} in {self.dtype}: choose among "
                f"{', '.join(candidate.name for candidate in usable)}, or unset it to leave the choice to the worker."
            )
        return contenders

    def _reference_vectors(self, threads: int) -> Vectors:
        use_threads(threads)
        reference = self.candidates[0].build()
        try:
            run(reference, self.texts[:SMALLEST_PROBE])
            self._shorten_probe(self._seconds(reference, self.texts[:SMALLEST_PROBE]))
            vectors = run(reference, self.texts)
        except Exception as error:
            raise ModelError(
                f"The model in {self.path} does not run on {self.device} in {self.dtype} ({one_line(error)}): "
                "try another DEVICE or DTYPE."
            ) from error
        if not np.isfinite(vectors).all():
            raise ModelError(
                f"The model in {self.path} computes values that are not finite in {self.dtype}: "
                "its weights are damaged, or DTYPE does not suit it."
            )
        return vectors

    def _shorten_probe(self, seconds: float) -> None:
        """Keep as many texts as a pass of the longest allowed time holds."""
        tokens = np.cumsum([len(text) for text in self.texts])
        limit = tokens[min(SMALLEST_PROBE, len(tokens)) - 1] * LONGEST_PASS_SECONDS / max(seconds, 1e-9)
        self.texts = self.texts[: max(SMALLEST_PROBE, int((tokens <= limit).sum()))]

    def _measure(self, candidate: Candidate, expected: Vectors, thread_counts: Sequence[int]) -> None:
        """Time a candidate, on more threads as long as they help."""
        try:
            forward = candidate.build()
            fault = disagreement(run(forward, self.texts), expected, self.dtype)
        except Exception as error:  # noqa: BLE001 - a way that this machine cannot go is one way less
            fault = f"it fails here ({one_line(error)})"
        if fault:
            self._refused[candidate.name] = fault
            return
        fastest = 0.0
        for threads in thread_counts:
            use_threads(threads)
            run(forward, self.texts)
            timing = Timing(candidate.name, threads, self._tokens_per_second(forward))
            self._note(KernelChoice(forward, timing))
            if timing.tokens_per_second < fastest:
                return
            fastest = timing.tokens_per_second

    def _note(self, choice: KernelChoice) -> None:
        self._timings.append(choice.timing)
        if self._best is None or choice.timing.tokens_per_second > self._best.timing.tokens_per_second:
            self._best = choice

    def _tokens_per_second(self, forward: Forward) -> float:
        seconds = min(self._seconds(forward, self.texts) for _ in range(TIMED_PASSES))
        return sum(map(len, self.texts)) / max(seconds, 1e-9)

    def _seconds(self, forward: Forward, texts: Sequence[TokenIds]) -> float:
        started = self.clock()
        run(forward, texts)
        return self.clock() - started

    def _log(self) -> None:
        ranked = sorted(self._timings, key=lambda timing: -timing.tokens_per_second)
        log.info("kernel chosen by tokens/s: %s", "; ".join(map(str, ranked)))
        for name, fault in self._refused.items():
            log.warning("kernel %s is out: %s", name, fault)


def disagreement(vectors: Vectors, expected: Vectors, dtype: str) -> str | None:
    """What is wrong with a candidate's vectors; None where they agree with the reference's as far as `dtype` allows."""
    if not np.isfinite(vectors).all():
        return "it computes values that are not finite"
    if dtype == "float32":
        difference = float(np.abs(vectors - expected).max()) / max(1.0, float(np.abs(expected).max()))
        return f"it differs from the padded forward by {difference:.1e}" if difference > LARGEST_DIFFERENCE else None
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = float(((vectors * expected).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)).min())
    return f"its cosine with the padded forward is {cosine:.4f}" if cosine < SMALLEST_COSINE else None


def run(forward: Forward, texts: Sequence[TokenIds]) -> Vectors:
    """One pass, until the vectors are in the CPU's memory."""
    with torch.inference_mode():
        vectors: Tensor = forward(texts).cpu()
        return vectors.numpy()


def probe_texts(token_ids: TokenIds, max_tokens: int, device: str) -> list[TokenIds]:
    """Texts of representative lengths, each the given tokens over and over from another place on."""
    lengths = [min(length, max_tokens) for length in PROBE_TOKENS * PROBE_COPIES[device.partition(":")[0]]]
    return [np.resize(np.roll(token_ids, -place), length) for place, length in enumerate(lengths)]


def thread_counts(wanted: int, device: str) -> list[int]:
    """How many threads to try, ascending: cores that a container may not use in full make more threads slower."""
    if device != "cpu":
        return [0]
    if wanted:
        return [wanted]
    cores = _usable_cores()
    return sorted({1, cores, *(2**power for power in range(1, cores.bit_length()) if 2**power < cores)})


def use_threads(count: int) -> None:
    """Run torch on so many CPU threads from this thread on; 0: leave them."""
    if count and torch.get_num_threads() != count:
        torch.set_num_threads(count)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
