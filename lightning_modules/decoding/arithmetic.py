"""Sentences whose latents are moved along a vector (Shen et al. 2020). N sentences, Z latent size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightning_modules.base import TextAutoencoder
from lightning_modules.decoding.search import evaluating, greedy
from lightning_modules.decoding.text import text_batch, to_text

CHUNK = 512


def sentence_means(model: TextAutoencoder, sentences: Sequence[str]) -> Tensor:
    """(N, Z) means of q(z|x) of whitespace-tokenised sentences, on the model's device."""
    with evaluating(model):
        means = [model.encode(text_batch(model.vocabulary, part).to(model.device)).mean for part in _parts(sentences)]
    return torch.cat(means).clone()


def attribute_vector(model: TextAutoencoder, first: Sequence[str], second: Sequence[str]) -> Tensor:
    """(Z,) the mean posterior mean of sentences with an attribute's second value minus that of those with its first."""
    return sentence_means(model, second).mean(0) - sentence_means(model, first).mean(0)


def moved(model: TextAutoencoder, means_NZ: Tensor, vector_Z: Tensor, scale: float) -> list[str]:
    """Greedy sentences of z = posterior mean + scale * vector."""
    z_NZ = means_NZ + scale * vector_Z
    parts = (z_NZ[start : start + CHUNK] for start in range(0, len(z_NZ), CHUNK))
    return [sentence for z_BZ in parts for sentence in to_text(model, greedy(model, z_BZ))]


def _parts(sentences: Sequence[str]) -> Iterator[Sequence[str]]:
    return (sentences[start : start + CHUNK] for start in range(0, len(sentences), CHUNK))
