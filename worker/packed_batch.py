"""Texts of one batch behind one another in one row of tokens, longest first, without padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TokenIds = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Token ids and positions (tokens,), and where each text begins; int32, on the model's device."""

    token_ids: Tensor
    positions: Tensor
    offsets: Tensor
    """(texts + 1,): text `i` is the tokens from `offsets[i]` to `offsets[i + 1]`."""
    rows: Tensor
    """(texts,): the row of each given text among the packed ones."""
    lengths: list[int]
    """Tokens of each packed text; descending."""

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return self.lengths[0]

    def equal_lengths(self) -> list[tuple[int, int]]:
        """Runs of (texts, length) in packed order, so that neighbours of one length share a call."""
        return [(sum(1 for _ in run), length) for length, run in groupby(self.lengths)]


def pack(batch: Sequence[TokenIds], *, padding_id: int | None, device: str) -> PackedBatch:
    """Lay texts behind one another and copy them to `device`; no text may be empty.

    Positions count from 0, or, as RoBERTa's, from after `padding_id`, leaving padding tokens out.
    """
    lengths = np.array([len(token_ids) for token_ids in batch], np.int32)
    order = np.argsort(-lengths, kind="stable")
    rows = np.empty_like(order)
    rows[order] = np.arange(len(batch))
    lengths = lengths[order]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    token_ids = np.concatenate([batch[text] for text in order])
    parts = [token_ids, _positions(token_ids, offsets[:-1], lengths, padding_id), offsets, rows]
    on_device = to_device(torch.from_numpy(np.concatenate(parts).astype(np.int32)), device)
    tokens, positions, starts, places = torch.split(on_device, [len(part) for part in parts])
    return PackedBatch(tokens, positions, starts, places, lengths.tolist())


def to_device(tensor: Tensor, device: str) -> Tensor:
    """Copy from the CPU; to a GPU without waiting, from memory that it reads by itself."""
    if device.startswith("cuda"):
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _positions(
    token_ids: TokenIds, starts: NDArray[np.int64], lengths: NDArray[np.int32], padding_id: int | None
) -> NDArray[np.int64]:
    if padding_id is None:
        return np.arange(len(token_ids)) - np.repeat(starts, lengths)
    counted = token_ids != padding_id
    seen = np.cumsum(counted)
    before = seen[starts] - counted[starts]
    positions: NDArray[np.int64] = (seen - np.repeat(before, lengths)) * counted + padding_id
    return positions
