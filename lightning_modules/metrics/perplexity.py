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
    sentences: Tensor
    nats: Tensor
    tokens: Tensor
    products: Tensor

    def __init__(self) -> None:
        super().__init__()
        # In float64: the sum over a split of float32 values loses digits.
        for name in ("sentences", "nats", "tokens"):
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("products", default=torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, nll_B: Tensor, tokens_B: Tensor) -> None:
        """Adds sentences.

        Args:
            nll_B: Nats of each sentence.
            tokens_B: Its words and EOS.
        """
        nats, tokens = nll_B.double(), tokens_B.double()
        self.sentences += len(nats)
        self.nats += nats.sum()
        self.tokens += tokens.sum()
        self.products += torch.stack((nats @ nats, nats @ tokens, tokens @ tokens))

    def compute(self) -> Tensor:
        """The perplexity of all sentences so far."""
        return torch.exp(self.nats / self.tokens)


class PerplexityError(Perplexity):
    """The perplexity's standard error over sentences."""

    def compute(self) -> Tensor:
        """Of the ratio of two sums, carried through the exponential (delta method); NaN of one sentence."""
        ratio = self.nats / self.tokens
        squares = self.products[0] - 2 * ratio * self.products[1] + ratio.square() * self.products[2]
        variance = squares.clamp(min=0) / (self.sentences - 1) * self.sentences / self.tokens.square()
        return torch.exp(ratio) * variance.sqrt()


class PerplexityMonteCarloError(Metric):
    """The error that the draws of each sentence bring into the perplexity."""

    full_state_update = False
    nats: Tensor
    tokens: Tensor
    squares: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("nats", "tokens", "squares"):
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, nll_B: Tensor, error_B: Tensor, tokens_B: Tensor) -> None:
        """Adds sentences: their nats, the Monte Carlo errors of these, their words and EOS."""
        self.nats += nll_B.double().sum()
        self.tokens += tokens_B.sum()
        self.squares += error_B.double().square().sum()

    def compute(self) -> Tensor:
        """Carried through the exponential (delta method)."""
        return torch.exp(self.nats / self.tokens) * self.squares.sqrt() / self.tokens
