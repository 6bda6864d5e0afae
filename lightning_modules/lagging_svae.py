"""The sentence VAE with aggressive training of a lagging encoder. B sentences, Z latent size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, cast

import numpy as np
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from datamodules.batch import TokenBatch
from datamodules.errors import require, require_positive
from lightning_modules.manual import descend
from lightning_modules.metrics.mutual_information import MutualInformation
from lightning_modules.optimization import make_optimizer
from lightning_modules.randomness import SentenceRandom
from lightning_modules.svae import SentenceVAE
from lightning_modules.text_model import configured


@dataclass(frozen=True)
class AggressiveConfig:
    """When the encoder is trained ahead of the decoder (He et al. 2019, algorithm 1 and their code).

    Attributes:
        max_steps: Most steps of the encoder alone before a step of the decoder; 0 is the `SentenceVAE`.
        window: They end earlier once the mean loss a word of this many steps is above that of those before.
    """

    max_steps: int = 100
    window: int = 15

    def __post_init__(self) -> None:
        require(self.max_steps >= 0, f"aggressive.max_steps is {self.max_steps}: give 0 or more")
        require(self.window > 0, f"aggressive.window is {self.window}: give 1 or more")


class LaggingVAE(SentenceVAE):
    """Trains the encoder to near convergence before each step of the decoder, while its posterior lags behind.

    (He et al. 2019.) The encoder's own steps begin with the batch and go on with batches drawn from the epoch's. They
    end for good after the first validation at which the mutual information I(x; z) has fallen; from then on it is the
    `SentenceVAE`. I(x; z), logged as `val/mutual_information`, is taken with the aggregate posterior of the whole
    split (theirs: of each batch). As in their code, the norm by which a gradient is clipped is that of all parameters,
    also where the encoder or the decoder moves alone.

    Args:
        aggressive: How long the encoder trains alone.
        clip: Greatest norm of a gradient (`trainer.gradient_clip_val` is for families that Lightning optimises).
        kwargs: The rest of the `SentenceVAE`, the backbone and the optimiser.
    """

    def __init__(
        self, aggressive: AggressiveConfig = AggressiveConfig(), clip: float | None = 5.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        schedule = self.optimizer_config.schedule
        require(schedule == "constant", f"optimizer.schedule {schedule}: with LaggingVAE, use callbacks.DecayFromBest")
        if clip is not None:
            require_positive("clip", clip)
        self.automatic_optimization = False
        self.aggressive = configured(AggressiveConfig, aggressive)
        self.clip = clip
        self.mutual_information = MutualInformation()
        self.visit = 0
        self._epoch_batches: tuple[int, list[Any]] = (-1, [])
        self.is_aggressive = self.aggressive.max_steps > 0
        self.last_information = 0.0  # theirs, too: what an encoder knows at first

    def get_extra_state(self) -> Tensor:
        """What a resume needs; no buffer, which a low precision would round."""
        return torch.tensor([self.is_aggressive, self.last_information], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Goes on where the checkpoint was."""
        self.is_aggressive = bool(state[0]) and self.aggressive.max_steps > 0
        self.last_information = float(state[1])

    def random(self, batch: TokenBatch) -> SentenceRandom:
        """As everywhere, but fresh at each of the several visits that a sentence may get in an epoch."""
        random = super().random(batch)
        return SentenceRandom(random.index, random.seed, random.epoch + (self.visit << 32))

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Those that only q(z|x) has; an embedding that the decoder shares belongs to the decoder."""
        backbone = self.backbone
        own: list[nn.Module] = [backbone.encoder, backbone.posterior]
        if backbone.encoder_embedding is not backbone.embedding:
            own.append(backbone.encoder_embedding)
        return [parameter for part in own for parameter in part.parameters()]

    def configure_optimizers(self) -> list[Optimizer]:
        """One optimiser for the encoder and one for the rest."""
        encoder = self.encoder_parameters()
        known = {id(parameter) for parameter in encoder}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return [
            make_optimizer([{"params": part}], self.optimizer_config, self.fuses_steps()) for part in (encoder, rest)
        ]

    def training_step(self, batch: TokenBatch, batch_idx: int) -> None:
        """The encoder's steps, if they are on, and one step of the decoder or of both."""
        encoder, decoder = cast(list[LightningOptimizer], self.optimizers())
        if self.is_aggressive:
            self._train_encoder(encoder, batch, batch_idx)
        objective = self.objective(batch)
        self.log_objective(batch, objective)
        stepped = [decoder] if self.is_aggressive else [encoder, decoder]
        loss = objective.loss.mean() * batch.share
        descend(self, stepped, loss, self.clip, counted=True, clipped_with=self.parameters())

    def validation_step(self, batch: TokenBatch, batch_idx: int) -> None:
        """The objective's terms, and what the mutual information needs."""
        super().validation_step(batch, batch_idx)
        posterior = self.encode(batch)
        self.mutual_information.update(posterior, self.sample_latent(batch, posterior))

    def on_validation_epoch_end(self) -> None:
        """Ends the encoder's own steps once the mutual information has fallen."""
        information = self.mutual_information.compute()
        self.mutual_information.reset()
        self.log("val/mutual_information", information, sync_dist=True)
        if self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            self.is_aggressive = self.is_aggressive and float(information) >= self.last_information
            self.last_information = float(information)

    def _train_encoder(self, encoder: LightningOptimizer, batch: TokenBatch, batch_idx: int) -> None:
        before, losses, words = math.inf, torch.zeros((), device=self.device), 0
        batches = islice(chain([batch], self._drawn_batches(batch_idx)), self.aggressive.max_steps)
        for step, drawn in enumerate(batches, start=1):
            self.visit = batch_idx * (self.aggressive.max_steps + 1) + step
            loss = self.objective(drawn).loss
            descend(self, [encoder], loss.mean() * drawn.share, self.clip, clipped_with=self.parameters())
            if drawn.share > 0:
                losses = losses + loss.detach().sum()
                words += len(drawn.positions)
            if step % self.aggressive.window == 0:
                now = self._nats_a_word(losses, words)
                if now > before:
                    break
                before, losses, words = now, torch.zeros_like(losses), 0
        self.visit = 0

    def _nats_a_word(self, nats: Tensor, words: int) -> float:
        """Of all ranks, for which a GPU is waited once."""
        own = torch.stack((nats, torch.full_like(nats, words)))
        total_nats, total_words = cast(Tensor, self.trainer.strategy.reduce(own, reduce_op="sum")).tolist()
        return float(total_nats / max(1.0, total_words))

    def _drawn_batches(self, batch_idx: int) -> Iterator[TokenBatch]:
        """Batches of the epoch in random order, with replacement; the same ones on every rank."""
        loader = cast(DataLoader[TokenBatch], self.trainer.train_dataloader)
        if self._epoch_batches[0] != self.current_epoch:
            self._epoch_batches = (self.current_epoch, list(loader.sampler))
        items = self._epoch_batches[1]
        draw = np.random.default_rng([self.seed, self.current_epoch, batch_idx])
        while True:
            yield loader.dataset[items[draw.integers(len(items))]].to(self.device, non_blocking=True)
