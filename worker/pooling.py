"""Token vectors to one vector a text, as sentence-transformers pools; texts lie one behind the other."""

import torch
from torch import Tensor

from worker.model_folder import Pooling


def pool(hidden: Tensor, starts: Tensor, pooling: Pooling) -> Tensor:
    """Pool `hidden` (tokens, dimension), float32; `starts` (texts + 1,) has each text's first token and the end.

    Returns (texts, dimension).
    """
    if pooling == "cls":
        return hidden[starts[:-1]]
    if pooling == "lasttoken":
        return hidden[starts[1:] - 1]
    lengths = starts.diff()
    if pooling == "max":
        return torch.segment_reduce(hidden, "max", lengths=lengths, axis=0, unsafe=True)
    total = torch.segment_reduce(hidden, "sum", lengths=lengths, axis=0, unsafe=True)
    count = lengths.unsqueeze(1).to(hidden.dtype)
    return total / (count.sqrt() if pooling == "mean_sqrt_len_tokens" else count)
