"""Decoding word by word, batched on the device. B sentences, R of them unfinished, Z latent size, V words, T steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.errors import require
from datamodules.vocabulary import BLANK, BOS, EOS, PAD
from lightning_modules.backbone.decoder import MOST_WORDS, select_rows
from lightning_modules.base import TextAutoencoder
from lightning_modules.randomness import SentenceRandom
from lightning_modules.text_model import TextModel

# The next words of the logits of some sentences, at a step; which sentences these are.
Choose = Callable[[Tensor, int, Tensor], Tensor]
# What the decoder never writes: no target is one of them.
NEVER = (PAD, BOS, BLANK)


def greedy(model: TextModel, z_BZ: Tensor, max_words: int | None = None, forbidden: Sequence[int] = ()) -> Tensor:
    """The most probable word at each step.

    Args:
        model: Any family; dropout is off while it decodes.
        z_BZ: Latents.
        max_words: Longest sentence; the decoder's `max_words` where it is null.
        forbidden: Words that are not written, such as the unknown one.

    Returns:
        (B, T) ids in the decoder's order; EOS ends each sentence, PAD follows.
    """
    return _decode(model, z_BZ, lambda logits_RV, *_: logits_RV.argmax(1), max_words, forbidden)


def sample(
    model: TextModel,
    z_BZ: Tensor,
    random: SentenceRandom,
    temperature: float = 1.0,
    max_words: int | None = None,
    forbidden: Sequence[int] = (),
    top_k: int | None = None,
    top_p: float = 1.0,
) -> Tensor:
    """Words drawn from p(x_t | x_<t, z), sharpened by a temperature below 1; the rest as for `greedy`.

    Args:
        model: Any family.
        z_BZ: Latents.
        random: Of each sentence.
        temperature: Divides the logits.
        max_words: As for `greedy`.
        forbidden: As for `greedy`.
        top_k: Only so many of the most probable words are drawn from, at each step (Fan et al. 2018).
        top_p: Only the fewest words that together have this probability are (the nucleus, Holtzman et al. 2020).

    Raises:
        UsageError: The temperature is not positive, `top_k` is below 1, or `top_p` not in (0, 1].
    """
    require(temperature > 0, f"temperature is {temperature}: give a positive number, or decode greedily")
    require(top_k is None or top_k > 0, f"top_k is {top_k}: give 1 or more")
    require(0 < top_p <= 1, f"top_p is {top_p}: give a probability above 0, up to 1")

    def choose(logits_RV: Tensor, step: int, rows_R: Tensor) -> Tensor:
        logits_RV = _most_probable(logits_RV / temperature, top_k, top_p)
        cumulative_RV = logits_RV.softmax(1).cumsum(1)
        own = SentenceRandom(random.index[rows_R], random.seed, random.epoch)
        drawn_R1 = own.uniform("decoding", 1, sample=step) * cumulative_RV[:, -1:]
        return torch.searchsorted(cumulative_RV, drawn_R1).squeeze(1).clamp(max=logits_RV.shape[1] - 1)

    return _decode(model, z_BZ, choose, max_words, forbidden)


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


def word_limit(model: TextModel, max_words: int | None) -> int:
    """The longest sentence that is written: as asked for, or as the decoder is configured.

    Raises:
        UsageError: It has no words, or more than could be kept.
    """
    limit = model.decoder_config.max_words if max_words is None else max_words
    require(0 < limit <= MOST_WORDS, f"max_words is {limit}: give 1 to {MOST_WORDS}")
    return limit


def _most_probable(logits_BV: Tensor, top_k: int | None, top_p: float) -> Tensor:
    """The logits of the most probable words, at least one; -inf those of the others."""
    if top_k is not None and top_k < logits_BV.shape[1]:
        least_B1 = logits_BV.topk(top_k).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least_B1, float("-inf"))
    if top_p < 1:
        descending_BV, words_BV = logits_BV.sort(descending=True)
        probability_BV = descending_BV.softmax(1)
        outside_BV = probability_BV.cumsum(1) - probability_BV >= top_p
        logits_BV = logits_BV.masked_fill(outside_BV.scatter(1, words_BV, outside_BV), float("-inf"))
    return logits_BV


def _decode(model: TextModel, z_BZ: Tensor, choose: Choose, max_words: int | None, forbidden: Sequence[int]) -> Tensor:
    limit = word_limit(model, max_words)
    never = torch.tensor([*NEVER, *forbidden], device=z_BZ.device)
    rows_R = torch.arange(len(z_BZ), device=z_BZ.device)  # of the sentences that have not ended
    words_R = torch.full_like(rows_R, BOS)
    written_BT = torch.full((len(z_BZ), limit + 1), PAD, device=z_BZ.device)
    state = None
    with evaluating(model):
        for step in range(limit if len(z_BZ) > 0 else 0):
            logits_RV, state = model.step(words_R, z_BZ[rows_R], state)
            logits_RV = logits_RV.float().index_fill_(1, never, float("-inf"))
            words_R = choose(logits_RV, step, rows_R)
            written_BT[rows_R, step] = words_R
            going_on_R = (words_R != EOS).nonzero().squeeze(1)
            if len(going_on_R) < len(rows_R):
                state = select_rows(state, going_on_R, len(rows_R))
                words_R, rows_R = words_R[going_on_R], rows_R[going_on_R]
            if len(rows_R) == 0:
                return written_BT[:, : step + 1]
    written_BT[rows_R, limit] = EOS
    return written_BT
