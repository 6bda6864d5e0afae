"""The corruption C(x) of what the encoder sees in training (Shen et al. 2020), on id tensors, on the device.

B sentences, T words of the longest one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.batch import length_mask
from datamodules.errors import require
from datamodules.vocabulary import BLANK, PAD, SPECIAL_TOKENS, UNK
from lightning_modules.randomness import SentenceRandom

SHORT = 64  # words, up to which a table of masks is kept


@dataclass(frozen=True)
class CorruptionConfig:
    """Noise on words, applied in this order, which is the published code's (`unknown` aside).

    Attributes:
        shuffle: No word moves further than this many places.
        drop: Probability that a word is dropped; it leaves no trace, the sentence is shorter.
        blank: Probability that a word becomes `<blank>`.
        substitute: Probability that a word becomes one drawn uniformly from the vocabulary.
        unknown: Probability that a word becomes `<unk>` (the question-answering models of Livne et al. 2020: 0.2).
    """

    shuffle: int = 0
    drop: float = 0.0
    blank: float = 0.0
    substitute: float = 0.0
    unknown: float = 0.0

    def __post_init__(self) -> None:
        require(self.shuffle >= 0, f"corruption.shuffle is {self.shuffle}: give a distance of 0 or more")
        for name in ("drop", "blank", "substitute", "unknown"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"corruption.{name} is {value}: give a probability")


def corrupt(
    words_BT: Tensor, lengths_B: Tensor, config: CorruptionConfig, random: SentenceRandom, vocabulary_size: int
) -> tuple[Tensor, Tensor]:
    """Applies C to a batch of sentences without BOS and EOS.

    Args:
        words_BT: Word ids, padded at the end.
        lengths_B: Words of each sentence.
        config: Which noise.
        random: The batch's random numbers; a sentence's corruption does not depend on its batch companions.
        vocabulary_size: V, specials counted; substitutes are not specials.

    Returns:
        The noisy ids (B, T) and how many words each sentence has left (B,); all may be dropped.
    """
    steps = words_BT.shape[1]
    if config.shuffle > 0:
        place = torch.arange(steps, device=words_BT.device)
        # Sorting i + (k + 1) U_i moves no word further than k places.
        key = place + (config.shuffle + 1) * random.uniform("shuffle", steps)
        key = key.masked_fill(~length_mask(lengths_B, steps), float("inf"))
        words_BT = words_BT.gather(1, key.argsort(dim=1, stable=True))
    if config.drop > 0:
        move = _moved if words_BT.device.type == "cpu" else _moved_on_device
        words_BT, lengths_B = move(words_BT, random.bernoulli("drop", config.drop, steps))
    if not (config.blank or config.substitute or config.unknown):
        return words_BT, lengths_B
    real = length_mask(lengths_B, steps)
    if config.blank > 0:
        words_BT = words_BT.masked_fill(random.bernoulli("blank", config.blank, steps) & real, BLANK)
    if config.substitute > 0:
        words = vocabulary_size - len(SPECIAL_TOKENS)
        drawn = (random.uniform("substitute", steps) * words).long() + len(SPECIAL_TOKENS)
        chosen = random.bernoulli("substituted", config.substitute, steps) & real
        words_BT = torch.where(chosen, drawn, words_BT)
    if config.unknown > 0:
        words_BT = words_BT.masked_fill(random.bernoulli("unknown", config.unknown, steps) & real, UNK)
    return words_BT, lengths_B


def _moved(words_BT: Tensor, dropped_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The words that are not dropped, moved to the front, and how many they are (B,); by NumPy, which is quicker."""
    words = words_BT.numpy()
    steps = words.shape[1]
    kept_BT = (words != PAD) & ~dropped_BT.numpy()
    counts_B = (kept_BT @ np.ones(steps, np.float32)).astype(np.int64)  # far quicker than a sum over short rows
    left_BT = np.full(words.shape, PAD)
    # NumPy is slow over short rows.
    front_BT = _fronts(steps).take(counts_B, axis=0) if steps <= SHORT else np.arange(steps) < counts_B[:, None]
    left_BT[front_BT] = words.reshape(-1).take(kept_BT.reshape(-1).nonzero()[0])  # both row by row
    return torch.from_numpy(left_BT), torch.from_numpy(counts_B)


@lru_cache
def _fronts(steps: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(steps + 1, steps), true at the first n of row n."""
    return np.tri(steps + 1, steps, -1, dtype=bool)


def _moved_on_device(words_BT: Tensor, dropped_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The same without waiting for the device to know how many they are."""
    steps = words_BT.shape[1]
    kept_BT = (words_BT != PAD) & ~dropped_BT
    places_BT = kept_BT.cumsum(1)
    # What is dropped goes to a column of its own, which is cut off.
    left_BT = words_BT.new_full((len(words_BT), steps + 1), PAD)
    left_BT.scatter_(1, torch.where(kept_BT, places_BT - 1, steps), words_BT)
    return left_BT[:, :steps], places_BT[:, -1]
