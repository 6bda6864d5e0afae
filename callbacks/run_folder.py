"""The run folder: one writer, the vocabulary, and a mark when it is finished."""

from __future__ import annotations

from filelock import FileLock, Timeout
from pytorch_lightning import Callback, LightningModule, Trainer

from callbacks.tables import run_folder
from datamodules.errors import UsageError
from lightning_modules import TextModel


class RunFolder(Callback):
    """Keeps `vocabulary.json` in the run folder, locks it against a second writer, and marks it `finished`."""

    def __init__(self) -> None:
        self.lock: FileLock | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Takes the lock and writes the vocabulary.

        Raises:
            UsageError: Another process trains in the folder.
        """
        assert isinstance(pl_module, TextModel)
        if stage != "fit" or not trainer.is_global_zero:
            return
        self.lock = FileLock(run_folder(trainer, ".lock"), timeout=0)
        try:
            self.lock.acquire()
        except Timeout as error:
            raise UsageError(
                f"another process trains in {trainer.default_root_dir}: wait for it, or start anew"
            ) from error
        run_folder(trainer, "finished").unlink(missing_ok=True)
        vocabulary = pl_module.vocabulary.to_str(pretty=True)
        run_folder(trainer, "vocabulary.json").write_text(vocabulary, encoding="utf-8")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Marks the run as finished."""
        if trainer.is_global_zero:
            run_folder(trainer, "finished").touch()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Gives the lock back."""
        if stage == "fit" and self.lock is not None:
            self.lock.release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Gives the lock back: Lightning does not tear down what failed."""
        if self.lock is not None:
            self.lock.release()
