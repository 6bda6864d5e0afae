"""Steps of optimisers by hand, for families that need several of them in a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn


def descend(
    module: LightningModule,
    optimizers: Sequence[LightningOptimizer],
    loss: Tensor,
    clip: float | None,
    counted: bool = False,
    clipped_with: Iterable[nn.Parameter] = (),
) -> None:
    """Takes one step of optimisers along the gradient of a loss with respect to their own parameters alone.

    The gradient is averaged over ranks here, rather than in DDP's backward, which expects one backward pass over all
    parameters in each batch. Where the precision scales the loss, clipping and unscaling know of the scale.

    Args:
        module: The family.
        optimizers: Some of its optimisers.
        loss: This rank's part of the loss.
        clip: Greatest L2 norm of the gradient, over all of these optimisers; no limit where it is null.
        counted: Whether the last optimiser's step is the one that `global_step` counts for the batch.
        clipped_with: Parameters that stay, but whose gradient counts in that norm.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    parameters = [parameter for group in groups for parameter in group["params"] if parameter.requires_grad]
    scaler: torch.amp.GradScaler | None = getattr(module.trainer.precision_plugin, "scaler", None)
    scaled = loss if scaler is None else scaler.scale(loss)
    known = {id(parameter) for parameter in parameters}
    others = [] if clip is None else [other for other in clipped_with if other.requires_grad and id(other) not in known]
    gradients = torch.autograd.grad(scaled, parameters + others, allow_unused=True)
    for parameter, gradient in zip(parameters + others, gradients, strict=True):
        gradient = torch.zeros_like(parameter) if gradient is None else gradient
        parameter.grad = module.trainer.strategy.reduce(gradient, reduce_op="mean")
    if clip is not None:
        norm = nn.utils.clip_grad_norm_(parameters + others, clip * (1.0 if scaler is None else scaler.get_scale()))
        if scaler is not None:  # which looks at each optimiser's gradients alone for an overflow
            for parameter in parameters:
                assert parameter.grad is not None
                parameter.grad.masked_fill_(~norm.isfinite(), float("inf"))
    for other in others:
        other.grad = None
    for number, optimizer in enumerate(optimizers, start=1):
        if counted and number == len(optimizers):
            optimizer.step()
        elif scaler is None:
            optimizer.optimizer.step()
        else:
            scaler.step(optimizer.optimizer)
        optimizer.zero_grad()
    if scaler is not None and not counted:  # a counted step updates the scale, once for all
        scaler.update()
