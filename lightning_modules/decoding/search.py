"""Decoding word by word, batched on the device. B sentences, Z latent size, V words, T steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.errors import require
from datamodules.vocabulary import BLANK, BOS, EOS, PAD
from lightning_modules.base import TextAutoencoder
from lightning_modules.randomness import SentenceRandom
from lightning_modules.text_model import TextModel

Choose = Callable[[Tensor, int], Tensor]
# What the decoder never writes: no target is one of them.
NEVER = (PAD, BOS, BLANK)


def greedy(model: TextModel, z_BZ: Tensor, max_words: int | None = None) -> Tensor:
    """The most probable word at each step.

    Args:
        model: Any family; dropout is off while it decodes.
        z_BZ: Latents.
        max_words: Longest sentence; the decoder's `max_words` where it is null.

    Returns:
        (B, T) ids in the decoder's order; EOS ends each sentence, PAD follows.
    """
    return _decode(model, z_BZ, lambda logits_BV, step: logits_BV.argmax(1), max_words)


def sample(
    model: TextModel,
    z_BZ: Tensor,
    random: SentenceRandom,
    temperature: float = 1.0,
    max_words: int | None = None,
) -> Tensor:
    """Words drawn from p(x_t | x_<t, z), sharpened by a temperature below 1; the rest as for `greedy`.

    Raises:
        UsageError: The temperature is not positive.
    """
    require(temperature > 0, f"temperature is {temperature}: give a positive number, or decode greedily")

    def choose(logits_BV: Tensor, step: int) -> Tensor:
        cumulative_BV = (logits_BV / temperature).softmax(1).cumsum(1)
        drawn_B1 = random.uniform("decoding", 1, sample=step) * cumulative_BV[:, -1:]
        return torch.searchsorted(cumulative_BV, drawn_B1).squeeze(1).clamp(max=logits_BV.shape[1] - 1)

    return _decode(model, z_BZ, choose, max_words)


def reconstruct(model: TextAutoencoder, batch: TokenBatch) -> Tensor:
    """Greedy reconstructions (B, T) of a batch from the posterior's mean."""
    with evaluating(model):
        return greedy(model, model.encode(batch).mean)


@contextmanager
def evaluating(model: TextModel) -> Iterator[None]:
    """Switches dropout, word dropout, corruption and gradients off."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def _decode(model: TextModel, z_BZ: Tensor, choose: Choose, max_words: int | None) -> Tensor:
    limit = model.decoder_config.max_words if max_words is None else max_words
    require(limit > 0, f"max_words is {limit}: give 1 or more")
    words_B = torch.full((z_BZ.shape[0],), BOS, device=z_BZ.device)
    finished_B = torch.zeros_like(words_B, dtype=torch.bool)
    state = None
    chosen = []
    with evaluating(model):
        for step in range(limit):
            logits_BV, state = model.step(words_B, z_BZ, state)
            logits_BV = logits_BV.float()
            logits_BV[:, NEVER] = float("-inf")
            words_B = torch.where(finished_B, PAD, choose(logits_BV, step))
            chosen.append(words_B)
            finished_B = finished_B | (words_B == EOS)
            if bool(finished_B.all()):
                break
        else:
            chosen.append(torch.where(finished_B, PAD, EOS))
    return torch.stack(chosen, dim=1)
