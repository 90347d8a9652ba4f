"""Token vectors to one vector a text, as sentence-transformers pools; padding never counts."""

import torch
from torch import Tensor

from shared.model_catalogue import Pooling
from worker.packed_batch import PackedBatch

SMALLEST_COUNT = 1e-9


def pool_padded(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Pool `hidden` (texts, tokens, dimension) where `mask` (texts, tokens) is 1; returns (texts, dimension)."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "max":
        return hidden.masked_fill(weights == 0, -torch.inf).max(dim=1).values
    if pooling == "lasttoken":
        last = mask.sum(dim=1).clamp(min=1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last]
    total = (hidden * weights).sum(dim=1)
    count = weights.sum(dim=1).clamp(min=SMALLEST_COUNT)
    return total / (count.sqrt() if pooling == "mean_sqrt_len_tokens" else count)


def pool_packed(hidden: Tensor, batch: PackedBatch, pooling: Pooling) -> Tensor:
    """Pool `hidden` (tokens, dimension), float32; returns (texts, dimension) in the order the texts were given in."""
    return _pool_in_packed_order(hidden, batch, pooling).index_select(0, batch.rows)


def _pool_in_packed_order(hidden: Tensor, batch: PackedBatch, pooling: Pooling) -> Tensor:
    starts, ends = batch.offsets[:-1], batch.offsets[1:]
    if pooling == "cls":
        return hidden.index_select(0, starts)
    if pooling == "lasttoken":
        return hidden.index_select(0, ends - 1)
    if pooling == "max":
        return torch.segment_reduce(hidden, "max", offsets=batch.offsets)
    count = (ends - starts).unsqueeze(1).to(hidden.dtype)
    return _sums(hidden, batch) / (count.sqrt() if pooling == "mean_sqrt_len_tokens" else count)


def _sums(hidden: Tensor, batch: PackedBatch) -> Tensor:
    """Rows summed by text, in an order that is the same in every batch."""
    if hidden.is_cuda:  # index_add_ would add in any order there; off CUDA it goes row by row, and is faster
        return torch.segment_reduce(hidden, "sum", offsets=batch.offsets)
    lengths = torch.tensor(batch.lengths, device=hidden.device)
    texts = torch.repeat_interleave(torch.arange(len(lengths), device=hidden.device), lengths)
    return hidden.new_zeros(len(lengths), hidden.shape[1]).index_add_(0, texts, hidden)
