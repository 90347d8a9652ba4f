"""Linear layers, multiplied by what torch calls by itself or by oneDNN over weights that were reordered once.

oneDNN's operators are private to torch: they are used only where `onednn_computes` saw them compute.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from transformers.activations import get_activation

from worker.packed_weights import Dense

TYPICAL_TOKENS = 1024
"""oneDNN chooses the order of a weight for about this many rows; others are multiplied by the same order."""
ONEDNN_DTYPES = (torch.float32, torch.bfloat16)
LARGEST_DIFFERENCE = 0.02
"""Between oneDNN and torch on the trial's numbers, which are below 1; bfloat16 has 3 digits."""

Activation = Callable[[Tensor], Tensor]


class Linear(Protocol):
    """A linear layer ready to run."""

    def __call__(self, rows: Tensor) -> Tensor:
        """(tokens, in) to (tokens, out), through the activation that it was prepared with."""
        ...

    def plus(self, rows: Tensor, residual: Tensor) -> Tensor:
        """(tokens, in) to (tokens, out), with `residual` (tokens, out) added."""
        ...


class LinearKernel(Protocol):
    """Prepares the layers of a model."""

    def __call__(self, dense: Dense, activation: str | None = None) -> Linear:
        """A layer that may be followed by an activation that transformers knows by this name."""
        ...


@dataclass(frozen=True, slots=True)
class StockLinear:
    """torch's own choice: MKL or oneDNN on a CPU, cuBLAS on a GPU."""

    dense: Dense
    activate: Activation | None = None

    @classmethod
    def prepare(cls, dense: Dense, activation: str | None = None) -> "StockLinear":
        """Nothing is copied."""
        return cls(dense, activation_of(activation))

    def __call__(self, rows: Tensor) -> Tensor:
        """See `Linear`."""
        product = functional.linear(rows, self.dense.weight, self.dense.bias)
        return product if self.activate is None else self.activate(product)

    def plus(self, rows: Tensor, residual: Tensor) -> Tensor:
        """See `Linear`."""
        return functional.linear(rows, self.dense.weight, self.dense.bias).add_(residual)


@dataclass(frozen=True, slots=True)
class OneDnnLinear:
    """oneDNN with a reordered copy of the weight; exact gelu and the residual's sum happen in its registers."""

    weight: Tensor
    bias: Tensor
    fused: str
    activate: Activation | None

    @classmethod
    def prepare(cls, dense: Dense, activation: str | None = None) -> "OneDnnLinear":
        """Reorder the weight; the original is not kept."""
        weight = torch.ops.mkldnn._reorder_linear_weight(dense.weight.contiguous(), TYPICAL_TOKENS)  # noqa: SLF001
        fused = activation == "gelu"
        return cls(weight, dense.bias, "gelu" if fused else "none", None if fused else activation_of(activation))

    def __call__(self, rows: Tensor) -> Tensor:
        """See `Linear`."""
        operator: Any = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
        product: Tensor = operator(rows, self.weight, self.bias, self.fused, [], "none")
        return product if self.activate is None else self.activate(product)

    def plus(self, rows: Tensor, residual: Tensor) -> Tensor:
        """See `Linear`."""
        operator: Any = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
        total: Tensor = operator.binary(rows, residual, self.weight, self.bias, "add")
        return total


def activation_of(name: str | None) -> Activation | None:
    """The function behind a configuration's `hidden_act`; raises `KeyError` where transformers knows none."""
    if name is None:
        return None
    if name == "gelu":
        return functional.gelu
    activation: Activation = get_activation(name)
    return activation


def onednn_computes(dtype: torch.dtype) -> bool:
    """Whether this torch, on this CPU, has the private operators and they compute what `linear` computes."""
    if dtype not in ONEDNN_DTYPES:
        return False
    generator = torch.Generator().manual_seed(0)
    rows, weight, residual = (torch.rand(16, 16, generator=generator).to(dtype) / 4 for _ in range(3))
    dense = Dense(weight, weight[0])
    try:
        with torch.inference_mode():
            plain, ours = StockLinear.prepare(dense, "gelu"), OneDnnLinear.prepare(dense, "gelu")
            differences = (ours(rows) - plain(rows), ours.plus(rows, residual) - plain.plus(rows, residual))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    return all(float(difference.abs().max()) < LARGEST_DIFFERENCE for difference in differences)
