"""Small layers that the encoder, the posterior and the decoder share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from datamodules.errors import require

Activation = Literal["tanh", "relu", "elu"]
VALUES = 2**16  # of a mask's random number
ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "elu": nn.functional.elu}


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


class Dropout(nn.Dropout):
    """An `nn.Dropout` that takes less than half of the time on CPUs, where p is rounded to a 65,536th (below 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """The shape of x."""
        if not self.training or not 0 < self.p < 1 or x.device.type != "cpu":
            return super().forward(x)
        # PyTorch draws a double precision number for each element there, one after the other. Here four share a draw.
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        dropped = min(round(self.p * VALUES), VALUES - 1)
        kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - VALUES // 2
        return x * kept.to(x.dtype).div_(1 - dropped / VALUES)


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
