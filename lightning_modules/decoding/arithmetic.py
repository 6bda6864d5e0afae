"""Sentences whose latents are moved along a vector (Shen et al. 2020). N sentences, Z latent size."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lightning_modules.base import TextAutoencoder
from lightning_modules.decoding.decode import decode
from lightning_modules.decoding.encoding import encode_text


def sentence_means(model: TextAutoencoder, sentences: Sequence[str]) -> Tensor:
    """(N, Z) means of q(z|x) of whitespace-tokenised sentences, on the model's device."""
    return encode_text(model, sentences).mean.clone()


def attribute_vector(model: TextAutoencoder, first: Sequence[str], second: Sequence[str]) -> Tensor:
    """(Z,) the mean posterior mean of sentences with an attribute's second value minus that of those with its first."""
    return sentence_means(model, second).mean(0) - sentence_means(model, first).mean(0)


def moved(model: TextAutoencoder, means_NZ: Tensor, vector_Z: Tensor, scale: float) -> list[str]:
    """Greedy sentences of z = posterior mean + scale * vector."""
    return decode(model, means_NZ + scale * vector_Z)
