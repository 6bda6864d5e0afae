"""Recurrent networks: PyTorch's, but for what is mended of them on CPUs, see `lstm` and `gru`."""

from __future__ import annotations

from typing import Literal

from lightning_modules.backbone.gru import GRU
from lightning_modules.backbone.lstm import LSTM

Cell = Literal["lstm", "gru"]


def recurrent(cell: Cell, input_size: int, hidden_size: int, layers: int = 1, dropout: float = 0.0) -> LSTM | GRU:
    """A forward recurrent network over (B, T, input_size); `dropout` is between its layers."""
    kind = LSTM if cell == "lstm" else GRU
    return kind(input_size, hidden_size, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
