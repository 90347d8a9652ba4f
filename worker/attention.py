"""Attention within each text of a batch whose texts lie one behind the other."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.token_batch import TokenBatch, to_device

Attention = Callable[[Tensor], Tensor]
"""From queries, keys and values of shape (tokens, 3, heads, size) to (tokens, heads · size)."""

PrepareAttention = Callable[[TokenBatch, Tensor | None], Attention]
"""Makes the attention for one batch; the tensor is a bias by position, shape (1, heads, most tokens, most tokens)."""


def attend_text_by_text(batch: TokenBatch, bias: Tensor | None) -> Attention:
    """One call for all texts of one length: nothing is computed for padding.  For CPUs, where a call costs little."""
    groups = list(batch.groups())

    def attend(projected: Tensor) -> Tensor:
        tokens, _, heads, size = projected.shape
        mixed = projected.new_empty((tokens, heads, size))
        for group in groups:
            end = group.first_token + group.texts * group.length
            shape = (group.texts, group.length, 3, heads, size)
            queries, keys, values = projected[group.first_token : end].view(shape).permute(2, 0, 3, 1, 4)
            mask = None if bias is None else bias[:, :, : group.length, : group.length]
            found = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
            mixed[group.first_token : end].view(group.texts, group.length, heads, size).copy_(found.transpose(1, 2))
        return mixed.view(tokens, heads * size)

    return attend


def attend_padded(batch: TokenBatch, bias: Tensor | None, device: str) -> Attention:
    """Only the attention is padded, the linear layers are not.  For any device, dtype and bias."""
    texts, longest = len(batch.lengths), batch.longest
    places = to_device(batch.padded_places(), device)
    there = torch.zeros(texts * longest, dtype=torch.bool, device=device)
    mask = there.index_fill_(0, places, value=True).view(texts, 1, 1, longest)
    shift = None if bias is None else bias[:, :, :longest, :longest].masked_fill(~mask, -torch.inf)

    def attend(projected: Tensor) -> Tensor:
        _, _, heads, size = projected.shape
        padded = projected.new_zeros((texts * longest, 3, heads, size)).index_copy_(0, places, projected)
        queries, keys, values = padded.view(texts, longest, 3, heads, size).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask if shift is None else shift
        )
        return found.transpose(1, 2).reshape(texts * longest, heads * size).index_select(0, places)

    return attend


def attend_varlen(batch: TokenBatch, device: str) -> Attention:
    """torch's attention over texts of several lengths in one kernel.  For CUDA, in half precision, without bias."""
    from torch.nn.attention.varlen import varlen_attn

    starts = to_device(batch.starts, device).to(torch.int32)
    # One split keeps a text's vector independent of its batch; older versions of torch do not split.
    options: dict[str, Any] = {"num_splits": 1} if "num_splits" in inspect.signature(varlen_attn).parameters else {}

    def attend(projected: Tensor) -> Tensor:
        queries, keys, values = projected.unbind(1)
        found: Any = varlen_attn(queries, keys, values, starts, starts, batch.longest, batch.longest, **options)
        mixed: Tensor = found.flatten(1)
        return mixed

    return attend


def has_varlen(device: str, dtype: torch.dtype) -> bool:
    """Whether `attend_varlen` may be tried here."""
    if not device.startswith("cuda") or dtype not in (torch.float16, torch.bfloat16):
        return False
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return callable(varlen_attn)
