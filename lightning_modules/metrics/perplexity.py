"""Perplexity of a corpus from the sentences' negative log-likelihoods."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class Perplexity(Metric):
    """exp(total nats / total tokens), never a mean of batches' perplexities.

    The default convention: EOS in the likelihood and among the tokens, BOS in neither, words as the corpus has them
    (Yang et al. 2017, Kim et al. 2018, He et al. 2019, Kruengkrai 2019). With a bound in place of the likelihood it is
    a bound on the perplexity.
    """

    full_state_update = False
    nats: Tensor
    tokens: Tensor

    def __init__(self) -> None:
        super().__init__()
        # In float64: the sum over a split of float32 values loses digits.
        self.add_state("nats", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tokens", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, nll_B: Tensor, tokens_B: Tensor) -> None:
        """Adds sentences.

        Args:
            nll_B: Nats of each sentence.
            tokens_B: Its words and EOS.
        """
        self.nats += nll_B.double().sum()
        self.tokens += tokens_B.sum()

    def compute(self) -> Tensor:
        """The perplexity of all sentences so far."""
        return torch.exp(self.nats / self.tokens)
