"""The figures of an evaluation: means over sentences, perplexities, and how sure they are. B sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from torchmetrics import Metric

from lightning_modules.metrics.perplexity import Perplexity, PerplexityError, PerplexityMonteCarloError
from lightning_modules.metrics.sentence_mean import MonteCarloError, SentenceError, SentenceMean


class Figures(nn.Module):
    """Terms and perplexities of a split.

    Beside each figure: `<name>/error`, its standard error over sentences, and, where latents are drawn,
    `<name>/monte_carlo_error`, how much other draws would move it.

    Args:
        terms: Names of what is given for each sentence.
        perplexities: Names of perplexities and of the terms, in nats a sentence, of which they are made.
        errors: Whether errors are measured.
        sampled: Whether latents are drawn; then the terms of a second draw are to be given, too.
    """

    def __init__(
        self, terms: Iterable[str], perplexities: Mapping[str, str], errors: bool = False, sampled: bool = False
    ) -> None:
        super().__init__()
        self.perplexities = dict(perplexities)
        self.metrics = nn.ModuleDict()
        for name in terms:
            self.metrics[name] = SentenceMean()
            if errors:
                self.metrics[f"{name}/error"] = SentenceError()
            if errors and sampled:
                self.metrics[f"{name}/monte_carlo_error"] = MonteCarloError()
        for name in perplexities:
            self.metrics[name] = Perplexity()
            if errors:
                self.metrics[f"{name}/error"] = PerplexityError()
            if errors and sampled:
                self.metrics[f"{name}/monte_carlo_error"] = PerplexityMonteCarloError()

    def update(self, terms: Mapping[str, Tensor], tokens_B: Tensor, again: Mapping[str, Tensor] | None = None) -> None:
        """Adds a batch's sentences.

        Args:
            terms: (B,) each.
            tokens_B: Words and EOS of each sentence.
            again: The terms of a second, independent draw of the latents.
        """
        for name, metric in self.metrics.items():
            quantity, _, end = name.partition("/")
            values = terms[self.perplexities.get(quantity, quantity)]
            if end == "monte_carlo_error":
                assert again is not None, "a Monte Carlo error needs a second draw"
                # Of two independent draws, half the squared difference is the variance of one.
                values = (values - again[self.perplexities.get(quantity, quantity)]).abs() / math.sqrt(2)
            if isinstance(metric, PerplexityMonteCarloError):
                metric.update(terms[self.perplexities[quantity]], values, tokens_B)
            elif isinstance(metric, Perplexity):
                metric.update(values, tokens_B)
            elif isinstance(metric, SentenceMean):
                metric.update(values)

    def items(self) -> Iterable[tuple[str, Metric]]:
        """Names and metrics."""
        return [(name, metric) for name, metric in self.metrics.items() if isinstance(metric, Metric)]
