"""A picture of the latent space."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.attached import corpus_of
from callbacks.latents import labelled_means
from callbacks.tables import log_picture, run_folder
from datamodules.errors import require
from lightning_modules import TextAutoencoder
from lightning_modules.decoding.exploration import principal_axes


class LatentMap(Callback):
    """Posterior means of the test split as points, coloured by label: `plots/latent_map.png` and a W&B image.

    More than two dimensions are projected on the two principal components that vary most. Nothing is done for a
    language model.

    Args:
        sentences: Points, at most; drawn from the split.
    """

    def __init__(self, sentences: int = 2000) -> None:
        require(sentences > 0, f"LatentMap's sentences is {sentences}: give 1 or more")
        self.sentences = sentences

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the picture."""
        if not trainer.is_global_zero or not isinstance(pl_module, TextAutoencoder):
            return
        means_BZ, labels_B = labelled_means(trainer, pl_module, "test", self.sentences)
        means_BZ = means_BZ.cpu()
        finite_B = means_BZ.isfinite().all(1)  # a training that diverged is to end with its figures, too
        points, title = _project(means_BZ[finite_B])
        file = run_folder(trainer, "plots", "latent_map.png")
        classes = None if labels_B is None else labels_B.cpu()[finite_B]
        draw = _scatter(points, classes, corpus_of(trainer).label_names, title)
        draw.savefig(file, dpi=150)
        log_picture(trainer, "latent_map", file)


def _project(z_BZ: Tensor) -> tuple[Tensor, str]:
    """(B, 2) points, and what they are."""
    if z_BZ.shape[1] <= 2:
        return torch.nn.functional.pad(z_BZ, (0, 2 - z_BZ.shape[1])), "posterior means"
    center_Z, axes_Z2 = principal_axes(z_BZ)
    points = (z_BZ - center_Z) @ axes_Z2
    share = float(points.square().sum() / (z_BZ - center_Z).square().sum().clamp(min=1e-30))
    return points, f"posterior means, first two principal components ({share:.0%} of the variance)"


def _scatter(points: Tensor, labels: Tensor | None, names: tuple[str, ...], title: str) -> Figure:
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize="medium")
    axes.set_aspect("equal", "datalim")
    if labels is None or len(labels) == 0:
        axes.scatter(points[:, 0], points[:, 1], s=6)
        return figure
    for label in np.unique(labels):
        chosen = points[labels == label]
        name = names[label] if 0 <= label < len(names) else str(label)
        axes.scatter(chosen[:, 0], chosen[:, 1], s=6, label=name, alpha=0.7)
    axes.legend(markerscale=2)
    return figure
