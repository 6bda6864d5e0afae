"""`textae fit|validate|test|predict`: Lightning's command line, with run folders and links between data and model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.loggers import WandbLogger

from callbacks.attached import Checked, callbacks_of, corpus_of
from callbacks.checkpoints import BestCheckpoint, LastCheckpoint, best_checkpoint
from callbacks.summary import Summary
from datamodules.errors import UsageError, require
from datamodules.text import TextDataModule
from experiments.resuming import (
    last_checkpoint,
    require_same_optimizer,
    require_same_settings,
    require_something_left,
    wandb_id,
)
from experiments.runs import (
    EXPERIMENTS,
    FINISHED,
    experiment_folder,
    new_run_folder,
    require_writable,
    run_folder_of,
    unfinished_run,
)
from experiments.weights_and_biases import start_wandb
from lightning_modules import TextModel
from lightning_modules.checkpoint import read_checkpoint

SUBCOMMANDS = ("fit", "validate", "test", "predict")
# What Lightning takes for a path, but would look for in the new run's own folder.
KEYWORDS = ("last", "best", "hpc", "registry")


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
                logger.experiment.config.update(self.config.as_dict(), allow_val_change=True)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes a test's beside the file that its figures went to; that after a fit has the fit's."""
        summary = next((each for each in callbacks_of(trainer) if isinstance(each, Summary)), None)
        if self.of == "test" and summary is not None and summary.written is not None:
            self._write(summary.written.with_name(summary.written.name.replace("metrics.json", "config.yaml")))

    def _write(self, file: Path, **changes: Any) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        config = self.config.clone()
        for key, value in changes.items():
            config[key] = value
        file.write_text(self.parser.dump(config, skip_none=False), encoding="utf-8")


class TextCLI(LightningCLI):
    """Lightning's command line for autoencoders of text."""

    def __init__(self, args: list[str], run: bool = True) -> None:
        common = {"exit_on_error": False, "allow_abbrev": False}
        parser: dict[str, Any] = {**common, "default_config_files": [str(EXPERIMENTS / "_default.yaml")]}
        super().__init__(
            TextModel,
            TextDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=SaveConfig,
            save_config_kwargs={"save_to_log_dir": False},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # the modules save plain values themselves
            parser_kwargs={command: parser for command in SUBCOMMANDS} | common if run else parser,
            args=args,
            run=run,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the run's own arguments, the checkpoint callback, and what flows from one part to another."""
        parser.add_argument("--name", type=str | None, default=None, help="Experiment; the configuration file's name.")
        parser.add_argument("--runs", type=str, default="runs", help="Folder of all runs.")
        parser.add_argument("--test_after_fit", type=bool, default=True, help="Test the best checkpoint after a fit.")
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(LastCheckpoint, "last_checkpoint")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "model.init_args.seed", compute_fn=int)
        parser.link_arguments("data.vocabulary_json", "model.init_args.vocabulary", apply_on="instantiate")
        parser.link_arguments("model.monitor", "checkpoint.monitor", apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        """Decides the run folder, before anything that writes to it exists."""
        config: Namespace = self.config[self.subcommand] if self.subcommand else self.config
        root = experiment_folder(config)
        if self.unfinished is not None:
            folder = self.unfinished
        elif self.subcommand == "fit":
            folder = new_run_folder(root)
        elif self.subcommand is not None:
            if config.ckpt_path is None:
                raise UsageError(
                    "give --run FOLDER (such as runs/daae_reviews, for its newest run), or --ckpt_path too"
                )
            if self.subcommand == "test":
                config.verbose = False  # the Summary callback has the table
            folder = run_folder_of(Path(config.ckpt_path)) or new_run_folder(root)
        else:
            folder = root.absolute()
        if self.subcommand is not None:
            require_writable(folder)
        config.trainer.default_root_dir = str(folder)
        config.checkpoint.dirpath = config.last_checkpoint.dirpath = str(folder / "checkpoints")
        if config.get("ckpt_path") is not None:
            config.checkpoint.resumed_from = str(Path(config.ckpt_path).absolute().parent)
        _point_loggers_at(config, folder, keep_csv=self.subcommand == "fit")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Makes the trainer; of callbacks of one kind it has the last alone.

        Raises:
            UsageError: Such as an accelerator that does not exist, or an option that the family has in its own way.
        """
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (TypeError, ValueError) as error:
            raise UsageError(str(error)) from error
        if not self.model.automatic_optimization:
            family = type(self.model).__name__
            require(
                trainer.gradient_clip_val is None,
                f"{family} clips by itself: give --model.init_args.clip instead of --trainer.gradient_clip_val",
            )
            require(
                trainer.accumulate_grad_batches == 1,
                f"{family} takes several steps in a batch, each at once: give larger batches (--data.init_args.batching"
                ") instead of --trainer.accumulate_grad_batches",
            )
        # Two of one kind would log under the same names, of which Lightning would take the mean.
        given = callbacks_of(trainer)
        last = {callback.state_key: callback for callback in given}
        doubled = sorted({type(each).__name__ for each in given if last[each.state_key] is not each})
        if doubled:
            rank_zero_only(print)(
                f"twice in trainer.callbacks, so that the last one counts: {', '.join(doubled)}", file=sys.stderr
            )
        given[:] = [each for each in given if last[each.state_key] is each]
        return trainer

    def after_fit(self) -> None:
        """Tests the best checkpoint, so that a training ends with its figures; then the run is finished."""
        config = self.config["fit"]
        if config.test_after_fit:
            best = best_checkpoint(self.trainer, self.model.monitor)
            path = None if best is None else best.best_model_path
            self.trainer.test(self.model, self.datamodule, ckpt_path=path, verbose=False)
        if self.trainer.is_global_zero:
            (Path(config.trainer.default_root_dir) / FINISHED).touch()

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses what `main` prepared; Lightning would warn that the process has arguments as well."""
        self.config = parser.parse_args(args)
        seed = (self.config[self.config.subcommand] if "subcommand" in self.config else self.config).seed_everything
        require(0 <= seed < 2**32, f"seed_everything is {seed}: give a number from 0 to 2^32 - 1")

    def _parse_ckpt_path(self) -> None:
        """Finds and reads the checkpoint early, for a clear error; the configuration stays as given, not the model's.

        `last` is that of the newest run that did not come to its end, and of none where there is no such run.
        """
        self.unfinished: Path | None = None
        command = self.config.get("subcommand")
        config = self.config[command] if command else self.config
        if command == "fit" and config.ckpt_path == "last":
            self.unfinished = unfinished_run(experiment_folder(config), config.seed_everything)
            config.ckpt_path = None if self.unfinished is None else last_checkpoint(self.unfinished)
        path = config.get("ckpt_path")
        require(
            path not in KEYWORDS,
            f"--ckpt_path {path}: give the file itself, such as runs/NAME/VERSION/checkpoints/last.ckpt",
        )
        try:
            self.checkpoint = None if path is None else read_checkpoint(path)
        except UsageError as error:
            if self.unfinished is None:
                raise
            raise UsageError(f"{error}; remove that file to begin the run again, or go on from best.ckpt") from error

    def instantiate_classes(self) -> None:
        """Makes model, data and trainer, holds them against each other and the checkpoint, and then starts W&B.

        Raises:
            UsageError: The checkpoint is of another family or vocabulary, a resumed fit asks for another optimiser or
                has nothing left to do, a callback does not fit, or W&B cannot start as it is told to.
        """
        super().instantiate_classes()
        if self.checkpoint is not None:
            self.model.on_load_checkpoint(self.checkpoint)
            if self.subcommand == "fit":
                require_same_optimizer(self.model, self.checkpoint)
                if self.unfinished is None:  # else the test is left
                    require_something_left(self.trainer, self.checkpoint)
            self.checkpoint = None
        if self.unfinished is not None:
            options = self.config[self.subcommand]
            require_same_settings(self.unfinished, self._parser(self.subcommand).dump(options, skip_none=False))
        if self.subcommand is not None:
            for callback in callbacks_of(self.trainer):
                if isinstance(callback, Checked):
                    callback.check(self.trainer, self.model, self.datamodule, self.subcommand)
            start_wandb(
                self.trainer.loggers,
                group=self.config[self.subcommand].name,
                tags=(type(self.model).__name__, self.datamodule.corpus),
                run_id=None if self.unfinished is None else wandb_id(self.unfinished),
            )


def _point_loggers_at(config: Namespace, folder: Path, keep_csv: bool) -> None:
    loggers = config.trainer.logger
    if not loggers or loggers is True:
        return
    if not isinstance(loggers, list):
        loggers = [loggers]
    # A CSVLogger starts by deleting the file: a later test must not cost the training its curves.
    config.trainer.logger = [logger for logger in loggers if keep_csv or not logger.class_path.endswith("CSVLogger")]
    for logger in config.trainer.logger:
        logger.init_args.save_dir = str(folder)
        if logger.class_path.endswith("CSVLogger"):
            logger.init_args.name = logger.init_args.version = ""
        elif logger.class_path.endswith("WandbLogger"):
            logger.init_args.name = logger.init_args.name or f"{config.name}/{folder.name}"
