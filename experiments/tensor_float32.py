"""Products of float32 numbers on a GPU."""

from __future__ import annotations

import torch


def allow_tf32(device: torch.device, allowed: bool) -> None:
    """Has a GPU make products of float32 numbers in TF32, whose mantissas are of 10 bits, or else in all 23.

    TF32 is several times as fast from NVIDIA's Ampere on. By itself PyTorch makes the products of cuDNN's recurrent
    networks in TF32 and all others in full. On a CPU nothing changes.

    Args:
        device: On which the products are.
        allowed: Whether they may be in TF32.
    """
    if device.type == "cpu":
        return
    # Not by the newer `fp32_precision`: Lightning asks by the older functions, which raise where both have been used.
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
