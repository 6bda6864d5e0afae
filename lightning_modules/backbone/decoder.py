"""The decoder p(x|z): a recurrent network that writes a sentence word by word, told z in one or several places.

B sentences, T steps, E embedding size, H state size, Z latent size, V words, N real tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from datamodules.errors import require, require_positive
from datamodules.vocabulary import BOS, UNK
from lightning_modules.backbone.gru import GRU, beside
from lightning_modules.backbone.layers import Activation, Dropout, Highway
from lightning_modules.backbone.products import Projection
from lightning_modules.backbone.recurrent import Cell, recurrent

MOST_WORDS = 100_000  # that a sentence may be asked to have: memory is kept for them

State = Tensor | tuple[Tensor, Tensor]


def select_rows(state: State, rows_N: Tensor, count: int) -> State:
    """The decoder's state of some of `count` sentences, each of which has a row in it, or several (VAE-AVG)."""
    if isinstance(state, tuple):
        hidden, cell = (_select(part, rows_N, count) for part in state)
        return hidden, cell
    return _select(state, rows_N, count)


def _select(part: Tensor, rows_N: Tensor, count: int) -> Tensor:
    return part.view(len(part), count, -1, part.shape[2]).index_select(1, rows_N).flatten(1, 2)


@dataclass(frozen=True)
class DecoderConfig:
    """The decoder's architecture.

    Attributes:
        cell: Recurrent cell.
        hidden_size: State size H.
        layers: Recurrent layers.
        latent: Where z enters, one or several of: `state` sets the initial state, `concat` stands beside every input
            embedding, `add` is added to it.
        latent_highway: A highway layer with this activation on z before it enters (Vani & Birodkar 2016).
        latent_bias: Whether the maps of z have a bias.
        concat_size: A linear map of z to this size before it is concatenated.
        initial_state: How z sets the state: `hidden` (h0 = Wz, c0 = 0), `hidden_tanh` (h0 = tanh Wz, c0 = 0), `cell`
            (c0 = Wz, h0 = tanh c0; He et al. 2019) or `both` (h0 = Wz, c0 = Uz; Xu & Durrett 2018).
        dropout: On the word embeddings, and between layers.
        input_dropout: On the whole input, z beside or in the embeddings included (Kruengkrai 2019).
        output_dropout: On the states before the output layer.
        tied: The output layer's weights are the word embeddings (behind a linear map where the sizes differ).
        output_bias: Whether the output layer has a bias.
        word_dropout: Share of the input words that training replaces by the unknown word (Bowman 2016).
        inputless: The decoder is never told the words before: after BOS it sees the unknown word, or
            zeros at every step.
        direction: In which order it writes; text that people see is in reading order either way.
        max_words: Longest sentence it generates.
    """

    cell: Cell = "lstm"
    hidden_size: int = 256
    layers: int = 1
    latent: tuple[Literal["state", "concat", "add"], ...] = ("state",)
    latent_highway: Activation | None = None
    latent_bias: bool = True
    concat_size: int | None = None
    initial_state: Literal["hidden", "hidden_tanh", "cell", "both"] = "hidden"
    dropout: float = 0.0
    input_dropout: float = 0.0
    output_dropout: float = 0.0
    tied: bool = False
    output_bias: bool = True
    word_dropout: float = 0.0
    inputless: Literal["unknown", "zeros"] | None = None
    direction: Literal["left_to_right", "right_to_left"] = "left_to_right"
    max_words: int = 60

    def __post_init__(self) -> None:
        for name in ("hidden_size", "layers", "max_words"):
            require_positive(f"decoder.{name}", getattr(self, name))
        require(self.max_words <= MOST_WORDS, f"decoder.max_words is {self.max_words}: give 1 to {MOST_WORDS}")
        if self.concat_size is not None:
            require_positive("decoder.concat_size", self.concat_size)
        for name in ("dropout", "input_dropout", "output_dropout"):
            require(
                0 <= getattr(self, name) < 1, f"decoder.{name} is {getattr(self, name)}: give a probability below 1"
            )
        require(0 <= self.word_dropout <= 1, f"decoder.word_dropout is {self.word_dropout}: give a probability")
        require(
            self.cell == "lstm" or self.initial_state not in ("cell", "both"),
            f"decoder.initial_state {self.initial_state} needs decoder.cell lstm: a gru has no cell state",
        )


class Decoder(nn.Module):
    """Writes sentences.

    Args:
        config: Architecture.
        embedding: The words' input embeddings, (V, E).
        latent_size: Z.
    """

    def __init__(self, config: DecoderConfig, embedding: nn.Embedding, latent_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = embedding
        embedding_size = embedding.embedding_dim
        concat_size = (config.concat_size or latent_size) if "concat" in config.latent else 0
        self.highway = Highway(latent_size, config.latent_highway) if config.latent_highway else nn.Identity()
        self.to_concat = (
            nn.Linear(latent_size, concat_size, bias=config.latent_bias) if config.concat_size else nn.Identity()
        )
        self.to_embedding = self._from_latent("add", latent_size, embedding_size)
        state_size = config.hidden_size * config.layers
        self.to_state = self._from_latent(
            "state", latent_size, state_size * (2 if config.initial_state == "both" else 1)
        )
        self.dropout = Dropout(config.dropout)
        self.input_dropout = Dropout(config.input_dropout)
        self.network = recurrent(
            config.cell, embedding_size + concat_size, config.hidden_size, config.layers, config.dropout
        )
        self.output_dropout = Dropout(config.output_dropout)
        needs_map = config.tied and embedding_size != config.hidden_size
        self.output_map = nn.Linear(config.hidden_size, embedding_size, bias=False) if needs_map else nn.Identity()
        self.output = Projection(
            embedding_size if config.tied else config.hidden_size, embedding.num_embeddings, bias=config.output_bias
        )
        if config.tied:
            self.output.weight = embedding.weight

    def forward(self, inputs_BT: Tensor, z_BZ: Tensor) -> Tensor:
        """Reads the true words (teacher forcing); (B, T) ids to states (B, T, H), before the output dropout."""
        code = self._code(z_BZ)
        states, _ = self._read(inputs_BT, code, self.initial_state(code))
        return states

    def step(self, inputs_B: Tensor, z_BZ: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Reads one word, z and the state before (none at first); the output's state (B, H), and the new state."""
        code = self._code(z_BZ)
        hidden, state = self._read(inputs_B[:, None], code, self.initial_state(code) if state is None else state)
        return hidden[:, 0], state

    def logits(self, states_NH: Tensor) -> Tensor:
        """(N, H) to (N, V)."""
        logits: Tensor = self.output(self.output_map(self.output_dropout(states_NH)))
        return logits

    def initial_state(self, code_BZ: Tensor) -> State | None:
        """The state before the first word, each part (layers, B, H); none (zeros) where z does not set it."""
        if self.to_state is None:
            return None
        parts = self.to_state(code_BZ).view(code_BZ.shape[0], -1, self.config.layers, self.config.hidden_size)
        first = parts[:, 0].transpose(0, 1).contiguous()
        if self.config.initial_state == "cell":
            return torch.tanh(first), first
        if self.config.initial_state == "both":
            return first, parts[:, 1].transpose(0, 1).contiguous()
        hidden = torch.tanh(first) if self.config.initial_state == "hidden_tanh" else first
        return (hidden, torch.zeros_like(hidden)) if self.config.cell == "lstm" else hidden

    def _code(self, z_BZ: Tensor) -> Tensor:
        # Latents are float32 or better even where the weights are not.
        return self.highway(z_BZ.to(self.embedding.weight.dtype))

    def _read(self, inputs_BT: Tensor, code_BZ: Tensor, state: State | None) -> tuple[Tensor, State]:
        embedded = self._embed(inputs_BT, code_BZ)
        if "concat" in self.config.latent:
            code = self.to_concat(code_BZ)
            if isinstance(self.network, GRU) and self.config.input_dropout == 0:
                return self.network(embedded, state, code)
            embedded = beside(embedded, code)
        found: tuple[Tensor, State] = self.network(self.input_dropout(embedded), state)
        return found

    def _embed(self, inputs_BT: Tensor, code_BZ: Tensor) -> Tensor:
        if self.config.inputless == "unknown":
            inputs_BT = inputs_BT.masked_fill(inputs_BT != BOS, UNK)
        embedded = self.dropout(self.embedding(inputs_BT))
        if self.config.inputless == "zeros":
            embedded = embedded * 0  # rather than zeros: DDP wants every parameter used
        if self.to_embedding is not None:
            embedded = embedded + self.to_embedding(code_BZ)[:, None]
        return embedded

    def _from_latent(self, place: str, latent_size: int, size: int) -> nn.Linear | None:
        return nn.Linear(latent_size, size, bias=self.config.latent_bias) if place in self.config.latent else None
