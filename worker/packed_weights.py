"""An encoder's weights in the form that the packed forward multiplies by, for each architecture that it knows."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from worker.model_folder import POSITIONS_BEGIN_AFTER_PADDING


@dataclass(frozen=True, slots=True)
class Dense:
    """Weight of shape (out, in) and bias of shape (out,)."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, slots=True)
class Norm:
    """Weight and bias of a layer norm, each of shape (hidden,)."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, hidden: Tensor) -> Tensor:
        """Normalise each row of (tokens, hidden)."""
        return nn.functional.layer_norm(hidden, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer; `query_key_value` is the three projections below one another, (3 * hidden, hidden)."""

    query_key_value: Dense
    attended: Dense
    attention_norm: Norm
    up: Dense
    down: Dense
    output_norm: Norm


@dataclass(frozen=True, slots=True)
class PackedWeights:
    """Everything that the packed forward reads."""

    words: Tensor
    positions: Tensor
    """Position embeddings; where the architecture has token types, that of type 0 is added in."""
    embedding_norm: Norm
    layers: tuple[LayerWeights, ...]
    heads: int
    activation: str
    padding_id: int | None
    """Positions are counted from after this id, and it takes none itself; None: they are counted from 0."""
    position_bias: Tensor | None
    """MPNet's bias by relative position, (1, heads, longest, longest)."""


@dataclass(frozen=True, slots=True)
class _LayerNames:
    layers: str
    query: str
    key: str
    value: str
    attended: str
    attention_norm: str
    up: str
    down: str
    output_norm: str


_BERT = _LayerNames(
    layers="encoder.layer",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attended="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output_norm="output.LayerNorm",
)
_MPNET = _LayerNames(
    layers="encoder.layer",
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    attended="attention.attn.o",
    attention_norm="attention.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output_norm="output.LayerNorm",
)
_DISTILBERT = _LayerNames(
    layers="transformer.layer",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attended="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    output_norm="output_layer_norm",
)
_NAMES = {"bert": _BERT, "roberta": _BERT, "xlm-roberta": _BERT, "mpnet": _MPNET, "distilbert": _DISTILBERT}


def packed_weights(model: Any, architecture: str, max_tokens: int) -> PackedWeights:  # noqa: ANN401 - transformers ships no types
    """Take the weights over from `model`, without copies but for the fused projections and the positions.

    Raises `AttributeError` where the model is not built as its architecture usually is.
    """
    names = _NAMES[architecture]
    embeddings, config = model.embeddings, model.config
    with torch.no_grad():
        return PackedWeights(
            words=embeddings.word_embeddings.weight.detach(),
            positions=_positions(embeddings),
            embedding_norm=_norm(embeddings.LayerNorm),
            layers=tuple(_layer(layer, names) for layer in model.get_submodule(names.layers)),
            heads=config.num_attention_heads,
            activation=config.activation if architecture == "distilbert" else config.hidden_act,
            padding_id=embeddings.padding_idx if architecture in POSITIONS_BEGIN_AFTER_PADDING else None,
            position_bias=_position_bias(model, max_tokens) if architecture == "mpnet" else None,
        )


def _positions(embeddings: Any) -> Tensor:  # noqa: ANN401 - transformers ships no types
    positions: Tensor = embeddings.position_embeddings.weight.detach()
    types = getattr(embeddings, "token_type_embeddings", None)
    return positions if types is None else positions + types.weight[0]


def _position_bias(model: Any, max_tokens: int) -> Tensor:  # noqa: ANN401 - transformers ships no types
    """Depends on the distance of two tokens alone, so that shorter texts use its upper left corner."""
    like: Tensor = model.encoder.relative_attention_bias.weight
    bias: Tensor = model.encoder.compute_position_bias(like.new_empty(1, max_tokens, 1))
    return bias.detach()


def _layer(layer: nn.Module, names: _LayerNames) -> LayerWeights:
    parts = [_dense(layer.get_submodule(name)) for name in (names.query, names.key, names.value)]
    return LayerWeights(
        query_key_value=Dense(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])),
        attended=_dense(layer.get_submodule(names.attended)),
        attention_norm=_norm(layer.get_submodule(names.attention_norm)),
        up=_dense(layer.get_submodule(names.up)),
        down=_dense(layer.get_submodule(names.down)),
        output_norm=_norm(layer.get_submodule(names.output_norm)),
    )


def _dense(module: Any) -> Dense:  # noqa: ANN401 - torch types submodules as Tensor | Module
    return Dense(module.weight.detach(), module.bias.detach())


def _norm(module: Any) -> Norm:  # noqa: ANN401 - torch types submodules as Tensor | Module
    return Norm(module.weight.detach(), module.bias.detach(), module.eps)
