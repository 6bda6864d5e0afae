"""Perplexity of a corpus from the sentences' negative log-likelihoods."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import MeanMetric


class Perplexity(MeanMetric):
    """exp(total nats / total tokens), never a mean of batches' perplexities.

    The default convention: EOS in the likelihood and among the tokens, BOS in neither, words as the corpus has them
    (Yang et al. 2017, Kim et al. 2018, He et al. 2019, Kruengkrai 2019). With a bound in place of the likelihood it is
    a bound on the perplexity.
    """

    def update(self, nll_B: Tensor, tokens_B: Tensor) -> None:  # type: ignore[override]  # of sentences, not of values
        """Adds sentences.

        Args:
            nll_B: Nats of each sentence.
            tokens_B: Its words and EOS.
        """
        super().update(nll_B / tokens_B, tokens_B)

    def compute(self) -> Tensor:
        """The perplexity of all sentences so far."""
        return torch.exp(super().compute())
