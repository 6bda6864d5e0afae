"""Whether sentences of similar wording lie together in the latent space.

N sentences, B of them in a block, M neighbours, Z latent size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.attached import corpus_of
from callbacks.latents import batches_of, draw_rows, posterior_means
from callbacks.measured import log_figure
from callbacks.tables import log_picture, run_folder
from datamodules.batch import TokenBatch
from datamodules.errors import require
from lightning_modules import TextAutoencoder

BLOCK = 64


class NeighborhoodRecall(Callback):
    """`test/neighborhood_recall_<k>`: how many of a sentence's nearest others in text are among its k nearest in z.

    (Shen et al. 2020.) Near in text are the `neighbors` others of least normalised edit distance: the fewest words to
    insert, delete or replace, over the words of the longer sentence, as the model sees them (unknown words are equal).
    Many are equally far; of these the first ones in a fixed shuffle of the split are taken. Near in z is the Euclidean
    distance of posterior means; latents that are equally far share the places they take, so that a model that encodes
    all sentences alike is at chance, k / (sentences - 1). NaN where a latent is not finite.

    `plots/neighborhood_recall.png` shows the figures against k. Nothing is done for a language model.

    Args:
        sentences: Sentences, at most; drawn from the split, they are also those among which neighbours are sought.
        neighbors: Neighbours in text of each sentence.
        latent_neighbors: Numbers of neighbours in z; those that are not below the number of sentences are left out.

    Raises:
        UsageError: The library rapidfuzz, which computes edit distances, is not installed.
    """

    def __init__(
        self,
        sentences: int = 10_000,
        neighbors: int = 10,
        latent_neighbors: tuple[int, ...] = tuple(range(10, 101, 10)),
    ) -> None:
        require(sentences > 1, f"NeighborhoodRecall's sentences is {sentences}: give 2 or more")
        require(neighbors > 0, f"NeighborhoodRecall's neighbors is {neighbors}: give 1 or more")
        require(
            len(latent_neighbors) > 0 and min(latent_neighbors) > 0,
            f"NeighborhoodRecall's latent_neighbors is {list(latent_neighbors)}: give one or more positive numbers",
        )
        installed = find_spec("rapidfuzz") is not None
        require(installed, 'NeighborhoodRecall needs the library rapidfuzz: pip install "textae[studies]"')
        self.sentences = sentences
        self.neighbors = neighbors
        self.latent_neighbors = sorted(set(latent_neighbors))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks, before anything is measured, that there are enough sentences.

        Raises:
            UsageError: Fewer than neighbours are asked for.
        """
        count = min(self.sentences, len(corpus_of(trainer).split("test")))
        least = max(self.neighbors, min(self.latent_neighbors))
        enough = count > least or not isinstance(pl_module, TextAutoencoder)
        require(
            enough,
            f"NeighborhoodRecall asks for {least} neighbours of {count} test sentences: lower its neighbors, or its "
            "latent_neighbors",
        )

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Computes, logs and draws the figures."""
        if not trainer.is_global_zero or not isinstance(pl_module, TextAutoencoder):
            return
        # Shuffled, since a split may be sorted by label, which would then decide between equally far sentences.
        rows = np.random.default_rng(0).permutation(draw_rows(trainer, "test", self.sentences))
        batches = list(batches_of(trainer, pl_module, "test", rows))
        near_NM = edit_neighbors([words for batch in batches for words in _words(batch)], self.neighbors)
        ks = [k for k in self.latent_neighbors if k < len(rows)]
        recall = latent_recall(posterior_means(pl_module, batches), near_NM, ks)
        for k, value in zip(ks, recall, strict=True):
            log_figure(pl_module, f"neighborhood_recall_{k}", value, sentences=len(rows), neighbors=self.neighbors)
        file = run_folder(trainer, "plots", "neighborhood_recall.png")
        _draw(ks, recall, self.neighbors, len(rows)).savefig(file, dpi=150)
        log_picture(trainer, "neighborhood_recall", file)


def edit_neighbors(sentences: Sequence[Sequence[int]], count: int, block: int = BLOCK) -> Tensor:
    """(N, count) row numbers of each sentence's nearest others by normalised edit distance, the nearest first.

    Args:
        sentences: Word ids.
        count: Neighbours of each; among equally far ones, those of the lowest row numbers.
        block: Sentences whose distances are in memory at a time.
    """
    from rapidfuzz import process
    from rapidfuzz.distance import Levenshtein

    texts = ["".join(map(chr, words)) for words in sentences]  # a character a word
    nearest = []
    for start in range(0, len(texts), block):
        some = texts[start : start + block]
        # The quotient of the same small integers is the same number: equally far sentences are so in float32, too.
        distances_BN = process.cdist(some, texts, scorer=Levenshtein.normalized_distance, dtype=np.float32, workers=-1)
        distances_BN[np.arange(len(some)), np.arange(start, start + len(some))] = np.inf
        nearest.append(distances_BN.argsort(axis=1, kind="stable")[:, :count].copy())  # a view would keep all N
    return torch.from_numpy(np.concatenate(nearest))


def latent_recall(z_NZ: Tensor, near_NM: Tensor, ks: Sequence[int], block: int = BLOCK) -> list[float]:
    """The mean share of each point's M given others that are among its k nearest, for each k.

    Where points are equally far, it is the expected share if chance decided between them.
    """
    if not bool(z_NZ.isfinite().all()):
        return [math.nan] * len(ks)
    near_NM = near_NM.to(z_NZ.device)
    found = [0.0] * len(ks)
    for start in range(0, len(z_NZ), block):
        rows_B = torch.arange(start, min(start + block, len(z_NZ)), device=z_NZ.device)
        # The other way to compute distances loses those between near points that lie far from the origin.
        distances_BN = torch.cdist(z_NZ[rows_B], z_NZ, compute_mode="donot_use_mm_for_euclid_dist")
        distances_BN.scatter_(1, rows_B[:, None], math.inf)
        theirs_BM1 = distances_BN.gather(1, near_NM[rows_B])[:, :, None]
        nearer_BM = (distances_BN[:, None] < theirs_BM1).sum(2, dtype=torch.int32)
        as_far_BM = (distances_BN[:, None] == theirs_BM1).sum(2, dtype=torch.int32)
        for place, k in enumerate(ks):
            found[place] += float(((k - nearer_BM) / as_far_BM).clamp(0, 1).sum())
    return [total / near_NM.numel() for total in found]


def _words(batch: TokenBatch) -> list[list[int]]:
    """The words of each sentence, without EOS and padding."""
    return [row[: length - 1] for row, length in zip(batch.targets.tolist(), batch.lengths.tolist(), strict=True)]


def _draw(ks: Sequence[int], recall: Sequence[float], neighbors: int, count: int) -> Figure:
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(f"the {neighbors} nearest sentences by edit distance, of {count:,}", fontsize="medium")
    axes.set_xlabel("k nearest in z")
    axes.set_ylabel("share found")
    axes.plot(ks, recall, marker=".", label="recall")
    axes.plot(ks, [k / (count - 1) for k in ks], linestyle=":", color="grey", label="chance")
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure
