"""Sentences as text from latents, however many. B sentences, Z latent size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from datamodules.errors import require
from lightning_modules.decoding.beam import beam_search
from lightning_modules.decoding.search import greedy, sample
from lightning_modules.decoding.text import to_text
from lightning_modules.randomness import SentenceRandom
from lightning_modules.text_model import TextModel

CHUNK = 512


@dataclass(frozen=True)
class DecodingConfig:
    """How sentences are written: the most probable word at each step, drawn words, or a beam search.

    Attributes:
        temperature: Words are drawn from p(x_t | x_<t, z) at this temperature; at 0 the most probable one is taken.
        top_k: Only so many of the most probable words are drawn from.
        top_p: Only the fewest words that together have this probability are.
        beam: Width of a beam search, which draws nothing.
        length_penalty: Of the beam search, see `beam_search`.
        max_words: Longest sentence; the decoder's where it is null.
        forbidden: Words that are not written.

    Raises:
        UsageError: Two of them contradict each other.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    beam: int | None = None
    length_penalty: float = 0.0
    max_words: int | None = None
    forbidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        drawn = self.temperature != 0
        limited = self.top_k is not None or self.top_p != 1
        require(math.isfinite(self.temperature), f"temperature is {self.temperature}: give a number")
        require(
            self.beam is None or not (drawn or limited),
            "a beam search draws no words: give beam, or temperature, top_k and top_p",
        )
        require(
            drawn or not limited,
            "at temperature 0 no words are drawn, which top_k and top_p limit: give a temperature above 0",
        )
        require(
            self.beam is not None or self.length_penalty == 0,
            f"length_penalty {self.length_penalty} ranks the hypotheses of a beam search: give beam, too",
        )


def decode(
    model: TextModel, z_BZ: Tensor, config: DecodingConfig = DecodingConfig(), random: SentenceRandom | None = None
) -> list[str]:
    """Sentences in reading order, decoded a chunk at a time.

    Args:
        model: Any family.
        z_BZ: Latents; (B, L, Z) of a family that writes from several.
        config: How they are written.
        random: Of each sentence, where words are drawn; by the model's seed and number in the batch where it is null.

    Raises:
        UsageError: A setting is out of its range.
    """
    if random is None:
        random = SentenceRandom(torch.arange(len(z_BZ), device=z_BZ.device), model.seed, -1)
    size = max(1, CHUNK // (config.beam or 1))
    sentences: list[str] = []
    for start in range(0, len(z_BZ), size):
        some = replace(random, index=random.index[start : start + size])
        sentences += to_text(model, _decode(model, z_BZ[start : start + size], config, some))
    return sentences


def _decode(model: TextModel, z_BZ: Tensor, config: DecodingConfig, random: SentenceRandom) -> Tensor:
    limit, forbidden = config.max_words, config.forbidden
    if config.beam is not None:
        return beam_search(model, z_BZ, config.beam, config.length_penalty, limit, forbidden).words[:, 0]
    if config.temperature == 0:
        return greedy(model, z_BZ, limit, forbidden)
    return sample(model, z_BZ, random, config.temperature, limit, forbidden, config.top_k, config.top_p)
