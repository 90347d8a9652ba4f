"""A forward: token ids of a batch to one vector a text; packed or, as the reference, padded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from worker.model_folder import ModelFolder
from worker.packed_batch import TokenIds
from worker.packed_model import PackedModel
from worker.pooling import pool_packed, pool_padded


class Forward(Protocol):
    """One way to compute the model."""

    def __call__(self, batch: Sequence[TokenIds]) -> Tensor:
        """Vectors (len(batch), dimension), float32, on the model's device; no text may be empty."""
        ...

    def cost_tokens(self, count: int, longest: int, total: int) -> int:
        """What a batch of `count` texts, the longest of `longest` tokens, `total` tokens in all, costs in tokens."""
        ...


@dataclass(frozen=True, slots=True)
class PackedForward:
    """Without padding: see `PackedModel`."""

    model: PackedModel
    folder: ModelFolder
    device: str

    def __call__(self, batch: Sequence[TokenIds]) -> Tensor:
        """See `Forward`."""
        packed = self.model.pack(batch, self.device)
        pooled = pool_packed(self.model.hidden(packed).float(), packed, self.folder.pooling)
        return normalize(pooled, dim=1) if self.folder.normalize else pooled

    def cost_tokens(self, count: int, longest: int, total: int) -> int:
        """As the attention pads."""
        return self.model.attention.cost_tokens(count, longest, total)


@dataclass(frozen=True, slots=True)
class PaddedForward:
    """transformers' own forward: what every other way is compared with."""

    model: Any
    pad_token_id: int
    folder: ModelFolder
    device: str

    def __call__(self, batch: Sequence[TokenIds]) -> Tensor:
        """See `Forward`."""
        token_ids, mask = self._pad(batch)
        hidden = self.model(input_ids=token_ids, attention_mask=mask).last_hidden_state
        pooled = pool_padded(hidden.float(), mask, self.folder.pooling)
        return normalize(pooled, dim=1) if self.folder.normalize else pooled

    def cost_tokens(self, count: int, longest: int, total: int) -> int:
        """Each text is padded to the longest."""
        return count * longest

    def _pad(self, batch: Sequence[TokenIds]) -> tuple[Tensor, Tensor]:
        longest = max(map(len, batch))
        token_ids = np.full((len(batch), longest), self.pad_token_id, np.int64)
        mask = np.zeros((len(batch), longest), np.int64)
        for row, ids in enumerate(batch):
            token_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        return torch.from_numpy(token_ids).to(self.device), torch.from_numpy(mask).to(self.device)
