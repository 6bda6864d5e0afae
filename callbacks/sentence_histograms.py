"""How a test's likelihoods are spread over its sentences (Livne et al. 2020, figures 6 to 8)."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics.aggregation import CatMetric

from callbacks.quantities import LIKELIHOODS, quantity_of
from callbacks.tables import log_picture, run_folder
from datamodules.batch import TokenBatch
from lightning_modules import TextAutoencoder, TextModel


class SentenceHistograms(Callback):
    """`plots/sentence_likelihoods.png`: a histogram of each of the family's likelihoods and bounds, nats a sentence.

    These are the exact NLL or the negative ELBO, and of a family with a posterior density MELBO with the split as its
    sample. A dashed line is the mean, which the test reports.
    """

    def __init__(self) -> None:
        self.values: dict[str, CatMetric] = {}

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts anew."""
        assert isinstance(pl_module, TextModel)
        kinds = {name: quantity_of(name, pl_module.perplexities).kind for name in pl_module.terms}
        names = [name for name, kind in kinds.items() if kind in LIKELIHOODS]
        if isinstance(pl_module, TextAutoencoder) and pl_module.stochastic:
            names.append("melbo")
        self.values = {name: CatMetric(nan_strategy="disable").to(pl_module.device) for name in names}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: TokenBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps each sentence's."""
        for name, values in self.values.items():
            values.update(outputs["reconstruction" if name == "melbo" else name].float())

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws those of all ranks' sentences."""
        nats = {
            name: torch.as_tensor(values.compute()).reshape(-1).cpu().double() for name, values in self.values.items()
        }
        if "melbo" in nats:
            nats["melbo"] = nats["melbo"] + math.log(len(nats["melbo"]))
        if nats and trainer.is_global_zero:
            file = run_folder(trainer, "plots", "sentence_likelihoods.png")
            _draw(nats).savefig(file, dpi=120)
            log_picture(trainer, "sentence_likelihoods", file)


def _draw(nats: dict[str, Tensor]) -> Figure:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for place, (name, values_N) in enumerate(nats.items()):
        finite = values_N[values_N.isfinite()]
        axes.hist(finite.numpy(), bins=50, alpha=0.5, color=f"C{place}", label=name)
        axes.axvline(float(finite.mean()), linestyle="--", color=f"C{place}")
    axes.set(xlabel="nats a sentence", ylabel="sentences")
    axes.legend()
    return figure
