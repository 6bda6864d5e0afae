"""Small layers that the encoder, the posterior and the decoder share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from datamodules.errors import require

Activation = Literal["tanh", "relu", "elu"]
ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "elu": nn.functional.elu}


def bfloat16_is_fast() -> bool:
    """Whether the processor computes in bfloat16; PyTorch, which else does it in its stead, is far slower."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Projection(nn.Linear):
    """A linear layer that can be told of many inputs to come, for which its weights are laid out once."""

    _laid_out: tuple[Tensor, Tensor | None] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        if self._laid_out is None:
            return super().forward(x)
        weight, bias = self._laid_out
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(weight.dtype), weight, bias, "none", [], "")
        return out

    @contextmanager
    def for_many(self, rows: int) -> Iterator[None]:
        """For many inputs of so many rows, without gradients: until it ends, the weights must not change.

        On a CPU where oneDNN's products are the faster ones then, it lays a copy of them out in the precision that is
        due, and else would do so for each input. With gradients the weights change too often.
        """
        mixed = torch.is_autocast_enabled("cpu") and self.weight.dtype != torch.float64  # which it leaves alone
        dtype = torch.get_autocast_dtype("cpu") if mixed else self.weight.dtype
        if torch.is_grad_enabled() or not _onednn_is_faster(self.weight.device, dtype):
            yield
            return
        weight = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach().to(dtype), rows)
        before = self._laid_out
        self._laid_out = weight, None if self.bias is None else self.bias.detach().to(dtype)
        try:
            yield
        finally:
            self._laid_out = before


def _onednn_is_faster(device: torch.device, dtype: torch.dtype) -> bool:
    """By properties that do not change from run to run, so that a run can be repeated bit for bit."""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch has it untyped
    if device.type != "cpu" or not available:
        return False
    if dtype == torch.bfloat16:
        return bfloat16_is_fast()
    return dtype == torch.float32 and torch.backends.cpu.get_cpu_capability() == "AVX512" and not _has_mkls_best()


@cache
def _has_mkls_best() -> bool:
    """Whether MKL uses all of the processor: it is made for Intel's, and is known not to on AMD's."""
    try:
        return "AuthenticAMD" not in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True


def reverse(x_BT: Tensor, lengths_B: Tensor) -> Tensor:
    """Reverses each row's first `lengths` steps of (B, T, ...); what lies behind them stays where it is."""
    steps = torch.arange(x_BT.shape[1], device=x_BT.device)
    source = torch.where(steps < lengths_B[:, None], lengths_B[:, None] - 1 - steps, steps)
    return x_BT.gather(1, source.view(*source.shape, *[1] * (x_BT.dim() - 2)).expand_as(x_BT))


def at_least_float32(x: Tensor) -> Tensor:
    """Lower precisions become float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def last_step(x_BTH: Tensor, lengths_B: Tensor) -> Tensor:
    """(B, H), each row at its last real step."""
    step = (lengths_B - 1).clamp(min=0)
    return x_BTH.gather(1, step[:, None, None].expand(-1, 1, x_BTH.shape[2])).squeeze(1)


class Highway(nn.Module):
    """A gated layer that can pass its input through unchanged (Srivastava et al. 2015).

    Args:
        size: Features in and out.
        activation: What the transformed part goes through.
        gate_bias: Initial bias of the gate; negative values let the input pass at first.
    """

    def __init__(self, size: int, activation: Activation = "relu", gate_bias: float = 0.0) -> None:
        super().__init__()
        self.transform = nn.Linear(size, size)
        self.gate = nn.Linear(size, size)
        self.activation = ACTIVATIONS[activation]
        self.gate_bias = gate_bias
        self.reset_gate()

    def reset_gate(self) -> None:
        """Sets the gate's bias, also after an initialisation that draws every parameter."""
        nn.init.constant_(self.gate.bias, self.gate_bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) to (..., size)."""
        gate = torch.sigmoid(self.gate(x))
        return gate * self.activation(self.transform(x)) + (1 - gate) * x


@dataclass(frozen=True)
class EmbeddingConfig:
    """The word embeddings.

    Attributes:
        size: E.
        shared: The encoder and the decoder use one table.
    """

    size: int = 256
    shared: bool = True

    def __post_init__(self) -> None:
        require(self.size > 0, f"embedding.size is {self.size}: give a positive size")
