"""What one asks of a latent space by hand: between, along, around and beside sentences. N sentences, Z latent size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_modules.base import TextAutoencoder
from lightning_modules.decoding.arithmetic import moved, sentence_means
from lightning_modules.decoding.decode import decode
from lightning_modules.decoding.encoding import encode_text
from lightning_modules.randomness import SentenceRandom


class Explorer:
    """A model, and a map of sentences whose latents are known. All text is whitespace-tokenised and greedily decoded.

    Args:
        model: Any family with a latent.
        sentences: N, of the map; two or more.
        attributes: Vectors (Z,) by name.
    """

    def __init__(self, model: TextAutoencoder, sentences: Sequence[str], attributes: Mapping[str, Tensor]) -> None:
        self.model = model
        self.sentences = list(sentences)
        self.attributes = dict(attributes)
        self.means = sentence_means(model, self.sentences)
        self.center, self.axes = principal_axes(self.means)

    def between(self, first: str, last: str, share: float) -> str:
        """The sentence on the straight path from one to the other; at 0 and 1 their reconstructions."""
        ends = sentence_means(self.model, [first, last])
        return decode(self.model, torch.lerp(ends[:1], ends[1:], share))[0]

    def changed(self, sentence: str, attribute: str, scale: float) -> str:
        """The sentence, so many times the attribute's vector away."""
        return moved(self.model, sentence_means(self.model, [sentence]), self.attributes[attribute], scale)[0]

    def around(self, sentence: str, sigmas: float, count: int, seed: int = 0) -> list[str]:
        """Sentences of draws of z around a sentence's posterior mean.

        Args:
            sentence: In the middle.
            sigmas: Standard deviations of the draws; in those of its posterior, or of the map's latents in a family
                without a posterior density.
            count: How many.
            seed: Of the draws.
        """
        posterior = encode_text(self.model, [sentence])
        scale = posterior.std if self.model.stochastic else self.means.std(0)
        random = SentenceRandom(torch.arange(count, device=self.means.device), seed, -1)
        noise = random.normal("exploration", self.model.latent_size)
        return decode(self.model, posterior.mean + sigmas * scale * noise)

    def neighbors(self, sentence: str, count: int) -> list[tuple[str, float]]:
        """The nearest sentences of the map and their distances in z."""
        distances = torch.linalg.vector_norm(self.means - sentence_means(self.model, [sentence]), dim=1)
        nearest = distances.argsort(stable=True)[:count]
        return [(self.sentences[row], float(distances[row])) for row in nearest.tolist()]

    def places(self, sentences: Sequence[str]) -> Tensor:
        """(n, 2) places of sentences on the two principal axes of the map's."""
        return (sentence_means(self.model, sentences) - self.center) @ self.axes

    @property
    def map(self) -> Tensor:
        """(N, 2) places of the map's sentences."""
        return (self.means - self.center) @ self.axes


def principal_axes(z_NZ: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (Z,) of latents and the two directions (Z, 2) in which they vary most; with Z = 1 the second is 0."""
    center = z_NZ.mean(0)
    _, _, directions = torch.linalg.svd(z_NZ - center, full_matrices=False)
    return center, torch.nn.functional.pad(directions[:2], (0, 0, 0, max(0, 2 - len(directions)))).T
