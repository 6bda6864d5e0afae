"""`textae fit|validate|test|predict`: Lightning's command line, with run folders and links between data and model."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import MPSAccelerator
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from callbacks.attached import Checked, callbacks_of
from callbacks.checkpoints import BestCheckpoint, LastCheckpoint, best_checkpoint
from callbacks.progress_bar import ProgressBar
from datamodules.errors import UsageError, require
from datamodules.text import TextDataModule
from experiments.memory import keep_freed_memory
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
from experiments.save_config import SaveConfig
from experiments.tensor_float32 import allow_tf32
from experiments.trainer_options import require_trainable
from experiments.weights_and_biases import start_wandb
from lightning_modules import TextModel
from lightning_modules.checkpoint import read_checkpoint

SUBCOMMANDS = ("fit", "validate", "test", "predict")
# What Lightning takes for a path, but would look for in the new run's own folder.
KEYWORDS = ("last", "best", "hpc", "registry")


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
        tf32 = "On a GPU, train in float32 with products in TF32, which is faster; tests are in full float32."
        parser.add_argument("--tf32", type=bool, default=True, help=tf32)
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
        if config.trainer.accelerator == "auto" and MPSAccelerator.is_available():
            config.trainer.accelerator = "cpu"  # figures are summed in float64, which Apple's GPU lacks
            warnings.filterwarnings("ignore", ".*GPU available but not used.*")
        config.trainer.default_root_dir = str(folder)
        config.checkpoint.dirpath = config.last_checkpoint.dirpath = str(folder / "checkpoints")
        if config.get("ckpt_path") is not None:
            config.checkpoint.resumed_from = str(Path(config.ckpt_path).absolute().parent)
        _point_loggers_at(config, folder, keep_csv=self.subcommand == "fit")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Makes the trainer; of callbacks of one kind it has the last alone, and a progress bar that costs little.

        Raises:
            UsageError: Such as an accelerator that does not exist, or an option that is to be given in another way.
        """
        configured = list(self._get(self.config_init, "trainer")["callbacks"] or [])  # to which Lightning adds
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (TypeError, ValueError, ImportError) as error:
            raise UsageError(str(error)) from error
        require_trainable(trainer, self.model)
        # Two of one kind would log under the same names, of which Lightning would take the mean.
        given = callbacks_of(trainer)
        last = {callback.state_key: callback for callback in given}
        doubled = sorted({type(each).__name__ for each in given if last[each.state_key] is not each})
        if doubled:
            rank_zero_only(print)(
                f"twice in trainer.callbacks, so that the last one counts: {', '.join(doubled)}", file=sys.stderr
            )
        given[:] = [
            ProgressBar() if isinstance(each, RichProgressBar) and each not in configured else each
            for each in given
            if last[each.state_key] is each
        ]
        return trainer

    def before_fit(self) -> None:
        """Has a training on a CPU keep the memory that it needs again in each step, and one on a GPU use TF32."""
        device = self.trainer.strategy.root_device
        if device.type == "cpu":
            keep_freed_memory()
        allow_tf32(device, self.config["fit"].tf32)

    def before_test(self) -> None:
        """Figures that are published do not depend on a GPU's precision."""
        allow_tf32(self.trainer.strategy.root_device, False)

    before_validate = before_predict = before_test

    def after_fit(self) -> None:
        """Tests the best checkpoint, so that a training ends with its figures; then the run is finished."""
        config = self.config["fit"]
        self.before_test()
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
        try:
            super().instantiate_classes()
        except (RuntimeError, ValueError) as error:
            too_large = _refused_memory(error)
            if too_large is None:
                raise
            raise UsageError(f"the model is too large: {too_large}") from error
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


def _refused_memory(error: BaseException | None) -> str | None:
    """What PyTorch says of tensors that it cannot make, of whatever the parser makes of that."""
    while error is not None:
        said = str(error).splitlines()[0] if str(error) else ""
        if type(error) is RuntimeError and ("allocate" in said or "overflow" in said):
            return said
        error = error.__cause__ or error.__context__
    return None


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
