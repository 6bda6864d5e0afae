"""The configuration that is kept with a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import WandbLogger

from callbacks.attached import callbacks_of, corpus_of
from callbacks.summary import Summary
from callbacks.whole_files import write_whole
from experiments.runs import run_folder_of


class SaveConfig(SaveConfigCallback):
    """Writes the configuration, enough to run it again: a fit's to run folder and W&B, a test's beside its figures."""

    of: str | None = None  # the stage that the configuration is of

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Called by Lightning once, on the first rank, when the first stage starts."""
        self.of = stage
        data = corpus_of(trainer)
        if data.data_dir is not None:
            self.config.data.init_args.data_dir = str(data.data_dir)
        if stage != "fit":
            return
        folder = Path(trainer.default_root_dir)
        goes_on = self.config.ckpt_path is not None and run_folder_of(Path(self.config.ckpt_path)) == folder
        self._write(folder / "config.yaml", ckpt_path=None if goes_on else self.config.ckpt_path)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams(self.config.as_dict())

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes a test's beside the file that its figures went to; that after a fit has the fit's."""
        summary = next((each for each in callbacks_of(trainer) if isinstance(each, Summary)), None)
        if summary is None or summary.written is None:
            return
        beside = summary.written.with_name(summary.written.name.replace("metrics.json", "config.yaml"))
        if self.of == "test":
            self._write(beside)
        else:
            beside.unlink(missing_ok=True)  # an earlier test's

    def _write(self, file: Path, **changes: Any) -> None:
        config = self.config.clone()
        for key, value in changes.items():
            config[key] = value
        write_whole(file, self.parser.dump(config, skip_none=False))
