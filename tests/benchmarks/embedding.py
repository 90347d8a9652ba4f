"""Embedding on the CPU beside sentence-transformers, tokenising included: texts per CPU second."""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from shared.artifacts import model_folder
from shared.embedding_cache import Vector
from shared.settings import Settings
from tests.benchmarks.big_model import FLOP_PER_TOKEN, declaration_texts, some_texts, write_big_model
from tests.benchmarks.comparison import Comparison
from worker.batching import default_batch_tokens
from worker.encoder import Encoder
from worker.kernel_choice import use_threads
from worker.packed_batch import TokenIds

TEXTS = 128
ROUNDS = 3
BATCH_SIZES = (32, 8, 1)
TOP = 32
SECTION = "Embedding on the CPU"

Embed = Callable[[Sequence[str]], Vector]


@dataclass(frozen=True, slots=True)
class Arm:
    """A way to embed, and its CPU threads; one, since CPU seconds are compared."""

    name: str
    embed: Embed


def measure_embedding(corpus: Path | None, folder: Path) -> Iterator[Comparison]:
    """`corpus` is an unpacked corpus folder; the demo corpus without one.  Some three minutes."""
    texts = some_texts(declaration_texts(corpus), TEXTS)
    model = write_big_model(folder / "model", declaration_texts(corpus)[:20_000])
    reference = SentenceTransformer(str(model), device="cpu", local_files_only=True)
    encoders = {
        (dtype, kernel): load(model, dtype, kernel)
        for dtype in ("float32", "bfloat16")
        for kernel in ("packed", "packed-onednn")
    }
    use_threads(1)
    arms = [Arm(f"sentence-transformers, batch {size}", batched(reference, size)) for size in BATCH_SIZES]
    arms += [Arm(f"{kernel}, {dtype}", embedder(encoder)) for (dtype, kernel), encoder in encoders.items()]
    speeds = measure(arms, texts)
    at_32, best = speeds[arms[0].name], max(speeds[arm.name] for arm in arms[: len(BATCH_SIZES)])
    ours = {dtype: max(speeds[f"{kernel}, {dtype}"] for _, kernel in encoders) for dtype in ("float32", "bfloat16")}
    for what, speed, theirs, alternative, target in (
        ("float32", ours["float32"], at_32, "sentence-transformers, batch 32", 4.0),
        ("float32", ours["float32"], best, "sentence-transformers, its best batch size", 2.3),
        ("bfloat16", ours["bfloat16"], at_32, "sentence-transformers, batch 32", 7.0),
    ):
        yield Comparison(
            section=SECTION, what=f"6 × 768 RoBERTa, {what}, the quicker kernel", ours=speed, unit="texts/CPU s",
            theirs=theirs, alternative=alternative, ratio=speed / theirs, target=target,
        )  # fmt: skip
    for name, speed in speeds.items():
        yield Comparison(section=SECTION, what=name, ours=speed, unit="texts/CPU s")
    yield from differences(
        reference, encoders["float32", "packed-onednn"], encoders["bfloat16", "packed-onednn"], texts
    )
    yield from shares_of_the_machine(encoders, texts)
    yield from chosen(model)
    yield from top_overlap(model_folder(Settings(model_id="demo")), declaration_texts())


def load(model: Path, dtype: str, kernel: str) -> Encoder:
    """One kernel on one thread."""
    return Encoder.load(model, dtype=dtype, device="cpu", cache_dtype="float32", kernel=kernel, threads=1)


def batched(model: SentenceTransformer, batch_size: int) -> Embed:
    """sentence-transformers' own `encode`."""

    def embed(texts: Sequence[str]) -> Vector:
        vectors: Vector = model.encode(list(texts), batch_size=batch_size, show_progress_bar=False)
        return vectors

    return embed


def embedder(encoder: Encoder) -> Embed:
    """Tokenise all, then batches of the worker's default size, longest texts first, as its queue forms them."""

    def embed(texts: Sequence[str]) -> Vector:
        token_ids = encoder.tokenize(texts)
        order = sorted(range(len(texts)), key=lambda place: -len(token_ids[place]))
        vectors = np.empty((len(texts), encoder.dimension), dtype=np.float32)
        for batch in batches(order, token_ids, default_batch_tokens(encoder.device)):
            vectors[batch] = encoder.embed([token_ids[place] for place in batch])
        return vectors

    return embed


def batches(order: Sequence[int], token_ids: Sequence[TokenIds], limit: int) -> Iterator[list[int]]:
    """Consecutive places whose tokens stay within `limit`."""
    batch: list[int] = []
    tokens = 0
    for place in order:
        if batch and tokens + len(token_ids[place]) > limit:
            yield batch
            batch, tokens = [], 0
        batch.append(place)
        tokens += len(token_ids[place])
    yield batch


def measure(arms: Sequence[Arm], texts: Sequence[str]) -> dict[str, float]:
    """Median texts per CPU second of each; they take turns, after a short call that does not count."""
    for arm in arms:
        arm.embed(texts[:8])
    seconds: dict[str, list[float]] = {arm.name: [] for arm in arms}
    for _ in range(ROUNDS):
        for arm in arms:
            started = time.process_time()
            arm.embed(texts)
            seconds[arm.name].append(time.process_time() - started)
    return {name: len(texts) / statistics.median(each) for name, each in seconds.items()}


def differences(
    reference: SentenceTransformer, exact: Encoder, short: Encoder, texts: Sequence[str]
) -> Iterator[Comparison]:
    """How near the vectors are to sentence-transformers' own."""
    expected = batched(reference, 32)(texts)
    difference = float(np.abs(embedder(exact)(texts) - expected).max())
    yield Comparison(
        section=SECTION, what="float32: largest difference from sentence-transformers", ours=difference, unit="",
        target=1e-5,
    )  # fmt: skip
    cosine = float((embedder(short)(texts) * expected).sum(axis=1).min())
    yield Comparison(section=SECTION, what="bfloat16, random weights: smallest cosine with it", ours=cosine, unit="")


def shares_of_the_machine(encoders: dict[tuple[str, str], Encoder], texts: Sequence[str]) -> Iterator[Comparison]:
    """Matrix products of the forward per second, as a share of what one core does on one large product."""
    for (dtype, kernel), encoder in encoders.items():
        token_ids = encoder.tokenize(texts)
        order = sorted(range(len(texts)), key=lambda place: -len(token_ids[place]))
        batch = [token_ids[place] for place in next(batches(order, token_ids, default_batch_tokens("cpu")))]
        seconds = statistics.median(_seconds(partial(encoder.embed, batch)) for _ in range(5))
        achieved = FLOP_PER_TOKEN * sum(map(len, batch)) / seconds
        peak = matrix_rate(torch.float32 if dtype == "float32" else torch.bfloat16)
        yield Comparison(
            section=SECTION, what=f"{kernel}, {dtype}: forward, one core", ours=achieved / 1e9, unit="GFLOP/s",
            theirs=peak / 1e9, alternative="one large product", ratio=achieved / peak,
        )  # fmt: skip


def matrix_rate(dtype: torch.dtype) -> float:
    """FLOP per second of a large linear layer."""
    rows, weight = torch.randn(2048, 768).to(dtype), torch.randn(3072, 768).to(dtype)
    with torch.inference_mode():
        seconds = min(_seconds(lambda: torch.nn.functional.linear(rows, weight)) for _ in range(10))
    return 2 * 2048 * 768 * 3072 / seconds


def chosen(model: Path) -> Iterator[Comparison]:
    """What a worker chooses by itself on this machine, and how long that takes."""
    for dtype in ("float32", "bfloat16"):
        started = time.perf_counter()
        encoder = Encoder.load(model, dtype=dtype, device="cpu", cache_dtype="float32")
        seconds = time.perf_counter() - started
        what = f"chosen for {dtype}: {encoder.kernel} with {encoder.threads} of {os.cpu_count()} threads"
        yield Comparison(section=SECTION, what=what, ours=encoder.tokens_per_second, unit="tokens/s")
        yield Comparison(section=SECTION, what=f"loading and choosing, {dtype}", ours=seconds, unit="s")


def top_overlap(model: Path, texts: Sequence[str]) -> Iterator[Comparison]:
    """bfloat16 against float32 on real weights: cosine, and the share of the top places that stay for some goals."""
    queries = ["⊢ " + text.rsplit(" : ", 1)[-1] for text in texts[::8]]
    exact = embedder(load(model, "float32", "packed"))
    short = embedder(load(model, "bfloat16", "packed"))
    rows, short_rows = exact(texts), short(texts)
    cosine = float((rows * short_rows).sum(axis=1).min())
    best = np.argsort(-(exact(queries) @ rows.T), axis=1)[:, :TOP]
    short_best = np.argsort(-(short(queries) @ short_rows.T), axis=1)[:, :TOP]
    overlap = float(
        np.mean([len(set(a) & set(b)) / TOP for a, b in zip(best.tolist(), short_best.tolist(), strict=True)])
    )
    yield Comparison(section=SECTION, what="bfloat16, MiniLM: smallest cosine with float32", ours=cosine, unit="")
    yield Comparison(section=SECTION, what=f"bfloat16, MiniLM: overlap of the top {TOP}", ours=overlap, unit="")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
