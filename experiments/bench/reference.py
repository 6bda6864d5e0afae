"""Reference loops: what the published repositories do, in plain PyTorch on this framework's weights.

B sentences, K importance samples, T steps, V words, Z latent size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from datamodules.batch import TokenBatch
from experiments.bench.published_steps import plain_logits
from lightning_modules import SentenceVAE
from lightning_modules.backbone.posterior import Gaussian, standard_normal_log_prob


def loop_over_samples(model: SentenceVAE, batch: TokenBatch, noise_BKZ: Tensor) -> Tensor:
    """(B,) importance-weighted NLL as He et al. (2019) and Kim et al. (2018) have it: a full decode for each sample.

    The sentences are of one length, as these repositories batch them.
    """
    with torch.inference_mode():
        posterior = model.encode(batch)
        weights = [_log_weight(model, batch, posterior, noise_BKZ[:, k]) for k in range(noise_BKZ.shape[1])]
        return math.log(len(weights)) - torch.logsumexp(torch.stack(weights), dim=0)


def one_at_a_time(model: SentenceVAE, sentences: list[TokenBatch], noise_BKZ: Tensor) -> Tensor:
    """(B,) the same, a sentence and a sample at a time, each with its own pass through the encoder."""
    found = []
    with torch.inference_mode():
        for sentence, noise_KZ in zip(sentences, noise_BKZ, strict=True):
            weights = [_log_weight(model, sentence, model.encode(sentence), noise_Z[None]) for noise_Z in noise_KZ]
            found.append(math.log(len(weights)) - torch.logsumexp(torch.cat(weights), dim=0))
    return torch.stack(found)


def _log_weight(model: SentenceVAE, batch: TokenBatch, posterior: Gaussian, noise_BZ: Tensor) -> Tensor:
    z_BZ = posterior.mean + posterior.std * noise_BZ
    logits_BTV = plain_logits(model, model.backbone.decoder(batch.inputs, z_BZ))
    log_probs_BT = torch.log_softmax(logits_BTV, dim=2).gather(2, batch.targets[:, :, None]).squeeze(2)
    return log_probs_BT.sum(1) + standard_normal_log_prob(z_BZ) - posterior.log_prob(z_BZ)
