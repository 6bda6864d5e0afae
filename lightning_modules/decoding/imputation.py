"""Finding missing words of sentences (Bowman et al. 2016, section 5).

B sentences, T steps, S rounds, Z latent size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.bucketing import Rows
from datamodules.errors import require
from datamodules.vocabulary import UNK
from lightning_modules.backbone.layers import reverse
from lightning_modules.backbone.views import right_to_left
from lightning_modules.base import TextAutoencoder
from lightning_modules.decoding.beam import complete
from lightning_modules.decoding.search import evaluating
from lightning_modules.text_model import TextModel

# What is never written at a missing word's place: it would say nothing.
FORBIDDEN = (UNK,)
# The paper's beam around a latent.
WIDTH = 5
# More sentences at a time gain nothing, however few words there are.
MOST_AT_ONCE = 512


@dataclass(frozen=True)
class Imputed:
    """Completed sentences, and how the search went.

    Attributes:
        batch: The sentences with their missing words filled in, in reading order.
        log_probability: (S, B) log p(x|z) after each round's search, nats; of a language model log p(x), after one.
        latent_change: (S - 1, B) by how much log p(x|z) of a round's sentence changed, in nats, when z moved on to that
            sentence's own; below 0 where the iteration of modes lost by it.
    """

    batch: TokenBatch
    log_probability: Tensor
    latent_change: Tensor


def impute(
    model: TextModel,
    batch: TokenBatch,
    missing_BT: Tensor,
    width: int | None = None,
    rounds: int = 3,
    keep: bool = True,
) -> Imputed:
    """Fills in missing words; the other words, and the lengths, stay.

    A model with a latent is asked by iterated conditional modes: the missing words start as unknown ones; then, in each
    round, z becomes the mode of q(z|x) and the words those of a beam search around the known ones. The words of the
    round before are one more candidate, so that no search lowers log p(x|z); a new z may. A language model is
    asked once.

    Args:
        model: Any family.
        batch: The sentences, in reading order; what stands at a missing word's place has no effect.
        missing_BT: (B, T) which of `batch.targets` are missing.
        width: Of the beam; that of `beam_width` where it is null.
        rounds: S.
        keep: Whether a round's words may be those of the round before.

    Raises:
        UsageError: `rounds` or `width` is below 1.
    """
    usual = beam_width(model, rounds)
    width = usual if width is None else width
    missing_BT = missing_BT & (torch.arange(missing_BT.shape[1], device=missing_BT.device) < batch.lengths[:, None] - 1)
    current = _with_words(batch, batch.targets.masked_fill(missing_BT, UNK))
    reached: list[Tensor] = []
    changes: list[Tensor] = []
    with evaluating(model):
        for _ in range(rounds if isinstance(model, TextAutoencoder) else 1):
            z_BZ = _mode(model, current)
            before_B = -model.reconstruction(current, z_BZ).double()
            if reached:
                changes.append(before_B - reached[-1])
            found, log_p_B = _complete(model, z_BZ, current, missing_BT, width)
            if reached and keep:
                kept_B = before_B > log_p_B
                found = torch.where(kept_B[:, None], current.targets, found)
                log_p_B = torch.where(kept_B, before_B, log_p_B)
            current = _with_words(current, found)
            reached.append(log_p_B)
    change = torch.stack(changes) if changes else reached[0].new_zeros(0, len(batch))
    return Imputed(current, torch.stack(reached), change)


def beam_width(model: TextModel, rounds: int) -> int:
    """The beam that makes both kinds of model compute as much: 5 around a latent, 5 * S for a language model.

    Raises:
        UsageError: `rounds` is below 1.
    """
    require(rounds > 0, f"rounds is {rounds}: give 1 or more")
    return WIDTH if isinstance(model, TextAutoencoder) else WIDTH * rounds


def imputed_together(model: TextModel, lengths: Sequence[int] | npt.NDArray[np.int32], width: int) -> list[Rows]:
    """Which sentences (their places in `lengths`) are best imputed at a time, those of about one length together.

    So little is padded, and no more logits are made at once than the device is quick with.
    """
    most = min(MOST_AT_ONCE, max(1, model.backbone.tokens_at_once(model.device) // max(1, width)))
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + most] for start in range(0, len(order), most)]


def last_words(batch: TokenBatch, share: float) -> Tensor:
    """(B, T), true at the last `share` of each sentence's words, rounded up: one word at least, none of no words.

    Raises:
        UsageError: The share is not above 0 and up to 1.
    """
    require(0 < share <= 1, f"share is {share}: give a number above 0, up to 1")
    words_B = batch.lengths - 1
    missing_B = torch.ceil(words_B.double() * share - 1e-6).long()  # 20% of 5 words is 1, whatever 0.2 * 5 rounds to
    steps = torch.arange(batch.targets.shape[1], device=batch.lengths.device)
    return (steps < words_B[:, None]) & (steps >= (words_B - missing_B)[:, None])


def _mode(model: TextModel, batch: TokenBatch) -> Tensor:
    """(B, Z) of q(z|x); (B, 0) of a language model."""
    if isinstance(model, TextAutoencoder):
        return model.encode(batch).mean
    return torch.zeros(len(batch), 0, device=batch.lengths.device)


def _complete(
    model: TextModel, z_BZ: Tensor, batch: TokenBatch, missing_BT: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """The best targets (B, T) in reading order, and their log p(x|z) (B,)."""
    backwards = model.decoder_config.direction == "right_to_left"
    free_BT = reverse(missing_BT, batch.lengths - 1) if backwards else missing_BT
    best = complete(model, z_BZ, right_to_left(batch) if backwards else batch, free_BT, width, FORBIDDEN)
    targets_BT = best.words[:, 0]
    return reverse(targets_BT, batch.lengths - 1) if backwards else targets_BT, best.log_probability[:, 0]


def _with_words(batch: TokenBatch, targets_BT: Tensor) -> TokenBatch:
    """The batch with other words, and as many."""
    words_BT = torch.where(batch.mask[:, 1:], targets_BT[:, :-1], batch.inputs[:, 1:])
    return replace(batch, targets=targets_BT, inputs=torch.cat((batch.inputs[:, :1], words_BT), dim=1))
