"""Lightning's trainer on the stand-in for a GPU."""

from __future__ import annotations

from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.strategies import SingleDeviceStrategy
from standin import NAME, waits


class StandIn(Accelerator):
    """The device, as Lightning knows one."""

    def setup_device(self, device: torch.device) -> None: ...

    def teardown(self) -> None: ...

    def get_device_stats(self, device: str | torch.device) -> dict[str, Any]:
        return {}

    @staticmethod
    def parse_devices(devices: Any) -> list[int]:
        return [0]

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [torch.device(NAME, 0)]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME


class WaitsInSteps(pl.Callback):
    """Where in the project training steps, and what lies between them, wait for the device, each "file:function".

    It is the first callback, and leaves validations out.
    """

    places: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        self.has_validated = True

    def on_train_start(self, *_: Any) -> None:
        self.places.clear()

    def on_train_batch_start(self, *_: Any) -> None:
        if self.has_validated:
            waits.clear()
        self.has_validated = False

    def on_validation_start(self, *_: Any) -> None:
        self.on_train_epoch_end()
        self.has_validated = True

    def on_train_epoch_end(self, *_: Any) -> None:
        if not self.has_validated:
            self.places.update(waits)


class Precisions(pl.Callback):
    """The precisions of products of float32 numbers in training and in a test."""

    found: ClassVar[dict[str, str]] = {}

    def on_train_batch_end(self, *_: Any) -> None:
        self.found["train"] = torch.get_float32_matmul_precision()

    def on_test_batch_end(self, *_: Any) -> None:
        self.found["test"] = torch.get_float32_matmul_precision()


def on_stand_in(precision: str) -> dict[str, Any]:
    """A trainer's options for `32-true`, or `16-mixed`, which scales the loss, as on a GPU."""
    options = {"accelerator": StandIn(), "strategy": SingleDeviceStrategy(device=f"{NAME}:0")}
    if precision == "32-true":
        return options
    scaler = torch.amp.GradScaler("cpu", init_scale=4096.0)
    return options | {"plugins": [MixedPrecision("16-mixed", NAME, scaler)]}
