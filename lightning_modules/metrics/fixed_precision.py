"""What all metrics here have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torchmetrics import Metric


class FixedPrecision(Metric):
    """A metric whose states stay in the precision they are kept in, whatever a module that holds it is cast to.

    Lightning casts a module with `to`, of which torchmetrics, unlike of `half` and others, does not take its states
    out: with `bf16-true` a split would be summed with eight bits.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        return super()._apply(lambda state: state.to(fn(state.new_empty(0)).device), exclude_state)
