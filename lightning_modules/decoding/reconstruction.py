"""Sentences on their way through the latent. B sentences, L latents of a sentence, Z latent size."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from datamodules.errors import require
from lightning_modules.backbone.posterior import Gaussian
from lightning_modules.base import TextAutoencoder
from lightning_modules.decoding.decode import DecodingConfig, decode
from lightning_modules.randomness import SentenceRandom


def reconstructions(
    model: TextAutoencoder,
    posterior: Gaussian,
    index_B: Tensor,
    samples: int = 0,
    perturbation: float | None = None,
    decoding: DecodingConfig = DecodingConfig(),
    seed: int = 0,
) -> dict[str, list[str]]:
    """What the decoder makes of q(z|x) (Bowman et al. 2016, Table 7; Livne et al. 2020, Table 11).

    Args:
        model: A model with a latent.
        posterior: Of the sentences.
        index_B: Their numbers, by which they draw.
        samples: Draws of z.
        perturbation: Standard deviations: z is also drawn from the Gaussian of the posterior's mean and so many times
            its standard deviation.
        decoding: How they are written.
        seed: Of the draws.

    Returns:
        B sentences each of `mean`, `sample` (or `sample 1`, ... of several) and `perturbed`.

    Raises:
        UsageError: Something is to be drawn of a model without a posterior density, or a number is out of its range.
    """
    require(samples >= 0, f"samples is {samples}: give 0 or more")
    positive = perturbation is None or perturbation > 0
    require(positive, f"perturb is {perturbation}: give a positive number of the posterior's standard deviations")
    drawn = samples > 0 or perturbation is not None
    deterministic = f"the {type(model).__name__} has no posterior density: there is nothing to sample or to perturb"
    require(model.stochastic or not drawn, deterministic)
    random = SentenceRandom(index_B, seed, -1)
    ways = {"mean": decode(model, posterior.mean, decoding, random)}
    for number in range(samples):
        own = replace(random, epoch=-1 - number)
        name = "sample" if samples == 1 else f"sample {number + 1}"
        ways[name] = decode(model, model.draw_latents(posterior, own), decoding, own)
    if perturbation is not None:
        wider = Gaussian(posterior.mean, posterior.log_variance + 2 * math.log(perturbation))
        ways["perturbed"] = decode(model, model.draw_latents(wider, random, "perturbation"), decoding, random)
    return ways
