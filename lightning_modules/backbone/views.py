"""What the encoder sees and in which order the decoder writes, derived from a batch on the device."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.vocabulary import BLANK, BOS, EOS, PAD
from lightning_modules.backbone.layers import reverse


def sentence_words(batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """The words alone, without BOS and EOS: ids (B, T - 1 or 1), padded at the end, and their numbers (B,)."""
    words = batch.targets.masked_fill(batch.targets == EOS, PAD)
    return (words[:, :-1] if words.shape[1] > 1 else words), batch.lengths - 1


def encoder_view(
    words_BT: Tensor, lengths_B: Tensor, view: Literal["bos", "bos_eos", "words"]
) -> tuple[Tensor, Tensor]:
    """Adds what the view adds to words; gives ids (B, ...) and lengths (B,) of at least 1.

    A sentence of no words is `<blank>` under the view `words`: a recurrent network has to read something.
    """
    if view == "words":
        empty = lengths_B == 0
        first = torch.where(empty, BLANK, words_BT[:, 0])
        return torch.cat((first[:, None], words_BT[:, 1:]), dim=1), lengths_B.clamp(min=1)
    bos = torch.full_like(words_BT[:, :1], BOS)
    if view == "bos":
        return torch.cat((bos, words_BT), dim=1), lengths_B + 1
    ids = torch.cat((bos, words_BT, torch.full_like(bos, PAD)), dim=1)
    return ids.scatter(1, lengths_B[:, None] + 1, EOS), lengths_B + 2


def right_to_left(batch: TokenBatch) -> TokenBatch:
    """The batch with each sentence's words in reverse order, still from BOS to EOS."""
    count = batch.lengths - 1
    inputs = torch.cat((batch.inputs[:, :1], reverse(batch.inputs[:, 1:], count)), dim=1)
    return replace(batch, inputs=inputs, targets=reverse(batch.targets, count))
