"""Whether sentences with the same label lie together in the latent space. B sentences, Z latent size."""

from __future__ import annotations

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.attached import corpus_of
from callbacks.latents import labelled_means
from callbacks.measured import log_figure
from datamodules.errors import require
from lightning_modules import TextAutoencoder


class NeighborPurity(Callback):
    """`test/knn_purity`: the mean share of a sentence's k nearest neighbours in z that have its label.

    The latents are posterior means of the test split, the distance is Euclidean, the sentence itself is left out.
    Nothing is done for a language model.

    Args:
        neighbors: k.
        sentences: Sentences, at most; drawn from the split.
    """

    def __init__(self, neighbors: int = 10, sentences: int = 5000) -> None:
        require(neighbors > 0, f"NeighborPurity's neighbors is {neighbors}: give 1 or more")
        require(sentences > 0, f"NeighborPurity's sentences is {sentences}: give 1 or more")
        self.neighbors = neighbors
        self.sentences = sentences

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks, before anything is measured, that there are labels, and enough sentences.

        Raises:
            UsageError: There are not.
        """
        if not isinstance(pl_module, TextAutoencoder):
            return
        split = corpus_of(trainer).split("test")
        require(split.labels is not None, "NeighborPurity needs a corpus with labels: take it out of trainer.callbacks")
        count = min(self.sentences, len(split))
        require(
            count > self.neighbors,
            f"NeighborPurity's neighbors is {self.neighbors}, but there are only {count} sentences: lower it",
        )

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Computes and logs the figure."""
        if not trainer.is_global_zero or not isinstance(pl_module, TextAutoencoder):
            return
        means_BZ, labels_B = labelled_means(trainer, pl_module, "test", self.sentences)
        assert labels_B is not None
        purity = knn_purity(means_BZ, labels_B, self.neighbors)
        log_figure(pl_module, "knn_purity", purity, sentences=len(labels_B), neighbors=self.neighbors)


def knn_purity(z_BZ: Tensor, labels_B: Tensor, neighbors: int) -> float:
    """The mean share of each point's nearest other points that have its label."""
    # The other way to compute distances loses those between near points that lie far from the origin.
    distances = torch.cdist(z_BZ, z_BZ, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(float("inf"))
    nearest = distances.topk(neighbors, dim=1, largest=False).indices
    return float((labels_B[nearest] == labels_B[:, None]).float().mean())
