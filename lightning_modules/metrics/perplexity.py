"""Perplexity of a corpus from the sentences' negative log-likelihoods."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from datamodules.errors import require
from lightning_modules.metrics.fixed_precision import FixedPrecision


class Perplexity(FixedPrecision):
    """exp(total nats / total tokens), never a mean of batches' perplexities.

    The default convention: EOS in the likelihood and among the tokens, BOS in neither, words as the corpus has them
    (Yang et al. 2017, Kim et al. 2018, He et al. 2019, Kruengkrai 2019). With a bound in place of the likelihood it is
    a bound on the perplexity.

    Args:
        options: Those of every metric.
    """

    full_state_update = False
    sentences: Tensor
    nats: Tensor
    tokens: Tensor
    products: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
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
        # Of one sentence rounding may leave a little above 0 / 0.
        return torch.exp(ratio) * torch.where(self.sentences > 1, variance, torch.nan).sqrt()


class PerplexityMonteCarloError(FixedPrecision):
    """The error that the draws of each sentence bring into the perplexity.

    Args:
        options: Those of every metric.
    """

    full_state_update = False
    nats: Tensor
    tokens: Tensor
    squares: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
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


@dataclass(frozen=True)
class Convention:
    """Which tokens a perplexity counts.

    Attributes:
        end_in_nll: Whether EOS is in the likelihood.
        extra_tokens: Tokens of a sentence that count beside its words: 1 for EOS, 2 for BOS and EOS.
        meaning: In a line.
    """

    end_in_nll: bool
    extra_tokens: int
    meaning: str

    def nats(self, nll_B: Tensor, ends_B: Tensor) -> Tensor:
        """The nats that count, of sentences' nats with EOS and of EOS alone."""
        return nll_B if self.end_in_nll else nll_B - ends_B

    def tokens(self, lengths_B: Tensor) -> Tensor:
        """The tokens that count, of sentences of so many words and EOS."""
        return lengths_B - 1 + self.extra_tokens


# The words are the corpus' own in all of them; a corpus split by another tokeniser is another corpus.
CONVENTIONS = {
    # Yang, Kim, He, Kruengkrai
    "eos_in_both": Convention(True, 1, "EOS in likelihood and tokens, BOS in neither"),
    # to which the figures of Bowman and of Xu & Durrett are nearest
    "eos_in_neither": Convention(False, 0, "words alone in likelihood and tokens"),
    # the released test of SentenceMIM
    "eos_in_tokens": Convention(False, 1, "EOS in the tokens but not in the likelihood"),
    # the code of Vani & Birodkar
    "bos_and_eos": Convention(True, 2, "EOS in the likelihood, BOS and EOS in the tokens"),
}
DEFAULT_CONVENTION = "eos_in_both"
# The ending of a figure in nats a sentence that leaves EOS out, as two of the others do.
WITHOUT_EOS = "without_eos"
# What papers count instead.
OTHER_CONVENTIONS = ("eos_in_neither", "eos_in_tokens", "bos_and_eos")


def exp(nats: float) -> float:
    """The exponential, which is infinite where a float cannot hold it."""
    return float(torch.tensor(nats, dtype=torch.float64).exp())


def require_conventions(names: Iterable[str]) -> None:
    """Checks names of conventions.

    Raises:
        UsageError: There is no such convention, and it lists those that there are.
    """
    known = ", ".join(CONVENTIONS)
    for name in names:
        require(name in CONVENTIONS, f"there is no perplexity convention {name}; there are {known}")
