"""Latents from text, however much. B sentences, K samples, Z latent size."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from datamodules.batch import TokenBatch
from datamodules.vocabulary import UNK
from lightning_modules.backbone.posterior import Gaussian
from lightning_modules.base import TextAutoencoder
from lightning_modules.decoding.search import evaluating
from lightning_modules.decoding.text import text_batch
from lightning_modules.randomness import SentenceRandom

# Sentences that are encoded at a time, and tokens, padding included.
TOGETHER, TOKENS = 512, 65_536
# Among how many sentences those of like length are looked for, and characters; fewer where each has many numbers
# (samples times latent size).
WINDOW, CHARACTERS, NUMBERS = 16_384, 8_000_000, 16_000_000


def encode_text(model: TextAutoencoder, sentences: Sequence[str]) -> Gaussian:
    """q(z|x) of whitespace-tokenised sentences, on the model's device."""
    with evaluating(model):
        found = [
            model.encode(text_batch(model.vocabulary, sentences[start : start + TOGETHER]).to(model.device))
            for start in range(0, len(sentences), TOGETHER)
        ]
    return Gaussian(torch.cat([some.mean for some in found]), torch.cat([some.log_variance for some in found]))


def encode_stream(
    model: TextAutoencoder, sentences: Iterable[str], samples: int | None = None, seed: int = 0
) -> Iterator[tuple[list[str], npt.NDArray[np.float32]]]:
    """The latents of sentences of which few are in memory at a time, in their order.

    Args:
        model: Any family with a latent.
        sentences: Whitespace-tokenised.
        samples: K draws of each posterior, rather than its mean. A sentence's draws depend on its position alone.
        seed: Of the draws.

    Sentences of unknown words alone are encoded, too, and counted in one warning.

    Yields:
        Some sentences and their latents in float32, (B, Z), or (B, K, Z) of samples.
    """
    first, unknown = 0, 0
    each = (model.latent_size,) if samples is None else (samples, model.latent_size)
    for some in _windows(sentences, max(1, min(WINDOW, NUMBERS // math.prod(each)))):
        ids = [encoding.ids for encoding in model.vocabulary.encode_batch_fast(some)]
        unknown += sum(set(words) == {UNK} for words in ids)
        longest_first = np.argsort([-len(words) for words in ids], kind="stable")
        latents = np.empty((len(some), *each), dtype=np.float32)
        start = 0
        while start < len(some):
            together = max(1, min(TOGETHER, TOKENS // (len(ids[longest_first[start]]) + 1)))
            rows = longest_first[start : start + together]
            start += together
            latents[rows] = _latents(model, [ids[row] for row in rows], first + rows, samples, seed)
        yield some, latents
        first += len(some)
    if unknown:
        warnings.warn(f"{unknown:,} of {first:,} sentences have no word that the model knows", stacklevel=2)


def _windows(sentences: Iterable[str], count: int) -> Iterator[list[str]]:
    """Lists of up to `count` sentences, or fewer long ones."""
    some: list[str] = []
    characters = 0
    for sentence in sentences:
        some.append(sentence)
        characters += len(sentence)
        if len(some) == count or characters >= CHARACTERS:
            yield some
            some, characters = [], 0
    if some:
        yield some


def _latents(
    model: TextAutoencoder, ids: list[list[int]], index: npt.NDArray[np.int64], samples: int | None, seed: int
) -> npt.NDArray[np.float32]:
    with evaluating(model):
        batch = TokenBatch.from_ids(ids, index).to(model.device)
        posterior = model.encode(batch)
        z = posterior.mean
        if samples is not None:
            noise_BKZ = SentenceRandom(batch.index, seed, -1).normal("encode", samples, model.latent_size)
            z = posterior.sample(noise_BKZ.transpose(0, 1)).transpose(0, 1)
        return np.asarray(z.float().cpu().numpy())
