"""The forward pass over one batch, in two forms that agree: packed without padding, and transformers' own, padded."""

from typing import Any, Protocol

import numpy as np
from torch import Tensor

from worker.attention import PrepareAttention
from worker.linear_kernels import Linear, LinearKernel
from worker.packed_weights import LayerWeights, Norm, PackedWeights
from worker.token_batch import TokenBatch, to_device


class Forward(Protocol):
    """Computes token vectors."""

    def __call__(self, batch: TokenBatch) -> Tensor:
        """Of shape (tokens, dimension), in the batch's order."""
        ...

    def cost_tokens(self, texts: int, longest: int, total: int) -> int:
        """Tokens that a batch of `texts` texts costs: its `total`, or more where it is padded."""
        ...


class PackedForward:
    """All tokens of a batch in one matrix; no arithmetic is spent on padding."""

    def __init__(self, weights: PackedWeights, kernel: LinearKernel, attention: PrepareAttention, device: str) -> None:
        self._weights = weights
        self._attention = attention
        self._device = device
        self._layers = [_Layer(layer, weights, kernel) for layer in weights.layers]

    def __call__(self, batch: TokenBatch) -> Tensor:
        """Of shape (tokens, dimension), in the batch's order."""
        weights = self._weights
        token_ids = to_device(batch.token_ids, self._device)
        positions = to_device(batch.positions(weights.padding_id), self._device)
        attention = self._attention(batch, weights.bias)
        hidden = weights.words.index_select(0, token_ids).add_(weights.positions.index_select(0, positions))
        hidden = weights.embedding_norm(hidden)
        for layer in self._layers:
            hidden = layer.attention_norm(layer.attention_output(attention(layer.project(hidden)), add=hidden))
            hidden = layer.output_norm(layer.contract(layer.expand(hidden), add=hidden))
        return hidden

    def cost_tokens(self, texts: int, longest: int, total: int) -> int:
        """Nothing is padded."""
        return total


class _Layer:
    def __init__(self, layer: LayerWeights, weights: PackedWeights, kernel: LinearKernel) -> None:
        self._projection: Linear = kernel(*layer.projection)
        self._heads = weights.heads
        self.attention_output: Linear = kernel(*layer.attention_output)
        self.attention_norm: Norm = layer.attention_norm
        self.expand: Linear = kernel(*layer.expansion, weights.activation)
        self.contract: Linear = kernel(*layer.contraction)
        self.output_norm: Norm = layer.output_norm

    def project(self, hidden: Tensor) -> Tensor:
        """Queries, keys and values, shape (tokens, 3, heads, size)."""
        return self._projection(hidden).view(len(hidden), 3, self._heads, -1)


class PaddedForward:
    """Transformers' own modules over a padded batch: the reference."""

    def __init__(self, model: Any, pad_token_id: int, device: str) -> None:  # noqa: ANN401 - transformers ships no types
        self._model = model
        self._pad_token_id = pad_token_id
        self._device = device

    def __call__(self, batch: TokenBatch) -> Tensor:
        """Of shape (tokens, dimension), in the batch's order."""
        shape, places = (len(batch.lengths), batch.longest), batch.padded_places()
        token_ids = np.full(shape[0] * shape[1], self._pad_token_id, np.int64)
        mask = np.zeros_like(token_ids)
        token_ids[places], mask[places] = batch.token_ids, 1
        hidden: Tensor = self._model(
            input_ids=to_device(token_ids.reshape(shape), self._device),
            attention_mask=to_device(mask.reshape(shape), self._device),
        ).last_hidden_state
        return hidden.flatten(0, 1).index_select(0, to_device(places, self._device))

    def cost_tokens(self, texts: int, longest: int, total: int) -> int:
        """Each text is padded to the longest."""
        return texts * longest
