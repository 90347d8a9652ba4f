"""Self-attention over packed texts: each token attends to its own text's tokens, three ways.

A strategy plans once per batch; the plan is then applied in every layer.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from worker.packed_batch import PackedBatch, to_device

Attend = Callable[[Tensor], Tensor]
"""(tokens, 3 * hidden), query, key and value beside one another, to (tokens, hidden)."""
VARLEN_DTYPES = (torch.float16, torch.bfloat16)


class Attention(Protocol):
    """A way to attend."""

    def plan(self, batch: PackedBatch) -> Attend:
        """What is the same in every layer of a batch, done once."""
        ...

    def cost_tokens(self, count: int, longest: int, total: int) -> int:
        """What a batch costs in tokens, padding included where this way pads."""
        ...


@dataclass(frozen=True, slots=True)
class PerSequenceAttention:
    """One call for each run of texts of one length: no padding, for devices where a call costs little."""

    heads: int
    position_bias: Tensor | None = None

    def plan(self, batch: PackedBatch) -> Attend:
        """See `Attention`."""
        runs = [(count, length, self._bias(length)) for count, length in batch.equal_lengths()]
        sizes = [count * length for count, length, _ in runs]

        def attend(query_key_value: Tensor) -> Tensor:
            parts = zip(torch.split(query_key_value, sizes), runs, strict=True)
            return torch.cat([_attend(part, self.heads, *run) for part, run in parts])

        return attend

    def cost_tokens(self, count: int, longest: int, total: int) -> int:
        """Nothing is padded."""
        return total

    def _bias(self, length: int) -> Tensor | None:
        return None if self.position_bias is None else self.position_bias[..., :length, :length]


@dataclass(frozen=True, slots=True)
class PaddedAttention:
    """All texts in one call, padded to the longest for the attention alone: runs everywhere."""

    heads: int
    position_bias: Tensor | None = None

    def plan(self, batch: PackedBatch) -> Attend:
        """See `Attention`."""
        count, longest = len(batch.lengths), batch.longest
        is_text = np.arange(longest) < np.array(batch.lengths)[:, np.newaxis]
        device = str(batch.offsets.device)
        cells = to_device(torch.from_numpy(np.flatnonzero(is_text)), device)  # asking a GPU for them would wait for it
        mask = self._mask(to_device(torch.from_numpy(is_text), device).view(count, 1, 1, longest), longest)

        def attend(query_key_value: Tensor) -> Tensor:
            padded = query_key_value.new_zeros(count * longest, query_key_value.shape[1])
            padded.index_copy_(0, cells, query_key_value)
            return _attend(padded, self.heads, count, longest, mask).index_select(0, cells)

        return attend

    def cost_tokens(self, count: int, longest: int, total: int) -> int:
        """Each text costs as much memory as the longest."""
        return count * longest

    def _mask(self, is_text: Tensor, longest: int) -> Tensor:
        if self.position_bias is None:
            return is_text
        return self.position_bias[..., :longest, :longest].masked_fill(~is_text, -torch.inf)


@dataclass(frozen=True, slots=True)
class VarlenAttention:
    """torch's variable-length flash attention: one call, no padding; a CUDA device and a short float type only."""

    heads: int
    call: Callable[..., Any]
    options: dict[str, Any]

    def plan(self, batch: PackedBatch) -> Attend:
        """See `Attention`."""
        offsets, longest = batch.offsets, batch.longest

        def attend(query_key_value: Tensor) -> Tensor:
            tokens = len(query_key_value)
            query, key, value = query_key_value.view(tokens, 3, self.heads, -1).unbind(1)
            attended: Tensor = self.call(query, key, value, offsets, offsets, longest, longest, **self.options)
            return attended.reshape(tokens, -1)

        return attend

    def cost_tokens(self, count: int, longest: int, total: int) -> int:
        """Nothing is padded."""
        return total


def varlen_attention(heads: int, device: str, dtype: torch.dtype) -> VarlenAttention | None:
    """`VarlenAttention` where the device, the dtype and this torch allow it.

    A key split over several blocks is summed in an order that depends on the batch: `num_splits=1` forbids it, so that
    a text's vector does not depend on its neighbours.  Not every version of torch has the option.
    """
    if not device.startswith("cuda") or dtype not in VARLEN_DTYPES:
        return None
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    options = {"num_splits": 1} if "num_splits" in inspect.signature(varlen_attn).parameters else {}
    return VarlenAttention(heads, varlen_attn, options)


def _attend(rows: Tensor, heads: int, count: int, length: int, mask: Tensor | None) -> Tensor:
    """`count` texts of `length` tokens each, (count * length, 3 * hidden) to (count * length, hidden)."""
    query, key, value = rows.view(count, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    attended = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return attended.transpose(1, 2).reshape(count * length, -1)
