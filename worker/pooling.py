"""Token vectors to one vector a text, as sentence-transformers pools; padding never counts."""

import torch
from torch import Tensor

from worker.model_folder import Pooling

SMALLEST_COUNT = 1e-9


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
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
