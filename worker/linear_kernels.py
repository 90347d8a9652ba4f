"""Ways to compute a linear layer: torch's own, and oneDNN with weights laid out beforehand.

torch sends float32 to MKL, which is quick on Intel's CPUs and slow on AMD's, and lets oneDNN rearrange bfloat16 weights
at each call.  The oneDNN operators are private to torch, so they are used only where they are there and agree.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

Activation = Callable[[Tensor], Tensor]


class Linear(Protocol):
    """A layer ready to compute; (tokens, in) to (tokens, out)."""

    def __call__(self, inputs: Tensor, add: Tensor | None = None) -> Tensor:
        """The layer's output, plus `add` (which may be overwritten)."""
        ...


class LinearKernel(Protocol):
    """Makes layers from weights of shape (out, in)."""

    def __call__(self, weight: Tensor, bias: Tensor, activation: Activation | None = None) -> Linear:
        """A layer that ends with `activation`."""
        ...


def stock_linear(weight: Tensor, bias: Tensor, activation: Activation | None = None) -> Linear:
    """torch's own."""

    def linear(inputs: Tensor, add: Tensor | None = None) -> Tensor:
        outputs = functional.linear(inputs, weight, bias)
        if activation is not None:
            outputs = activation(outputs)
        return outputs if add is None else outputs.add_(add)

    return linear


def onednn_linear(weight: Tensor, bias: Tensor, activation: Activation | None = None) -> Linear:
    """oneDNN with weights laid out once; gelu and the sum with another tensor are part of the product."""
    operators = torch.ops.mkldnn
    laid_out = operators._reorder_linear_weight(weight.contiguous())  # noqa: SLF001 - see above
    pointwise: Any = operators._linear_pointwise  # noqa: SLF001
    fused = activation is gelu
    attribute, algorithm = ("gelu", "none") if fused else ("none", "")

    def linear(inputs: Tensor, add: Tensor | None = None) -> Tensor:
        if add is not None:
            summed: Tensor = pointwise.binary(inputs, add, laid_out, bias, "add")
            return summed
        outputs: Tensor = pointwise(inputs, laid_out, bias, attribute, [], algorithm)
        return outputs if fused or activation is None else activation(outputs)

    return linear


def has_onednn(device: str, dtype: torch.dtype) -> bool:
    """Whether `onednn_linear` may be tried here."""
    operators = torch.ops.mkldnn
    there = hasattr(operators, "_linear_pointwise") and hasattr(operators, "_reorder_linear_weight")
    return there and device == "cpu" and dtype in (torch.float32, torch.bfloat16)


def gelu(inputs: Tensor) -> Tensor:
    """The exact one, by the error function."""
    return functional.gelu(inputs)
