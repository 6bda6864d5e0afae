"""The encoder: word embeddings to one vector a sentence, over real tokens only.

B sentences, T steps, E embedding size, D state size (both directions together), S summary size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from datamodules.batch import length_mask
from datamodules.errors import require, require_positive
from lightning_modules.backbone.layers import ACTIVATIONS, Activation, Dropout, Highway, last_step, reverse
from lightning_modules.backbone.recurrent import Cell, recurrent


@dataclass(frozen=True)
class EncoderConfig:
    """The encoder's architecture.

    Attributes:
        cell: Recurrent cell.
        hidden_size: State size of one direction.
        layers: Recurrent layers.
        direction: How the sentence is read; the states of `bidirectional` are both, concatenated.
        view: What is read: `bos` (BOS w), `bos_eos` (BOS w EOS) or `words` (w).
        dropout: On the word embeddings, and between layers.
        summary: How the states become one vector: the last one (of each direction), their mean or maximum (Long et al.
            2019), or an attention over time with a weight for each feature (Vani & Birodkar 2016).
        summary_cell: With `last`: the LSTM's cell state beside its hidden state (Xu & Durrett 2018). A GPU's step waits
            for the sentences' lengths then.
        summary_highway: A highway layer on the states first, its gate biased to let them pass (Vani & Birodkar 2016).
        summary_size: A linear map of the states to this size before they are summarised.
        summary_activation: What the summary goes through.
    """

    cell: Cell = "lstm"
    hidden_size: int = 256
    layers: int = 1
    direction: Literal["forward", "reversed", "bidirectional"] = "forward"
    view: Literal["bos", "bos_eos", "words"] = "bos"
    dropout: float = 0.0
    summary: Literal["last", "mean", "max", "attention"] = "last"
    summary_cell: bool = False
    summary_highway: bool = False
    summary_size: int | None = None
    summary_activation: Activation | None = None

    def __post_init__(self) -> None:
        for name in ("hidden_size", "layers"):
            require_positive(f"encoder.{name}", getattr(self, name))
        if self.summary_size is not None:
            require_positive("encoder.summary_size", self.summary_size)
        require(0 <= self.dropout < 1, f"encoder.dropout is {self.dropout}: give a probability below 1")
        require(
            not self.summary_cell or (self.summary == "last" and self.cell == "lstm"),
            "encoder.summary_cell needs encoder.cell lstm and encoder.summary last: no other summary has a cell state",
        )


class Encoder(nn.Module):
    """Reads embedded sentences and summarises them.

    Args:
        config: Architecture.
        embedding_size: E.
    """

    def __init__(self, config: EncoderConfig, embedding_size: int) -> None:
        super().__init__()
        self.config = config
        both = config.direction == "bidirectional"
        state_size = config.hidden_size * (2 if both else 1)
        sizes = [embedding_size] + [state_size] * (config.layers - 1)
        self.dropout = Dropout(config.dropout)
        self.forwards = nn.ModuleList(recurrent(config.cell, size, config.hidden_size) for size in sizes)
        self.backwards = nn.ModuleList(recurrent(config.cell, size, config.hidden_size) for size in sizes if both)
        self.summary = Summary(config, embedding_size, state_size * (2 if config.summary_cell else 1))

    @property
    def summary_size(self) -> int:
        """S."""
        return self.summary.size

    def forward(self, embedded_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        """Summarises each sentence.

        Args:
            embedded_BTE: Word embeddings, padded at the end.
            lengths_B: Real steps of each sentence.

        Returns:
            (B, S). Steps behind a sentence's length do not influence it.
        """
        if self.config.direction == "reversed":
            embedded_BTE = reverse(embedded_BTE, lengths_B)
        states_BTD = embedded_BTE
        last_BD = embedded_BTE[:, 0]
        for layer in range(self.config.layers):
            states_BTD, last_BD = self._layer(layer, self.dropout(states_BTD), lengths_B)
        return self.summary(states_BTD, last_BD, embedded_BTE, lengths_B)

    def _layer(self, layer: int, x_BTE: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """The states (B, T, D) of a layer and the last ones (B, D)."""
        states, last = self._read(self.forwards[layer], x_BTE, lengths_B)
        if len(self.backwards) == 0:
            return states, last
        # Reversing each sentence within its own length, rather than packing, keeps the lengths on the device.
        back_states, back_last = self._read(self.backwards[layer], reverse(x_BTE, lengths_B), lengths_B)
        return torch.cat((states, reverse(back_states, lengths_B)), dim=2), torch.cat((last, back_last), dim=1)

    def _read(self, network: nn.Module, x_BTE: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        if not self.config.summary_cell:
            states = network(x_BTE)[0]
            return states, last_step(states, lengths_B)
        # The cell state of a step other than the last one is only to be had from a packed sequence.
        packed = pack_padded_sequence(x_BTE, lengths_B.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        states, (hidden, cell) = network(packed)
        padded, _ = pad_packed_sequence(states, batch_first=True, total_length=x_BTE.shape[1])
        return padded, torch.cat((hidden[-1], cell[-1]), dim=1)


class Summary(nn.Module):
    """Turns the encoder's states into one vector.

    Args:
        config: The encoder's architecture, of which it takes the `summary...` part.
        embedding_size: E.
        state_size: D.
    """

    def __init__(self, config: EncoderConfig, embedding_size: int, state_size: int) -> None:
        super().__init__()
        self.kind = config.summary
        self.size = config.summary_size or state_size
        # Bias -2 and tanh: SentimentVAE's setting.
        self.highway = Highway(state_size, "tanh", gate_bias=-2.0) if config.summary_highway else nn.Identity()
        self.projection = nn.Linear(state_size, self.size) if config.summary_size else nn.Identity()
        self.scores = nn.Linear(embedding_size + state_size, self.size) if self.kind == "attention" else None
        self.activation = config.summary_activation

    def forward(self, states_BTD: Tensor, last_BD: Tensor, embedded_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        """(B, S)."""
        summary = self._pool(states_BTD, last_BD, embedded_BTE, lengths_B)
        return summary if self.activation is None else ACTIVATIONS[self.activation](summary)

    def _pool(self, states_BTD: Tensor, last_BD: Tensor, embedded_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        if self.kind == "last":
            return self.projection(self.highway(last_BD))
        values_BTS = self.projection(self.highway(states_BTD))
        mask_BT1 = length_mask(lengths_B, states_BTD.shape[1])[:, :, None]
        if self.kind == "mean":
            return (values_BTS * mask_BT1).sum(1) / lengths_B[:, None]
        if self.scores is None:
            return values_BTS.masked_fill(~mask_BT1, float("-inf")).amax(1)
        scores_BTS = self.scores(torch.cat((embedded_BTE, states_BTD), dim=2)).masked_fill(~mask_BT1, float("-inf"))
        return (scores_BTS.softmax(1) * values_BTS).sum(1)
