"""How parameters start: PyTorch's defaults, or the uniform ranges that the papers state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from datamodules.errors import require_positive
from lightning_modules.backbone.layers import Highway


@dataclass(frozen=True)
class InitializationConfig:
    """Initial values; where a range is null, what `weights` says holds.

    Attributes:
        weights: PyTorch's own, `uniform` (every parameter in [-range, range]; Kruengkrai 2019: 0.1, He et al. 2019:
            0.01) or `xavier` (linear layers only; Vani & Birodkar 2016).
        range: Of `uniform`.
        embedding_range: Word embeddings are uniform in [-embedding_range, embedding_range].
        output_range: The output layer's weights are, and its bias is 0 (Shen et al. 2020: 0.1, like the embeddings).
    """

    weights: Literal["pytorch", "uniform", "xavier"] = "pytorch"
    range: float = 0.1
    embedding_range: float | None = None
    output_range: float | None = None

    def __post_init__(self) -> None:
        for name in ("range", "embedding_range", "output_range"):
            value = getattr(self, name)
            if value is not None:
                require_positive(f"initialization.{name}", value)


def initialize(model: nn.Module, output: nn.Linear | None, config: InitializationConfig) -> None:
    """Draws the parameters of `model`, whose output layer is `output` if it has one, in place."""
    if config.weights == "uniform":
        for parameter in model.parameters():
            nn.init.uniform_(parameter, -config.range, config.range)
    for layer in model.modules():
        if config.weights == "xavier" and isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if config.embedding_range is not None and isinstance(layer, nn.Embedding):
            nn.init.uniform_(layer.weight, -config.embedding_range, config.embedding_range)
    for layer in model.modules():
        if isinstance(layer, Highway):
            layer.reset_gate()
    if output is not None and config.output_range is not None:
        nn.init.uniform_(output.weight, -config.output_range, config.output_range)
        if output.bias is not None:
            nn.init.zeros_(output.bias)
