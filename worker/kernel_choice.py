"""Chooses how the forward pass is computed, by trying the ways there are on the loaded model for a second or two.

Which linear kernels are quickest, and with how many threads, depends on the CPU and the model; an operator should not
have to know.  A way that does not agree with transformers' own forward is out.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from shared.errors import ModelError
from worker.attention import attend_padded, attend_text_by_text, attend_varlen, has_varlen
from worker.forward import Forward, PackedForward, PaddedForward
from worker.linear_kernels import has_onednn, onednn_linear, stock_linear
from worker.packed_weights import PackedWeights
from worker.token_batch import TokenBatch

SAMPLE_LENGTHS = (120, 87, 59, 40, 16)
"""Like declarations, 59 tokens in the median; few, so that trying takes seconds with a large model too."""
SAMPLES_ON_GPU = 64
LARGEST_DIFFERENCE = 1e-5
SMALLEST_COSINE = 0.999
TRIAL_SECONDS = 0.25
MOST_TRIALS = 20
HOPELESS_SHARE = 0.4

log = logging.getLogger("worker")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A way to compute, as it was measured."""

    name: str
    threads: int
    forward: Forward
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to compute that may be tried; `make` lays out weights."""

    name: str
    make: Callable[[], Forward]


@dataclass(frozen=True, slots=True)
class Trial:
    """What candidates are tried on, and what they have to agree with."""

    reference: PaddedForward
    batch: TokenBatch
    device: str
    dtype: torch.dtype


def choose_kernel(trial: Trial, candidates: Sequence[Candidate], *, wanted: str, threads: int) -> Kernel:
    """The quickest candidate that agrees, with the best number of threads; the last one is for want of others.

    `wanted` names one (`auto`: any), `threads` fixes their number (0: any).  Raises `ModelError` where the model does
    not compute, or the wanted candidate cannot be had here.
    """
    allowed = [candidate for candidate in candidates if wanted in ("auto", candidate.name)]
    if not allowed:
        names = ", ".join(candidate.name for candidate in candidates)
        raise ModelError(
            f"WORKER_KERNEL={wanted} is not to be had on {trial.device} here: leave it at auto, or {names}."
        )
    counts = [threads] if threads else thread_counts(trial.device)
    torch.set_num_threads(counts[0])
    expected = trial.reference(trial.batch).float()
    if not torch.isfinite(expected).all():
        raise ModelError(
            "The model computes values that are not finite: its weights are damaged, or DTYPE does not suit it."
        )
    kernels: list[Kernel] = []
    for candidate in allowed:
        if not kernels or candidate is not candidates[-1]:
            kernels += _try(trial, candidate, expected, counts)
    if not kernels:
        raise ModelError(f"No way to compute this model agrees with transformers' own; WORKER_KERNEL={wanted}.")
    kernels.sort(key=lambda kernel: -kernel.tokens_per_second)
    torch.set_num_threads(kernels[0].threads)
    log.info("kernel %s", "; then ".join(map(_describe, kernels)))
    return kernels[0]


def candidates_for(model: object, weights: PackedWeights, pad_token_id: int, device: str) -> list[Candidate]:
    """What may be tried on this device, in this dtype."""
    dtype, on_cpu = weights.words.dtype, device == "cpu"
    attention = attend_text_by_text if on_cpu else partial(attend_padded, device=device)
    candidates = [Candidate("packed", lambda: PackedForward(weights, stock_linear, attention, device))]
    if has_onednn(device, dtype):
        candidates.append(Candidate("packed-onednn", lambda: PackedForward(weights, onednn_linear, attention, device)))
    if has_varlen(device, dtype) and weights.bias is None:
        varlen = partial(_varlen, device=device)
        candidates.append(Candidate("packed-varlen", lambda: PackedForward(weights, stock_linear, varlen, device)))
    return [*candidates, Candidate("padded", lambda: PaddedForward(model, pad_token_id, device))]


def sample_batch(vocabulary_size: int, max_tokens: int, device: str, padding_id: int | None) -> TokenBatch:
    """Random tokens in texts of the usual lengths."""
    rng = np.random.default_rng(0)
    lengths = SAMPLE_LENGTHS * (1 if device == "cpu" else SAMPLES_ON_GPU)
    texts = [rng.integers(0, vocabulary_size, min(length, max_tokens), dtype=np.int32) for length in lengths]
    for text in texts:
        text[text == padding_id] = 0 if padding_id else 1
    return TokenBatch.of(texts)


def thread_counts(device: str) -> list[int]:
    """All cores first, then half of them and so on: hyper-threads may not help, and small models can do without."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device != "cpu":
        return [cores]
    return [count for count in dict.fromkeys((cores, cores // 2, cores // 4, 1)) if count]


def _varlen(batch: TokenBatch, bias: object, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    del bias  # there is none: see candidates_for
    return attend_varlen(batch, device)


def _try(trial: Trial, candidate: Candidate, expected: torch.Tensor, counts: Iterable[int]) -> list[Kernel]:
    try:
        forward = candidate.make()
        if not _agrees(forward(trial.batch).float(), expected, trial.dtype):
            log.warning("kernel %s does not agree with transformers' own and is left out", candidate.name)
            return []
        return _measure(trial, candidate.name, forward, counts)
    except (RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
        log.warning("kernel %s does not run here (%s: %s)", candidate.name, type(error).__name__, str(error)[:200])
        return []


def _measure(trial: Trial, name: str, forward: Forward, counts: Iterable[int]) -> list[Kernel]:
    """Tokens per second for each number of threads; fewer threads are not tried further once they are far behind."""
    kernels: list[Kernel] = []
    for count in counts:
        torch.set_num_threads(count)
        speed = len(trial.batch.token_ids) / _seconds(lambda: forward(trial.batch), trial.device)
        kernels.append(Kernel(name, count, forward, speed))
        if speed < HOPELESS_SHARE * max(kernel.tokens_per_second for kernel in kernels):
            break
    return kernels


def _agrees(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
    if dtype == torch.float32:
        return bool((found - expected).abs().max() <= LARGEST_DIFFERENCE * max(1.0, float(expected.abs().max())))
    return bool(torch.nn.functional.cosine_similarity(found, expected).min() >= SMALLEST_COSINE)


def _seconds(work: Callable[[], object], device: str) -> float:
    """The best of several runs, for about `TRIAL_SECONDS`."""
    seconds: list[float] = []
    while len(seconds) < MOST_TRIALS and sum(seconds) < TRIAL_SECONDS:
        started = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _describe(kernel: Kernel) -> str:
    return f"{kernel.name} with {kernel.threads} threads, {kernel.tokens_per_second:.0f} tokens/s"
