"""Whether a sentence's latent could be another sentence's (Livne et al. 2020, figure 3).

S sentences, L latents of a sentence (1 but for VAE-AVG), Z latent size.
"""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.attached import corpus_of
from callbacks.latents import draw_rows, read_batch
from callbacks.measured import log_figure
from callbacks.tables import log_picture, run_folder
from datamodules.batch import TokenBatch
from datamodules.errors import require
from lightning_modules import TextAutoencoder
from lightning_modules.backbone.posterior import Gaussian
from lightning_modules.decoding.search import evaluating
from lightning_modules.likelihood import rows_within


class CrossHistograms(Callback):
    """Histograms of log p(x_i|z_j) and log q(z_i|x_j), for i = j and for i unlike j, z ~ q(z|x).

    Where they do not overlap, each sentence has a place of its own in the latent space. `test/decoder_confusion` is the
    share of pairs i, j in which x_i is likelier from z_j than from its own z_i; `test/encoder_confusion` that of pairs
    in which z_i is likelier from x_j; ties count a half. Both are one half where z says nothing, 0 where it names the
    sentence. Picture: `plots/cross_histograms.png`. Nothing is done for a language model; a deterministic model has the
    decoder's alone.

    Args:
        sentences: S, at most; drawn from the test split. The decoder reads each of them with each latent.
        memory: Megabytes that decoding may take at a time.
    """

    def __init__(self, sentences: int = 100, memory: float = 512.0) -> None:
        require(sentences > 1, f"CrossHistograms' sentences is {sentences}: give 2 or more")
        require(memory > 0, f"CrossHistograms' memory is {memory}: give a positive number of megabytes")
        self.sentences = sentences
        self.memory = memory

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks, before anything is measured, that there are two sentences to compare."""
        require(len(corpus_of(trainer).split("test")) > 1, "CrossHistograms needs two test sentences")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Computes, logs and draws."""
        if not trainer.is_global_zero or not isinstance(pl_module, TextAutoencoder):
            return
        batch = read_batch(trainer, pl_module, "test", draw_rows(trainer, "test", self.sentences))
        with evaluating(pl_module):
            posterior = pl_module.encode(batch)
            z = pl_module.draw_latents(posterior, pl_module.random(batch))
            tables = {"decoder": decoder_table(pl_module, batch, z, self.memory)}
            if pl_module.stochastic:
                tables["encoder"] = encoder_table(posterior, z if z.dim() == 2 else z[:, 0])
        for name, table_SS in tables.items():
            log_figure(pl_module, f"{name}_confusion", confusion(table_SS), sentences=len(batch))
        file = run_folder(trainer, "plots", "cross_histograms.png")
        _draw(tables).savefig(file, dpi=120)
        log_picture(trainer, "cross_histograms", file)


def decoder_table(model: TextAutoencoder, batch: TokenBatch, z: Tensor, memory: float) -> Tensor:
    """(S, S) log p(x_i|z_j) in row i and column j, nats, of z (S, Z) or (S, L, Z); as many at a time as fit."""
    rows = max(1, rows_within(memory, model, batch.targets.shape[1]) // len(batch))
    columns = []
    for some in torch.split(z, rows):
        # Latent j with every sentence, then latent j + 1.
        nll_N = model.reconstruction(batch.tiled(len(some)), some.repeat_interleave(len(batch), dim=0))
        columns.append(-nll_N.view(len(some), -1).T)
    return torch.cat(columns, dim=1)


def encoder_table(posterior: Gaussian, z_SZ: Tensor) -> Tensor:
    """(S, S) log q(z_i|x_j) in row i and column j, nats."""
    return posterior.log_prob(z_SZ[:, None])


def confusion(table_SS: Tensor) -> float:
    """The share of the pairs i, j (i unlike j) at which row i exceeds its diagonal value; ties count a half."""
    own_S1 = table_SS.diagonal()[:, None]
    other_SS = ~torch.eye(len(table_SS), dtype=torch.bool, device=table_SS.device)
    mistaken = (table_SS > own_S1).double() + 0.5 * (table_SS == own_S1).double()
    return float(mistaken[other_SS].mean())


def _draw(tables: dict[str, Tensor]) -> Figure:
    titles = {"decoder": "log p(x_i | z_j), nats", "encoder": "log q(z_i | x_j), nats"}
    figure = Figure(figsize=(5 * len(tables), 4), layout="constrained")
    for place, (name, table_SS) in enumerate(tables.items(), start=1):
        axes = figure.add_subplot(1, len(tables), place)
        own = torch.eye(len(table_SS), dtype=torch.bool, device=table_SS.device)
        parts = {"i = j": table_SS[own].cpu(), "i ≠ j": table_SS[~own].cpu()}
        for label, values in parts.items():
            finite = values[values.isfinite()].double().numpy()
            axes.hist(finite, bins=50, density=True, alpha=0.5, label=label)
        axes.set(xlabel=titles[name], ylabel="density")
        axes.legend()
    return figure
