"""Importance-weighted estimates of log p(x) (Burda et al. 2016).

B sentences, K importance samples, L latents of a sentence (1 but for VAE-AVG), T steps, Z latent size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.errors import require
from lightning_modules.backbone.posterior import standard_normal_log_prob
from lightning_modules.base import TextAutoencoder

# Tensors of the size of the logits that are alive at once: they and what the cross-entropy makes of them.
COPIES_OF_LOGITS = 3
# And of the decoder's states: they, the gates, the input, and what the recurrent network works with (as measured).
COPIES_OF_STATES = 30
# And of the latents: their bits and noise, they, and their densities; and at each step, where the decoder is told them.
COPIES_OF_LATENTS = 24
COPIES_AT_EACH_STEP = 4
# Megabytes of those given, but no more than a part, for what libraries keep of products and threads (as measured).
KEPT, KEPT_PART = 60.0, 0.4
# More sentences at a time gain nothing on a CPU.
SENTENCES_AT_ONCE = 512


@dataclass
class LogWeights:
    """Importance weights of samples of z.

    Attributes:
        reconstruction: (K, B) -log p(x|z_k), nats.
        ends: (K, B) -log p(EOS | x, z_k), which is a part of it.
        ratios: (K, L, B) log p(z) - log q(z|x) of each latent of a sample.
    """

    reconstruction: Tensor
    ends: Tensor
    ratios: Tensor

    def weights(self, with_end: bool = True, ratio_once: bool = False) -> Tensor:
        """(K, B) log-weights.

        Args:
            with_end: Whether EOS counts; without it they are of the words alone.
            ratio_once: One latent's ratio, the mean over the L, where all of them are due: VAE-AVG as its paper
                counts the KL; the estimate is then of no likelihood under N(0, I).
        """
        ratio = self.ratios.mean(1) if ratio_once else self.ratios.sum(1)
        return ratio - (self.reconstruction if with_end else self.reconstruction - self.ends)

    def nll(self, with_end: bool = True, ratio_once: bool = False) -> Tensor:
        """(B,) -log of the mean weight, nats: in expectation an upper bound on -log p(x), which falls as K grows."""
        weights_KB = self.weights(with_end, ratio_once)
        return math.log(len(weights_KB)) - weights_KB.logsumexp(0)

    def error(self, with_end: bool = True, ratio_once: bool = False) -> Tensor:
        """(B,) Monte Carlo standard error of `nll`, by the jackknife (Efron 1982); K must be 2 or more.

        Unlike the delta method's, which is 1 nat at most, it grows with how far one sample outweighs the others.
        """
        weights_KB = self.weights(with_end, ratio_once)
        share_KB = torch.softmax(weights_KB, 0)
        top_1B = weights_KB.argmax(0, keepdim=True)
        others_1B = weights_KB.scatter(0, top_1B, float("-inf")).logsumexp(0, keepdim=True)
        # Without one sample; where that is the heaviest, one minus its share would lose all digits.
        rest_KB = torch.log1p(-share_KB).scatter(0, top_1B, others_1B - weights_KB.logsumexp(0, keepdim=True))
        return (rest_KB.var(0) * (len(weights_KB) - 1) ** 2 / len(weights_KB)).sqrt()

    def effective_samples(self, with_end: bool = True, ratio_once: bool = False) -> Tensor:
        """(B,) from 1 to K: as many equal weights would be as sure (Kong 1992); few of them are a warning."""
        return 1 / torch.softmax(self.weights(with_end, ratio_once), 0).square().sum(0)


def log_weights(model: TextAutoencoder, batch: TokenBatch, samples: int, memory: float = 512.0) -> LogWeights:
    """Draws z from the posterior of each sentence, `samples` times, and weighs the draws.

    The encoder runs once; the decodes are batched, as many at a time as the memory allows. A sentence's draws depend on
    its position in the split and the model's seed alone.

    Args:
        model: A family with a posterior density and the prior N(0, I), in evaluation mode.
        batch: The sentences.
        samples: K.
        memory: Megabytes that decoding may take at a time.

    Raises:
        UsageError: The model has no posterior density.
    """
    require(model.stochastic, f"{type(model).__name__} has no posterior density: its likelihood cannot be estimated")
    latents = model.latents_per_sentence
    posterior = model.encode(batch)
    chunk = max(1, rows_within(memory, model, batch.targets.shape[1]) // len(batch))
    parts = []
    for first in range(0, samples, chunk):
        rows = min(chunk, samples - first) * latents
        noise = model.random(batch).normal("importance", rows, model.latent_size, first=first * latents)
        z_kLBZ = posterior.sample(noise.transpose(0, 1)).view(-1, latents, len(batch), model.latent_size)
        ratios = standard_normal_log_prob(z_kLBZ) - posterior.log_prob(z_kLBZ)
        parts.append((*_decode(model, batch, z_kLBZ), ratios.double()))
    return LogWeights(*(torch.cat(part) for part in zip(*parts, strict=True)))


def rows_within(memory: float, model: TextAutoencoder, steps: int) -> int:
    """How many sentences of so many tokens can be decoded together in so many megabytes, 1 at least."""
    numbers = (memory - min(KEPT, KEPT_PART * memory)) * 1e6 / 4
    latents = model.latents_per_sentence
    states = COPIES_OF_STATES * steps * model.decoder_config.hidden_size * latents
    states += (COPIES_OF_LATENTS + COPIES_AT_EACH_STEP * steps) * latents * model.latent_size
    words = model.vocabulary.get_vocab_size()
    logits = COPIES_OF_LOGITS * steps * words
    tokens = model.backbone.tokens_at_once(model.device)
    whole = min(numbers / (states + logits), tokens / steps)
    # In parts, for which the weights are laid out anew (`Projection.for_many`).
    at_once = COPIES_OF_LOGITS * words * tokens + model.backbone.decoder.output.weight.numel()
    rows = int(max(whole, (numbers - at_once) / states))
    return max(1, min(rows, SENTENCES_AT_ONCE) if model.device.type == "cpu" else rows)


def _decode(model: TextAutoencoder, batch: TokenBatch, z_kLBZ: Tensor) -> tuple[Tensor, Tensor]:
    """-log p(x|z) and its last token's part, (k, B) each, in float64."""
    count, latents = z_kLBZ.shape[:2]
    z = z_kLBZ.transpose(1, 2).flatten(0, 1)  # (k * B, L, Z)
    nll_N, ends_N = model.sentence_nll(batch.tiled(count), z if latents > 1 else z[:, 0])
    return nll_N.double().view(count, -1), ends_N.double().view(count, -1)
