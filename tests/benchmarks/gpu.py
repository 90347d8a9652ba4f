"""The forward on a GPU: tokens per second from ids, where the rest of the time goes, and a cold upload's premises.

    python -m tests.benchmarks.gpu

Needs torch, transformers and numpy alone, no network and no data: it makes its own model and tokenizer.  Writes a table
to standard output, and `gpu.json` and `gpu-profile.txt` into the folder named by OUT, if there is one.
"""

import json
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the tests may not be installed there

from tests.benchmarks.big_model import FLOP_PER_TOKEN, declaration_texts, some_texts, write_big_model
from worker.encoder import Encoder, Launched
from worker.packed_batch import TokenIds

BUDGETS = (16_384, 32_768, 65_536, 131_072)
TEXTS = 16_384
UPLOAD = 2048
STATES = 50
CHUNK = 256
TARGET_TOKENS, FLOOR_TOKENS = 3_000_000, 1_500_000
MATRIX = 8192


def main() -> None:
    """Measure, print, write."""
    device = sys.argv[1] if len(sys.argv) > 1 else "cuda"
    texts = some_texts(declaration_texts(), TEXTS if device == "cuda" else 128)
    figures: dict[str, object] = {"torch": torch.__version__, "device": device, "flop_per_token": FLOP_PER_TOKEN}
    if device == "cuda":
        figures["card"] = torch.cuda.get_device_name()
    with tempfile.TemporaryDirectory() as folder:
        model = write_big_model(Path(folder) / "model", declaration_texts())
        for dtype in ("bfloat16", "float16") if device == "cuda" else ("bfloat16",):
            figures[dtype] = measure(model, dtype, device, texts)
        figures["agreement"] = agreement(model, device, texts[:64])
    print(json.dumps(figures, indent=2))
    if out := os.environ.get("OUT"):
        (Path(out) / "gpu.json").write_text(json.dumps(figures, indent=2))


def measure(model: Path, dtype: str, device: str, texts: Sequence[str]) -> dict[str, object]:
    """All figures of one dtype."""
    encoder = Encoder.load(model, dtype=dtype, device=device, cache_dtype="float32")
    token_ids, tokenise_seconds = tokenised(encoder, texts)
    tokens = sum(map(len, token_ids))
    rates = {
        budget: forward_rate(encoder, token_ids, budget) for budget in BUDGETS if budget <= max(tokens, BUDGETS[0])
    }
    budget = max(rates, key=lambda each: rates[each])
    matrix = matrix_rate(encoder, getattr(torch, dtype))
    profile(encoder, token_ids, budget)
    return {
        "kernel": encoder.kernel,
        "tokens_per_second_by_budget": rates,
        "best_tokens_per_second": rates[budget],
        "reaches_target": rates[budget] >= TARGET_TOKENS,
        "reaches_floor": rates[budget] >= FLOOR_TOKENS,
        "share_of_matrix_rate": rates[budget] * FLOP_PER_TOKEN / matrix,
        "matrix_tflops": matrix / 1e12,
        "tokenising_tokens_per_second": tokens / tokenise_seconds,
        "upload_seconds": upload_seconds(encoder, texts[:UPLOAD], budget),
        "one_state_ms": 1e3 * state_seconds(encoder, token_ids),
    }


def tokenised(encoder: Encoder, texts: Sequence[str]) -> tuple[list[TokenIds], float]:
    """Token ids, and the seconds that they took on all cores."""
    encoder.tokenize(texts[:64])
    started = time.perf_counter()
    token_ids = encoder.tokenize(texts)
    return token_ids, time.perf_counter() - started


def batches(token_ids: Sequence[TokenIds], budget: int) -> list[list[TokenIds]]:
    """Batches of at most `budget` tokens, longest texts first, as a worker's queue forms them."""
    formed: list[list[TokenIds]] = []
    room = 0
    for ids in sorted(token_ids, key=lambda each: -len(each)):
        if not formed or len(ids) > room:
            formed.append([])
            room = budget
        formed[-1].append(ids)
        room -= len(ids)
    return formed


def run(encoder: Encoder, formed: Sequence[Sequence[TokenIds]]) -> int:
    """Launch every batch, one ahead where the encoder wants it, and fetch all vectors; returns how many."""
    launched: deque[Launched] = deque()
    vectors = 0
    for batch in formed:
        launched.append(encoder.launch(batch))
        if len(launched) > encoder.batches_ahead:
            vectors += len(launched.popleft().vectors())
    return vectors + sum(len(each.vectors()) for each in launched)


def forward_rate(encoder: Encoder, token_ids: Sequence[TokenIds], budget: int) -> float:
    """Tokens per second from ids to vectors in the host's memory, best of three passes."""
    formed = batches(token_ids, budget)
    run(encoder, formed[:2])
    seconds = min(seconds_of(lambda: run(encoder, formed)) for _ in range(3))
    return sum(map(len, token_ids)) / seconds


def upload_seconds(encoder: Encoder, texts: Sequence[str], budget: int) -> float:
    """Tokenise and embed a fresh project's premises as the worker does it: jobs are tokenised while batches run."""

    def upload() -> None:
        waiting: list[TokenIds] = []
        launched: list[Launched] = []
        for start in range(0, len(texts), CHUNK):
            waiting += encoder.tokenize(texts[start : start + CHUNK])
            if sum(map(len, waiting)) >= budget // 2 or start + CHUNK >= len(texts):
                launched += [encoder.launch(batch) for batch in batches(waiting, budget)]
                waiting = []
        for each in launched:
            each.vectors()

    upload()
    return min(seconds_of(upload) for _ in range(3))


def state_seconds(encoder: Encoder, token_ids: Sequence[TokenIds]) -> float:
    """Median seconds of one goal alone."""
    return float(np.median([seconds_of(partial(encoder.embed, [ids])) for ids in token_ids[:STATES]]))


def matrix_rate(encoder: Encoder, dtype: torch.dtype) -> float:
    """FLOP per second of large square products on the device."""
    size = MATRIX if encoder.device.startswith("cuda") else 1024
    left, right = (torch.randn(size, size, device=encoder.device, dtype=dtype) for _ in range(2))

    def multiply() -> None:
        for _ in range(10):
            torch.mm(left, right)
        if encoder.device.startswith("cuda"):
            torch.cuda.synchronize()

    multiply()
    return 10 * 2 * size**3 / min(seconds_of(multiply) for _ in range(3))


def profile(encoder: Encoder, token_ids: Sequence[TokenIds], budget: int) -> None:
    """Where the time of a few batches goes, to `gpu-profile.txt`."""
    out = os.environ.get("OUT")
    if not out:
        return
    formed = batches(token_ids, budget)[:4]
    with torch.profiler.profile() as recorded:
        run(encoder, formed)
    order = "self_device_time_total" if encoder.device.startswith("cuda") else "self_cpu_time_total"
    with (Path(out) / "gpu-profile.txt").open("a") as file:
        file.write(f"{encoder.dtype}, {encoder.kernel}, budget {budget}\n")
        file.write(recorded.key_averages().table(sort_by=order, row_limit=25) + "\n")


def agreement(model: Path, device: str, texts: Sequence[str]) -> dict[str, float]:
    """Smallest cosine with the float32 vectors of a CPU."""
    exact = Encoder.load(model, dtype="float32", device="cpu", cache_dtype="float32", kernel="padded")
    expected = exact.embed(exact.tokenize(texts))
    found = {}
    for dtype in ("float32", "bfloat16"):
        encoder = Encoder.load(model, dtype=dtype, device=device, cache_dtype="float32")
        found[dtype] = float((encoder.embed(encoder.tokenize(texts)) * expected).sum(axis=1).min())
    return found


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
