"""MELBO, the bound of Livne et al. (2020) whose prior is the test set itself."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics.aggregation import CatMetric

from callbacks.tables import log_picture, run_folder
from datamodules.batch import TokenBatch
from datamodules.errors import require
from lightning_modules import TextAutoencoder
from lightning_modules.metrics.perplexity import (
    CONVENTIONS,
    OTHER_CONVENTIONS,
    WITHOUT_EOS,
    Perplexity,
    PerplexityError,
    PerplexityMonteCarloError,
    require_conventions,
)

Nats = npt.NDArray[np.float64]


class Melbo(Callback):
    """`test/melbo`: the mean of -log p(x|z), z ~ q(z|x), plus the logarithm of the number N of test sentences (eq. 16).

    It bounds -log p(x) of a model whose prior is the mixture of the test sentences' posteriors, not N(0, I); with
    another N it is another number, so its `sentences` say N. `plots/melbo.csv` has it against the number of sentences,
    drawn at random from the split, and `plots/melbo.png` what lies beyond, too (their appendix B). Nothing is done for
    a model without a posterior density.

    Args:
        meet: NLL of another model, nats a sentence. `test/melbo_log10_sentences_to_meet` is then the logarithm (base
            10) of the number of sentences at which MELBO would be as large, were the mean of -log p(x|z) the same; it
            is left out where -log p(x|z) alone is larger, which no number of sentences mends.
        trials: Random draws of each number of sentences.
        conventions: In which `test/perplexity_melbo_<convention>` is given, too, and `test/melbo_without_eos` where
            one of them leaves EOS out; of `lightning_modules.metrics.perplexity.CONVENTIONS`.
    """

    def __init__(
        self, meet: float | None = None, trials: int = 200, conventions: tuple[str, ...] = OTHER_CONVENTIONS
    ) -> None:
        require(
            meet is None or 0 < meet < math.inf,
            f"Melbo's meet is {meet}: give the other model's NLL in nats a sentence",
        )
        require(trials > 0, f"Melbo's trials is {trials}: give 1 or more")
        require_conventions(conventions)
        self.meet = meet
        self.trials = trials
        self.conventions = tuple(conventions)
        # A sentence's likelihood that is no number makes a figure that is none, rather than one of fewer sentences.
        self.nats = CatMetric(nan_strategy="disable")
        self.again = CatMetric(nan_strategy="disable")
        self.ends = CatMetric(nan_strategy="disable")
        self.ends_again = CatMetric(nan_strategy="disable")
        self.lengths = CatMetric()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: TokenBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps each sentence's -log p(x|z)."""
        if isinstance(pl_module, TextAutoencoder) and pl_module.stochastic:
            self.nats.to(pl_module.device).update(outputs["reconstruction"])
            self.again.to(pl_module.device).update(outputs["second_reconstruction"])
            self.ends.to(pl_module.device).update(outputs["end"])
            self.ends_again.to(pl_module.device).update(outputs["second_end"])
            self.lengths.to(pl_module.device).update(batch.lengths)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the figures of all ranks' sentences, and draws the curve."""
        if not isinstance(pl_module, TextAutoencoder) or not pl_module.stochastic:
            return
        # Of two independent draws, a row each.
        nats = np.stack([_gathered(self.nats), _gathered(self.again)])
        words = nats - np.stack([_gathered(self.ends), _gathered(self.ends_again)])
        lengths = _gathered(self.lengths)
        count, mean = len(lengths), float(nats[0].mean())
        figures = _bound("melbo", nats) | {"melbo/sentences": float(count)}
        figures |= _perplexity("perplexity_melbo", nats, lengths)
        if any(not CONVENTIONS[name].end_in_nll for name in self.conventions):
            figures |= _bound(f"melbo_{WITHOUT_EOS}", words)
        for name in self.conventions:
            counted = CONVENTIONS[name]
            tokens = lengths - 1 + counted.extra_tokens
            figures |= _perplexity(f"perplexity_melbo_{name}", nats if counted.end_in_nll else words, tokens)
        if self.meet is not None and self.meet >= mean:
            figures["melbo_log10_sentences_to_meet"] = (self.meet - mean) / math.log(10)
        elif self.meet is not None and mean > self.meet and trainer.is_global_zero:
            said = f"-log p(x|z) alone is {mean:.2f} nats, more than {self.meet:.2f}: no number of sentences meets it"
            print(f"Melbo: {said}", file=sys.stderr)
        for name, value in figures.items():
            pl_module.log(f"test/{name}", value, sync_dist=True)
        if trainer.is_global_zero:
            file = run_folder(trainer, "plots", "melbo.png")
            sizes = np.unique(np.geomspace(1, count, 30).astype(np.int64))
            curve = np.column_stack((sizes, *against_sentences(nats[0], sizes, self.trials)))
            header = "sentences,melbo_nats,standard_deviation_over_draws"
            np.savetxt(file.with_suffix(".csv"), curve, delimiter=",", header=header, comments="", fmt="%.6g")
            _draw(nats[0], curve, self.meet).savefig(file, dpi=120)
            log_picture(trainer, "melbo", file)


def _gathered(metric: CatMetric) -> Nats:
    values: Nats = torch.as_tensor(metric.compute()).reshape(-1).double().cpu().numpy()
    metric.reset()
    return values


def _bound(name: str, nats: Nats) -> dict[str, float]:
    """MELBO and its errors, over sentences and of the draws; two draws of each sentence's -log p(x|z), (2, N)."""
    count = nats.shape[1]
    return {
        name: float(nats[0].mean()) + math.log(count),
        f"{name}/error": float(nats[0].std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan,
        f"{name}/monte_carlo_error": float(_draw_errors(nats).norm()) / count,
    }


def _perplexity(name: str, nats: Nats, tokens: Nats) -> dict[str, float]:
    """The perplexity of MELBO and its errors, of all ranks' sentences, which every rank has."""
    charged = torch.from_numpy(nats[0] + math.log(len(tokens)))
    counted = torch.from_numpy(tokens)
    value, over_sentences = Perplexity(sync_on_compute=False), PerplexityError(sync_on_compute=False)
    of_draws = PerplexityMonteCarloError(sync_on_compute=False)
    value.update(charged, counted)
    over_sentences.update(charged, counted)
    of_draws.update(charged, _draw_errors(nats), counted)
    return {
        name: float(value.compute()),
        f"{name}/error": float(over_sentences.compute()),
        f"{name}/monte_carlo_error": float(of_draws.compute()),
    }


def _draw_errors(nats: Nats) -> Tensor:
    """Each sentence's error of one draw: half the squared difference of two is the variance of one."""
    return torch.from_numpy(np.abs(nats[0] - nats[1]) / math.sqrt(2))


def against_sentences(nats: Nats, sizes: npt.NDArray[np.int64], trials: int) -> tuple[Nats, Nats]:
    """Mean and standard deviation over random draws of so many sentences of MELBO of these sentences alone."""
    random = np.random.default_rng(0)
    bounds = [
        [random.choice(nats, size, replace=False).mean() + math.log(size) for _ in range(trials)] for size in sizes
    ]
    return np.mean(bounds, axis=1), np.std(bounds, axis=1)


def _draw(nats: Nats, curve: npt.NDArray[Any], meet: float | None) -> Figure:
    count, mean = len(nats), float(nats.mean())
    sizes, middle, spread = curve.T
    last = max(10.0 * count, math.exp(min(600.0, meet - mean)) if meet is not None else 0.0)
    beyond = np.geomspace(count, last, 50)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    if not np.isfinite(middle).all():
        axes.set_title("MELBO is no finite number")
        return figure
    axes.fill_between(sizes, middle - spread, middle + spread, alpha=0.3)
    axes.plot(sizes, middle, label="drawn from the test split")
    axes.plot(beyond, mean + np.log(beyond), "--", label="extrapolated")
    axes.plot([count], [mean + math.log(count)], "x", label=f"N = {count:,}")
    if meet is not None:
        axes.axhline(meet, linewidth=1, color="grey", label=f"{meet:.2f} nats")
    axes.set(xscale="log", xlabel="sentences", ylabel="MELBO, nats a sentence")
    axes.legend(fontsize="small")
    return figure
