"""Greedy decoding, and the corruption of a batch, against doing them the plain way."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.vocabulary import BOS, EOS, SPECIAL_TOKENS
from experiments.bench.importance import made
from experiments.bench.published_steps import word_by_word_drop
from experiments.bench.timing import Row, medians
from lightning_modules import SentenceVAE
from lightning_modules.backbone.corruption import CorruptionConfig, corrupt
from lightning_modules.backbone.decoder import State
from lightning_modules.decoding.search import NEVER, evaluating, greedy
from lightning_modules.randomness import SentenceRandom


class Ending(SentenceVAE):
    """A model with random weights whose sentences end as real ones do: after 10 words, more or less, by their z."""

    clock = 0

    def step(self, words_B: Tensor, z_BZ: Tensor, state: State | None) -> tuple[Tensor, State]:
        """As of any family, but for EOS."""
        self.clock = 0 if state is None else self.clock + 1
        logits_BV, state = super().step(words_B, z_BZ, state)
        ended_B = self.clock >= (10 + 4 * z_BZ[:, 0]).clamp(min=3)
        logits_BV[:, EOS] = torch.where(ended_B, float("inf"), float("-inf"))
        return logits_BV, state


def decoding(words: int = 10_000, hidden: int = 400, sentences: int = 1000, repeats: int = 3) -> list[Row]:
    """One row.

    Args:
        words: Of the vocabulary, specials included.
        hidden: State size.
        sentences: That are written.
        repeats: Of which the median counts.
    """
    model = made(words, hidden, Ending)
    z_BZ = torch.randn(sentences, model.latent_size, generator=torch.Generator().manual_seed(0))
    found: dict[str, Tensor] = {}

    def plain() -> None:
        found["plain"] = to_the_limit(model, z_BZ)

    def ours() -> None:
        found["ours"] = greedy(model, z_BZ)

    seconds = medians({"plain": plain, "ours": ours}, repeats)
    written = found["ours"]
    lengths = float((written == EOS).float().argmax(1).float().mean())
    what = f"greedy decoding of {sentences:,} sentences; {model.decoder_config.max_words} words for each, whatever ends"
    note = f"{lengths:.1f} words a sentence, {written.shape[1] - 1} at most"
    return [Row(what, seconds["plain"], seconds["ours"], 3.0, note)]


def corruption(sentences: int = 256, length: int = 12, batches: int = 100, repeats: int = 9) -> list[Row]:
    """One row: words dropped, in one batch after the other, as an epoch has them."""
    words_BT = torch.randint(len(SPECIAL_TOKENS), 10_000, (sentences, length))
    words_TB = words_BT.t().contiguous()  # as they lie in the published code
    lengths_B = torch.full((sentences,), length)
    config = CorruptionConfig(drop=0.3)
    indices = torch.arange(batches * sentences).view(batches, sentences)

    def loop() -> None:
        for _ in range(batches):
            word_by_word_drop(words_TB, config.drop)

    def ours() -> None:
        for index_B in indices:
            corrupt(words_BT, lengths_B, config, SentenceRandom(index_B, seed=0, epoch=0), 10_000)

    seconds = medians({"loop": loop, "ours": ours}, repeats)
    what = f"word drop of {batches} batches of {sentences} x {length} words; sentence by sentence in Python"
    note = f"{1000 * seconds['ours'] / batches:.3f} ms a batch"
    return [Row(what, seconds["loop"], seconds["ours"], 20.0, note)]


def to_the_limit(model: SentenceVAE, z_BZ: Tensor) -> Tensor:
    """(B, T) greedy words: one token at a time for all sentences up to the limit, whichever have ended."""
    words_B = torch.full((len(z_BZ),), BOS)
    state, written = None, []
    with evaluating(model):
        for _ in range(model.decoder_config.max_words):
            logits_BV, state = model.step(words_B, z_BZ, state)
            logits_BV[:, list(NEVER)] = float("-inf")
            words_B = logits_BV.argmax(1)
            written.append(words_B)
    return torch.stack(written, dim=1)
