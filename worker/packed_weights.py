"""A transformer's weights, taken out of transformers' modules, by one set of names for all architectures."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from worker.linear_kernels import Activation, gelu


@dataclass(frozen=True, eq=False)
class Norm:
    """A layer normalisation."""

    weight: Tensor
    bias: Tensor
    epsilon: float

    @classmethod
    def of(cls, module: nn.LayerNorm) -> "Norm":
        """Take over a module's weights."""
        return cls(module.weight.detach(), module.bias.detach(), module.eps)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Normalise (tokens, dimension)."""
        return nn.functional.layer_norm(inputs, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """One layer; linear weights have shape (out, in)."""

    projection: tuple[Tensor, Tensor]
    """Queries, keys and values one below the other: weight and bias."""
    attention_output: tuple[Tensor, Tensor]
    attention_norm: Norm
    expansion: tuple[Tensor, Tensor]
    contraction: tuple[Tensor, Tensor]
    output_norm: Norm


@dataclass(frozen=True, eq=False)
class PackedWeights:
    """A whole encoder."""

    words: Tensor
    """Shape (vocabulary, dimension)."""
    positions: Tensor
    """Position embeddings, with the one token type's in them, shape (positions, dimension)."""
    embedding_norm: Norm
    layers: list[LayerWeights]
    heads: int
    activation: Activation
    padding_id: int | None
    """Positions begin behind it; None: at 0."""
    bias: Tensor | None
    """Attention bias by position, shape (1, heads, most tokens, most tokens)."""

    @classmethod
    def of(cls, model: Any, architecture: str, max_tokens: int) -> "PackedWeights":  # noqa: ANN401 - transformers ships no types
        """Take over the weights of a BERT, RoBERTa, DistilBERT or MPNet model."""
        config, embeddings = model.config, model.embeddings
        distil = architecture == "distilbert"
        layers = model.transformer.layer if distil else model.encoder.layer
        take = {"distilbert": _distilbert_layer, "mpnet": _mpnet_layer}.get(architecture, _bert_layer)
        positions = embeddings.position_embeddings.weight.detach()
        if hasattr(embeddings, "token_type_embeddings"):
            positions = positions + embeddings.token_type_embeddings.weight.detach()[0]
        return cls(
            words=embeddings.word_embeddings.weight.detach(),
            positions=positions,
            embedding_norm=Norm.of(embeddings.LayerNorm),
            layers=[take(layer) for layer in layers],
            heads=config.n_heads if distil else config.num_attention_heads,
            activation=_activation(config.activation if distil else config.hidden_act),
            padding_id=None if architecture in ("bert", "distilbert") else int(config.pad_token_id),
            bias=_position_bias(model, max_tokens) if architecture == "mpnet" else None,
        )


def _activation(name: str) -> Activation:
    if name == "gelu":
        return gelu
    activation: Activation = ACT2FN[name]
    return activation


def _position_bias(model: Any, max_tokens: int) -> Tensor:  # noqa: ANN401
    with torch.inference_mode():
        bias: Tensor = model.encoder.compute_position_bias(model.embeddings.word_embeddings.weight[:max_tokens][None])
    return bias


def _linear(*modules: nn.Linear) -> tuple[Tensor, Tensor]:
    """The weights of linear modules one below the other."""
    weights = [module.weight.detach() for module in modules]
    biases = [module.bias.detach() for module in modules]
    return (weights[0], biases[0]) if len(modules) == 1 else (torch.cat(weights), torch.cat(biases))


def _bert_layer(layer: Any) -> LayerWeights:  # noqa: ANN401
    attention = layer.attention
    return LayerWeights(
        projection=_linear(attention.self.query, attention.self.key, attention.self.value),
        attention_output=_linear(attention.output.dense),
        attention_norm=Norm.of(attention.output.LayerNorm),
        expansion=_linear(layer.intermediate.dense),
        contraction=_linear(layer.output.dense),
        output_norm=Norm.of(layer.output.LayerNorm),
    )


def _mpnet_layer(layer: Any) -> LayerWeights:  # noqa: ANN401
    attention = layer.attention
    return LayerWeights(
        projection=_linear(attention.attn.q, attention.attn.k, attention.attn.v),
        attention_output=_linear(attention.attn.o),
        attention_norm=Norm.of(attention.LayerNorm),
        expansion=_linear(layer.intermediate.dense),
        contraction=_linear(layer.output.dense),
        output_norm=Norm.of(layer.output.LayerNorm),
    )


def _distilbert_layer(layer: Any) -> LayerWeights:  # noqa: ANN401
    attention = layer.attention
    return LayerWeights(
        projection=_linear(attention.q_lin, attention.k_lin, attention.v_lin),
        attention_output=_linear(attention.out_lin),
        attention_norm=Norm.of(layer.sa_layer_norm),
        expansion=_linear(layer.ffn.lin1),
        contraction=_linear(layer.ffn.lin2),
        output_norm=Norm.of(layer.output_layer_norm),
    )
