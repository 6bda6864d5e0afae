"""Beam search: for the most probable sentence, or for the most probable words between known ones.

B sentences, K hypotheses of each, T steps, Z latent size, V words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.errors import require
from datamodules.vocabulary import BOS, EOS, PAD
from lightning_modules.backbone.decoder import State, select_rows
from lightning_modules.backbone.layers import at_least_float32
from lightning_modules.decoding.search import NEVER, evaluating, word_limit
from lightning_modules.text_model import TextModel

Allow = Callable[[Tensor, int], Tensor]
"""Log-probabilities (B, K, V) of a step's words, -inf of those that may not be written there."""


@dataclass(frozen=True)
class Hypotheses:
    """The sentences that a beam search found, best first.

    Attributes:
        words: (B, K, T) ids in the decoder's order; EOS ends each sentence, PAD follows.
        log_probability: (B, K) log p(x|z), nats, EOS counted; -inf where there are fewer sentences than hypotheses.
    """

    words: Tensor
    log_probability: Tensor


def beam_search(
    model: TextModel,
    z_BZ: Tensor,
    width: int,
    length_penalty: float = 0.0,
    max_words: int | None = None,
    forbidden: Sequence[int] = (),
) -> Hypotheses:
    """The most probable sentences, among those of which every beginning was among the `width` best.

    Width 1 is greedy decoding. The search ends once no other sentence can become the best.

    Args:
        model: Any family; dropout is off while it decodes.
        z_BZ: Latents.
        width: K.
        length_penalty: Hypotheses are ranked by log p(x|z) / tokens^length_penalty, EOS counted: 0 favours short ones,
            1 is the mean of the tokens (Wu et al. 2016 without their constant).
        max_words: Longest sentence; the decoder's `max_words` where it is null.
        forbidden: Words that are not written, such as the unknown one.

    Raises:
        UsageError: The width is below 1 or the penalty negative.
    """
    limit = word_limit(model, max_words)
    never = torch.tensor([*NEVER, *forbidden], device=z_BZ.device)

    def allow(log_p_BKV: Tensor, step: int) -> Tensor:
        log_p_BKV.index_fill_(2, never, float("-inf"))
        if step == limit:
            log_p_BKV[:, :, :EOS] = log_p_BKV[:, :, EOS + 1 :] = float("-inf")
        return log_p_BKV

    return _search(model, z_BZ, width, limit, allow, length_penalty)


def complete(
    model: TextModel, z_BZ: Tensor, batch: TokenBatch, free_BT: Tensor, width: int, forbidden: Sequence[int] = ()
) -> Hypotheses:
    """The most probable words at the free places of sentences whose other words, and lengths, are known.

    Args:
        model: Any family; dropout is off while it decodes.
        z_BZ: Latents.
        batch: The sentences in the decoder's order (`TextModel.decoder_batch`).
        free_BT: Which words are to be found, in the same order.
        width: K.
        forbidden: Words that are not written at the free places.
    """
    never = torch.tensor([*NEVER, EOS, *forbidden], device=z_BZ.device)

    def allow(log_p_BKV: Tensor, step: int) -> Tensor:
        known_BKV = torch.full_like(log_p_BKV, float("-inf"))
        place = batch.targets[:, step, None, None].expand(-1, log_p_BKV.shape[1], 1)
        known_BKV.scatter_(2, place, log_p_BKV.gather(2, place))
        log_p_BKV.index_fill_(2, never, float("-inf"))
        return torch.where(free_BT[:, step, None, None], log_p_BKV, known_BKV)

    limit = batch.targets.shape[1] - 1
    choices = free_BT.any(0).nonzero()
    first = int(choices[0]) if len(choices) else limit
    return _search(model, z_BZ, width, limit, allow, 0.0, first)


def _search(
    model: TextModel, z_BZ: Tensor, width: int, limit: int, allow: Allow, length_penalty: float, first: int = 0
) -> Hypotheses:
    """The search; before the step `first` there is one way to go on, so that one hypothesis is enough."""
    require(width > 0, f"the beam's width is {width}: give 1 or more")
    require(length_penalty >= 0, f"length_penalty is {length_penalty}: give 0 or more")
    count = z_BZ.shape[0]
    z_NZ = z_BZ  # N = B * K; at first one hypothesis, of no words
    words_BKT = torch.full((count, 1, 1), BOS, device=z_BZ.device)
    total_BK = torch.zeros(count, 1, dtype=torch.float64, device=z_BZ.device)
    tokens_BK = torch.zeros_like(total_BK)
    finished_BK = torch.zeros_like(total_BK, dtype=torch.bool)
    state: State | None = None
    with evaluating(model):
        for step in range(limit + 1):
            logits_NV, state = model.step(words_BKT[:, :, -1].flatten(), z_NZ, state)
            log_p_BKV = allow(at_least_float32(logits_NV).log_softmax(1).view(*total_BK.shape, -1), step)
            log_p_BKV = _only_padding(log_p_BKV, finished_BK)
            tokens_BK = tokens_BK + ~finished_BK
            sums_BKV = total_BK[:, :, None] + log_p_BKV
            ranks_BKV = sums_BKV / tokens_BK[:, :, None] ** length_penalty
            ranks_BN = ranks_BKV.flatten(1)
            chosen_BK = ranks_BN.topk(1 if step < first else min(width, ranks_BN.shape[1])).indices
            parent_BK, word_BK = chosen_BK // log_p_BKV.shape[2], chosen_BK % log_p_BKV.shape[2]
            total_BK = sums_BKV.flatten(1).gather(1, chosen_BK)
            tokens_BK, finished_BK = tokens_BK.gather(1, parent_BK), finished_BK.gather(1, parent_BK)
            words_BKT = words_BKT.gather(1, parent_BK[:, :, None].expand(-1, -1, words_BKT.shape[2]))
            words_BKT = torch.cat((words_BKT, word_BK[:, :, None]), dim=2)
            finished_BK = finished_BK | (word_BK == EOS)
            if _decided(total_BK, tokens_BK, finished_BK, limit, length_penalty):
                break
            before = log_p_BKV.shape[1]
            rows_BK = torch.arange(count, device=z_BZ.device)[:, None] * before + parent_BK
            state = select_rows(state, rows_BK.flatten(), count * before)
            z_NZ = z_BZ.repeat_interleave(parent_BK.shape[1], 0)
    return Hypotheses(words_BKT[:, :, 1:], total_BK)


def _only_padding(log_p_BKV: Tensor, finished_BK: Tensor) -> Tensor:
    """A sentence that has ended goes on in one way, at no cost."""
    log_p_BKV = log_p_BKV.masked_fill(finished_BK[:, :, None], float("-inf"))
    log_p_BKV[:, :, PAD] = torch.where(finished_BK, 0.0, log_p_BKV[:, :, PAD])
    return log_p_BKV


def _decided(total_BK: Tensor, tokens_BK: Tensor, finished_BK: Tensor, limit: int, length_penalty: float) -> bool:
    """Whether every sentence's best hypothesis has ended and none that has not can overtake it."""
    best_B = total_BK[:, 0] / tokens_BK[:, 0] ** length_penalty
    # Log-probabilities only fall, and count least over the most tokens.
    most_BK = total_BK.masked_fill(finished_BK, float("-inf")) / float(limit + 1) ** length_penalty
    return bool((finished_BK[:, 0] & (most_BK.amax(1) <= best_B)).all())
