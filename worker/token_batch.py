"""A batch of tokenised texts as the model takes it: all tokens in one row, without padding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.token_ids import TokenIds


@dataclass(frozen=True)
class Group:
    """Consecutive texts of one length."""

    first_token: int
    texts: int
    length: int


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Texts one behind the other, the longest first."""

    token_ids: NDArray[np.int64]
    """Shape (tokens,)."""
    lengths: NDArray[np.int64]
    """Tokens of each text, shape (texts,), falling."""
    order: NDArray[np.int64]
    """Where the caller had each text, shape (texts,)."""

    @classmethod
    def of(cls, texts: Sequence[TokenIds]) -> "TokenBatch":
        """Sort by length, so that neighbours of one length share an attention."""
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        order = np.argsort(-lengths, kind="stable")
        return cls(np.concatenate([texts[place] for place in order]).astype(np.int64), lengths[order], order)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """First token of each text, and the number of tokens behind the last, shape (texts + 1,)."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return int(self.lengths[0])

    def groups(self) -> Iterator[Group]:
        """Texts of one length together."""
        first_token = 0
        for length, same in groupby(self.lengths.tolist()):
            texts = len(list(same))
            yield Group(first_token, texts, length)
            first_token += texts * length

    def positions(self, padding_id: int | None) -> NDArray[np.int64]:
        """Each token's place in its text, from 0; or as RoBERTa counts: from `padding_id` + 1, padding tokens apart."""
        if padding_id is None:
            return np.arange(len(self.token_ids)) - np.repeat(self.starts[:-1], self.lengths)
        counts = self.token_ids != padding_id
        seen = np.cumsum(counts)
        before = np.concatenate([[0], seen])[self.starts[:-1]]
        return np.where(counts, seen - np.repeat(before, self.lengths), 0) + padding_id

    def padded_places(self) -> NDArray[np.int64]:
        """Where each token lies in a (texts · longest) matrix with padding, shape (tokens,)."""
        rows = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return rows * self.longest + self.positions(None)


def to_device(array: NDArray[np.int64], device: str) -> Tensor:
    """Copy without waiting where the device allows it."""
    tensor = torch.from_numpy(array)
    if device.startswith("cuda"):
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
