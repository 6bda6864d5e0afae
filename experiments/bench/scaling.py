"""How cost grows: with the vocabulary, the length, the samples L and K, and the corpus. No more than in proportion."""

from __future__ import annotations

from collections.abc import Callable

import torch

from datamodules.batch import TokenBatch
from experiments.bench.importance import estimate, made
from experiments.bench.preparation import seconds_of_preparation
from experiments.bench.timing import Row, medians
from experiments.bench.training import Sizes, made_vae_avg, steps

BASE = Sizes(words=5000, embedding=100, hidden=256, latent=32)


def scaling(
    factor: int = 4, repeats: int = 5, sentences: int = 32, length: int = 10, corpus: int = 100_000, samples: int = 50
) -> list[Row]:
    """A row each: the factor times the cost of the smaller one, beside the cost of the larger one.

    Args:
        factor: Between the two.
        repeats: Of which the median counts.
        sentences: In a batch.
        length: Words of a sentence, before it is made longer.
        corpus: Sentences that are prepared, before they are more.
        samples: K of the importance weighting, before it is more.
    """
    larger = Sizes(factor * BASE.words, BASE.embedding, BASE.hidden, BASE.latent)
    batch, longer = _batch(sentences, length), _batch(sentences, factor * length)
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        f"training step, V {BASE.words:,} to {larger.words:,}": (
            steps(made_vae_avg(BASE, 1), [batch]),
            steps(made_vae_avg(larger, 1), [batch]),
        ),
        f"training step, {length} to {factor * length} words": (
            steps(made_vae_avg(BASE, 1), [batch]),
            steps(made_vae_avg(BASE, 1), [longer]),
        ),
        f"training step of VAE-AVG, L = 1 to {factor}": (
            steps(made_vae_avg(BASE, 1), [batch]),
            steps(made_vae_avg(BASE, factor), [batch]),
        ),
    }
    model = made(BASE.words, BASE.hidden)
    pairs[f"importance weighting, K = {samples} to {factor * samples}"] = (
        lambda: estimate(model, batch, samples),
        lambda: estimate(model, batch, factor * samples),
    )
    rows = []
    for what, (smaller, bigger) in pairs.items():
        seconds = medians({"smaller": smaller, "bigger": bigger}, repeats)
        rows.append(_row(what, factor, seconds["smaller"], seconds["bigger"]))
    few, many = (seconds_of_preparation(count) for count in (corpus, factor * corpus))
    return [*rows, _row(f"preparation, {corpus:,} to {factor * corpus:,} sentences", factor, few, many)]


def _row(what: str, factor: int, smaller: float, bigger: float) -> Row:
    return Row(f"{what}; {factor} times the smaller", factor * smaller, bigger, None, f"{bigger / smaller:.2f} times")


def _batch(sentences: int, length: int) -> TokenBatch:
    words = torch.randint(5, BASE.words, (sentences, length), generator=torch.Generator().manual_seed(0))
    return TokenBatch.from_ids(words.tolist())
