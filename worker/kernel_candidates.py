"""The ways in which a loaded model can be computed on its device; the first is transformers' own, the reference."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from worker.attention import Attention, PaddedAttention, PerSequenceAttention, varlen_attention
from worker.forward import Forward, PackedForward, PaddedForward
from worker.linear_kernels import LinearKernel, OneDnnLinear, StockLinear, onednn_computes
from worker.model_folder import ModelFolder
from worker.packed_model import PackedModel
from worker.packed_weights import PackedWeights, packed_weights

PADDED = "padded"
PACKED = "packed"
PACKED_ONEDNN = "packed-onednn"
PACKED_VARLEN = "packed-varlen"

log = logging.getLogger("worker")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way under its name; `build` makes it ready, which may cost a copy of the weights."""

    name: str
    build: Callable[[], Forward]


def kernel_candidates(
    model: Any,  # noqa: ANN401 - transformers ships no types
    folder: ModelFolder,
    *,
    pad_token_id: int,
    max_tokens: int,
    device: str,
    dtype: torch.dtype,
) -> list[Candidate]:
    """The reference, then the packed ways; those alone that this torch has for the device and the dtype."""
    reference = Candidate(PADDED, lambda: PaddedForward(model, pad_token_id, folder, device))
    try:
        weights = packed_weights(model, folder.architecture, max_tokens)
    except AttributeError as error:
        log.warning("%s is not built as other %s are (%s): padded only", folder.path, folder.architecture, error)
        return [reference]
    ways = _packed_ways(weights, device, dtype)
    return [reference, *(Candidate(name, partial(_build, weights, folder, device, *way)) for name, way in ways.items())]


def _packed_ways(
    weights: PackedWeights, device: str, dtype: torch.dtype
) -> dict[str, tuple[type[StockLinear | OneDnnLinear], Attention]]:
    if device == "cpu":
        per_sequence = PerSequenceAttention(weights.heads, weights.position_bias)
        onednn = {PACKED_ONEDNN: (OneDnnLinear, per_sequence)} if onednn_computes(dtype) else {}
        return {PACKED: (StockLinear, per_sequence), **onednn}
    varlen = None if weights.position_bias is not None else varlen_attention(weights.heads, device, dtype)
    padded = PaddedAttention(weights.heads, weights.position_bias)
    return {PACKED: (StockLinear, padded), **({PACKED_VARLEN: (StockLinear, varlen)} if varlen else {})}


def _build(
    weights: PackedWeights,
    folder: ModelFolder,
    device: str,
    kernel: type[StockLinear | OneDnnLinear],
    attention: Attention,
) -> Forward:
    with torch.inference_mode():
        prepare: LinearKernel = kernel.prepare
        return PackedForward(PackedModel.prepare(weights, prepare, attention), folder, device)
