"""Steps by hand: under a loss scale as without one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from models import PLAIN, WITHOUT_VALIDATION, loader, sentences, small, trainer
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor, nn

from datamodules.bucketing import BatchingConfig
from lightning_modules import AdversariallyRegularizedAutoencoder, LaggingVAE
from lightning_modules.arae import LearnedPriorConfig
from lightning_modules.manual import descend
from lightning_modules.text_model import TextModel

FAMILIES = [AdversariallyRegularizedAutoencoder, LaggingVAE]


class Scaled(MixedPrecision):
    """A loss scale in full precision, so that nothing but the scale differs."""

    def __init__(self, scale: float) -> None:
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=10_000)
        super().__init__("16-mixed", "cpu", scaler)

    def autocast_context_manager(self) -> torch.autocast:
        return torch.autocast("cpu", enabled=False)


NORMALISED = {"learned_prior": LearnedPriorConfig(gradient="normalised", weight=0.5, critic_clip=0.2, lr=0.1)}


def trained(family: type[TextModel], **options: Any) -> TextModel:
    own = NORMALISED if family is AdversariallyRegularizedAutoencoder else {}
    model = small(family, **PLAIN, **own, clip=0.05)  # type: ignore[arg-type]  # what every family of these has
    data = loader(sentences(12), BatchingConfig(sentences=4), training=True)
    fitting = trainer(max_epochs=2, **options)
    fitting.fit(model, data)
    assert fitting.global_step == 6  # one for each batch, however many steps it takes
    return model


@WITHOUT_VALIDATION
@pytest.mark.parametrize("family", FAMILIES)
def test_a_loss_scale_changes_no_step(family: type[TextModel]) -> None:
    plain, scaled = trained(family), trained(family, plugins=[Scaled(4096.0)])
    start = dict(small(family).named_parameters())
    moved = 0.0
    for (name, one), (_, other) in zip(plain.named_parameters(), scaled.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6, msg=name)
        moved = max(moved, float((one - start[name]).detach().abs().max()))
    assert moved > 1e-4
    if isinstance(plain, AdversariallyRegularizedAutoencoder):
        assert isinstance(scaled, AdversariallyRegularizedAutoencoder)
        assert float(plain.reconstruction_norm) == pytest.approx(float(scaled.reconstruction_norm), rel=1e-3)


@WITHOUT_VALIDATION
@pytest.mark.parametrize("family", FAMILIES)
def test_a_scale_that_overflows_skips_the_step_and_falls(family: type[TextModel]) -> None:
    plugin = Scaled(1e38)
    model = trained(family, plugins=[plugin])
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    assert plugin.scaler is not None and plugin.scaler.get_scale() < 1e38


class TwoParts(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([4.0]))
        self.automatic_optimization = False

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD([part], lr=1.0) for part in (self.first, self.second)]

    def training_step(self, batch: Tensor) -> None:
        first, second = self.optimizers()
        loss = 0.5 * (self.first.square() + self.second.square()).sum()  # whose gradient is (3, 4), of norm 5
        descend(self, [first, second], loss, clip=2.5, counted=True)
        descend(self, [first], 0.5 * (self.first * self.second).sum(), clip=None)


class ClippedTogether(TwoParts):
    def training_step(self, batch: Tensor) -> None:
        first, _ = self.optimizers()
        loss = 0.5 * (self.first.square() + self.second.square()).sum()
        descend(self, [first], loss, clip=2.5, counted=True, clipped_with=[self.second])
        assert self.second.grad is None


def test_what_stays_counts_in_the_norm_where_it_is_to() -> None:
    model = ClippedTogether()
    trainer(max_steps=1).fit(model, torch.utils.data.DataLoader([torch.zeros(1)]))
    # The first's part of (3, 4) / 2, where its own norm of 3 would give 2.5.
    assert (model.first.item(), model.second.item()) == pytest.approx((1.5, 4.0), rel=1e-6)


def test_several_optimisers_are_clipped_together_and_one_moves_its_own_alone() -> None:
    model, fitting = TwoParts(), trainer(max_steps=1)
    fitting.fit(model, torch.utils.data.DataLoader([torch.zeros(1)]))
    # (3, 4) - (3, 4) / 2 = (1.5, 2); then the first alone by half of the second.
    assert (model.first.item(), model.second.item()) == pytest.approx((0.5, 2.0), rel=1e-6)
    assert fitting.global_step == 1


class Overflowing(TwoParts):
    """The first part's gradient is infinite, the second's is not."""

    def training_step(self, batch: Tensor) -> None:
        first, second = self.optimizers()
        descend(self, [first, second], (self.first * math.inf + self.second).sum(), clip=2.5, counted=True)


def test_what_is_clipped_together_is_skipped_together() -> None:
    model = Overflowing()
    fitting = trainer(max_steps=1, plugins=[Scaled(8.0)])
    fitting.fit(model, torch.utils.data.DataLoader([torch.zeros(1)]))
    assert (model.first.item(), model.second.item()) == (3.0, 4.0)
