"""Lightning's logger for Weights & Biases, whose failures cost the dashboard alone."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import wandb
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import WandbLogger


class SteadyWandbLogger(WandbLogger):
    """Records as `WandbLogger` does; what W&B cannot take is left out, with one line, and the training goes on.

    `metrics.csv` and the run folder have every figure and table in any case.

    Args:
        **kwargs: What `pytorch_lightning.loggers.WandbLogger` takes.
    """

    _failures = 0
    _is_gone = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Lightning passes it on where nobody has asked for it, and W&B warns of it: it has no effect any more.
        self._wandb_init.pop("anonymous", None)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Logs the configuration."""
        self._try(lambda: super(SteadyWandbLogger, self).log_hyperparams(params))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs numbers, and for `log_table` and its like everything else."""
        self._try(lambda: super(SteadyWandbLogger, self).log_metrics(metrics, step))

    def _try(self, record: Callable[[], None]) -> None:
        if self._is_gone:
            return
        try:
            record()
        except Exception as error:
            # The connection to W&B's process is lost for good; anything else concerns one record, such as a table that
            # a broken network cannot announce.
            self._is_gone = isinstance(error, OSError)
            self._failures += 1
            if self._is_gone or self._failures == 1:
                lost = "the rest of this run" if self._is_gone else "a record (and any later one that fails)"
                reason = " ".join(str(error).split()) or type(error).__name__
                print(f"W&B failed ({reason}): it lacks {lost}, the run folder has it", file=sys.stderr)
            if self._is_gone:
                with suppress(Exception):  # at the process' end it would raise where nobody can catch it
                    wandb.teardown(1)
