"""The transformer over packed texts: every linear layer multiplies one (tokens, hidden) matrix without padding."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import embedding

from worker.attention import Attend, Attention
from worker.linear_kernels import Linear, LinearKernel
from worker.packed_batch import PackedBatch, TokenIds, pack
from worker.packed_weights import LayerWeights, Norm, PackedWeights


@dataclass(frozen=True, slots=True)
class _Layer:
    query_key_value: Linear
    attended: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    output_norm: Norm

    def __call__(self, hidden: Tensor, attend: Attend) -> Tensor:
        hidden = self.attention_norm(self.attended.plus(attend(self.query_key_value(hidden)), hidden))
        return self.output_norm(self.down.plus(self.up(hidden), hidden))


@dataclass(frozen=True, slots=True)
class PackedModel:
    """BERT, RoBERTa, DistilBERT and MPNet, post-norm, over packed texts."""

    words: Tensor
    positions: Tensor
    embedding_norm: Norm
    layers: tuple[_Layer, ...]
    padding_id: int | None
    attention: Attention

    @classmethod
    def prepare(cls, weights: PackedWeights, kernel: LinearKernel, attention: Attention) -> "PackedModel":
        """Hand each linear layer to `kernel`; what it does not keep of `weights` is free to go."""
        return cls(
            weights.words,
            weights.positions,
            weights.embedding_norm,
            tuple(_prepare_layer(layer, kernel, weights.activation) for layer in weights.layers),
            weights.padding_id,
            attention,
        )

    def pack(self, batch: Sequence[TokenIds], device: str) -> PackedBatch:
        """The batch as `hidden` takes it."""
        return pack(batch, padding_id=self.padding_id, device=device)

    def hidden(self, batch: PackedBatch) -> Tensor:
        """The last layer's output, (tokens, hidden), in the model's dtype."""
        attend = self.attention.plan(batch)
        hidden = embedding(batch.token_ids, self.words).add_(embedding(batch.positions, self.positions))
        hidden = self.embedding_norm(hidden)
        for layer in self.layers:
            hidden = layer(hidden, attend)
        return hidden


def _prepare_layer(layer: LayerWeights, kernel: LinearKernel, activation: str) -> _Layer:
    return _Layer(
        kernel(layer.query_key_value),
        kernel(layer.attended),
        layer.attention_norm,
        kernel(layer.up, activation),
        kernel(layer.down),
        layer.output_norm,
    )
