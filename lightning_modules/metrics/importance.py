"""The figures of importance-weighted estimates. B sentences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_modules.likelihood import LogWeights
from lightning_modules.metrics.perplexity import (
    CONVENTIONS,
    DEFAULT_CONVENTION,
    WITHOUT_EOS,
    Perplexity,
    PerplexityError,
    PerplexityMonteCarloError,
)
from lightning_modules.metrics.sentence_mean import MonteCarloError, SentenceError, SentenceMean

# A quantity (nll, perplexity), its convention (empty: the default; `WITHOUT_EOS` of nats), and the ending of what is
# noted of it, or none.
Name = tuple[str, str, str]
ERROR, MONTE_CARLO, EFFECTIVE = "/error", "/monte_carlo_error", "/effective_samples"


class ImportanceFigures:
    """NLL and perplexities of sentences' importance weights, with their errors over sentences and of the samples.

    Args:
        device: Of the weights.
        ratio_once: See `LogWeights.weights`.
        conventions: Of perplexities beside the default; EOS's log-probability is kept apart for each sample.
    """

    def __init__(self, device: torch.device, ratio_once: bool = False, conventions: Sequence[str] = ()) -> None:
        self.ratio_once = ratio_once
        self.metrics: dict[Name, Metric] = {
            ("nll", "", ""): SentenceMean(),
            ("nll", "", ERROR): SentenceError(),
            ("nll", "", MONTE_CARLO): MonteCarloError(),
            ("nll", "", EFFECTIVE): SentenceMean(),
        }
        if any(not CONVENTIONS[name].end_in_nll for name in conventions):
            self.metrics |= {
                ("nll", WITHOUT_EOS, ""): SentenceMean(),
                ("nll", WITHOUT_EOS, ERROR): SentenceError(),
                ("nll", WITHOUT_EOS, MONTE_CARLO): MonteCarloError(),
            }
        for name in ("", *conventions):
            self.metrics |= {
                ("perplexity", name, ""): Perplexity(),
                ("perplexity", name, ERROR): PerplexityError(),
                ("perplexity", name, MONTE_CARLO): PerplexityMonteCarloError(),
            }
        for metric in self.metrics.values():
            metric.to(device)

    def update(self, found: LogWeights, lengths_B: Tensor) -> None:
        """Adds sentences of so many words and EOS."""
        estimates = {
            with_end: (found.nll(with_end, self.ratio_once), found.error(with_end, self.ratio_once))
            for with_end in (True, False)
        }
        for (_, convention, note), metric in self.metrics.items():
            counted = CONVENTIONS[convention if convention in CONVENTIONS else DEFAULT_CONVENTION]
            nll_B, error_B = estimates[counted.end_in_nll and convention != WITHOUT_EOS]
            tokens_B = counted.tokens(lengths_B)
            if isinstance(metric, PerplexityMonteCarloError):
                metric.update(nll_B, error_B, tokens_B)
            elif isinstance(metric, Perplexity):
                metric.update(nll_B, tokens_B)
            elif note == EFFECTIVE:
                metric.update(found.effective_samples(ratio_once=self.ratio_once))
            else:
                metric.update(error_B if note == MONTE_CARLO else nll_B)

    def compute(self) -> dict[Name, Tensor]:
        """All of them."""
        return {name: metric.compute() for name, metric in self.metrics.items()}
