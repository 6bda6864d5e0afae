"""How checkpoints are written and read: never half a file, never code."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.utilities.types import _PATH

from datamodules.errors import UsageError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a file beside the checkpoint, and puts it in its place once all of it is on the disk.

    So the last good checkpoint is there whenever a process, a machine or a disk fails. Lightning's own goes through the
    system's folder of temporary files, from which another file system gets a plain copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        """Replaces the file at `path`.

        Raises:
            UsageError: It cannot be written; what was there before is there still.
        """
        target = Path(path)
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
            _sync(target.parent)
        except (OSError, RuntimeError) as error:  # torch has an error of its own for a full disk
            if isinstance(error.__context__, KeyboardInterrupt):  # of which torch makes one, too
                raise error.__context__ from None
            whole = sorted(file.name for file in target.parent.glob("*.ckpt")) if target.parent.is_dir() else []
            kept = (
                f"{' and '.join(whole)} of before {'are' if whole[1:] else 'is'} whole"
                if whole
                else "there is none yet"
            )
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            if _is_full(target.parent):
                reason = os.strerror(errno.ENOSPC)
            raise UsageError(
                f"a checkpoint cannot be written to {target.parent}: {reason}; {kept}. Make room there, and go on with "
                "--ckpt_path last (make train RESUME=1)"
            ) from error
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)

    def load_checkpoint(
        self, path: _PATH, map_location: Callable[..., Any] | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Reads tensors and plain values, whatever else is asked for."""
        loaded: dict[str, Any] = super().load_checkpoint(path, map_location, weights_only=True)
        return loaded


def _is_full(folder: Path) -> bool:
    """Whether less is left than a block or two, now that the part is there which could be written."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free < 1_000_000
    return False


def _sync(folder: Path) -> None:
    """Puts the new name on the disk, too, where folders can be opened for that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
