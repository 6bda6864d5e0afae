"""`textae fit|validate|test|predict`: Lightning's command line, with run folders and links between data and model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
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
from experiments.runs import EXPERIMENTS, new_run_folder, require_writable, run_folder_of
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
        self._write(Path(trainer.default_root_dir) / "config.yaml")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.config.update(self.config.as_dict(), allow_val_change=True)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes a test's beside the file that its figures went to; that after a fit has the fit's."""
        summary = next((each for each in callbacks_of(trainer) if isinstance(each, Summary)), None)
        if self.of == "test" and summary is not None and summary.written is not None:
            self._write(summary.written.with_name(summary.written.name.replace("metrics.json", "config.yaml")))

    def _write(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.parser.dump(self.config, skip_none=False), encoding="utf-8")


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
        files = [Path(str(file)) for file in config.get("config") or []]
        if config.name is None:
            config.name = files[-1].stem if files else "unnamed"
        root = Path(config.runs) / config.name
        if self.subcommand == "fit":
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
        """Tests the best checkpoint, so that a training ends with its figures."""
        config = self.config["fit"]
        if config.test_after_fit:
            best = best_checkpoint(self.trainer, self.model.monitor)
            path = None if best is None else best.best_model_path
            self.trainer.test(self.model, self.datamodule, ckpt_path=path, verbose=False)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses what `main` prepared; Lightning would warn that the process has arguments as well."""
        self.config = parser.parse_args(args)
        seed = (self.config[self.config.subcommand] if "subcommand" in self.config else self.config).seed_everything
        require(0 <= seed < 2**32, f"seed_everything is {seed}: give a number from 0 to 2^32 - 1")

    def _parse_ckpt_path(self) -> None:
        """Reads the checkpoint early, for a clear error; unlike Lightning's, the configuration stays as it is given."""
        path = self.config[self.config.subcommand].get("ckpt_path") if self.config.get("subcommand") else None
        require(
            path not in KEYWORDS,
            f"--ckpt_path {path}: give the file itself, such as runs/NAME/VERSION/checkpoints/last.ckpt",
        )
        self.checkpoint = None if path is None else read_checkpoint(path)

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
                _require_same_optimizer(self.model, self.checkpoint)
                _require_something_left(self.trainer, self.checkpoint)
            self.checkpoint = None
        if self.subcommand is not None:
            for callback in callbacks_of(self.trainer):
                if isinstance(callback, Checked):
                    callback.check(self.trainer, self.model, self.datamodule, self.subcommand)
            start_wandb(self.trainer.loggers)


def _require_same_optimizer(model: TextModel, checkpoint: dict[str, Any]) -> None:
    """A resume restores the optimiser as it was; another configuration would be recorded, but not used."""
    theirs, ours = (_optimizer_options(hparams) for hparams in (checkpoint["hyper_parameters"], model.hparams))
    other = [name for name in ours if theirs.get(name) != ours[name]]
    changes = ", ".join(f"{name} {theirs.get(name)} to {ours[name]}" for name in other)
    require(
        not other,
        f"a resumed training goes on with the optimiser of its checkpoint, and the configuration changes {changes}: "
        "leave --model.init_args.optimizer, and rates of a network's own, as they are in the run's config.yaml",
    )


def _require_something_left(trainer: Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Lightning would end without a word, and the old figures would pass for new ones."""
    progress = checkpoint["loops"]["fit_loop"]
    # A checkpoint of an epoch's validation comes before Lightning counts the epoch, another one after that.
    ended = progress["epoch_loop.batch_progress"]["is_last_batch"]
    epochs = progress["epoch_progress"]["current"]["ready" if ended else "processed"]
    steps = checkpoint["global_step"]
    for limit, name, done in ((trainer.max_epochs, "max_epochs", epochs), (trainer.max_steps, "max_steps", steps)):
        left = limit is None or limit == -1 or done < limit
        require(
            left,
            f"nothing is left to train: the checkpoint has {done} of {name} {limit}; give a larger --trainer.{name}, "
            "or measure it with `textae test --run`",
        )


def _optimizer_options(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """The optimiser's, and the rates that a discriminator, or a generator and its critic, have of their own."""
    own = {
        f"{group}.{name}": hparams[group][name]
        for group in ("adversary", "learned_prior")
        if group in hparams
        for name in ("lr", "betas")
    }
    return {**hparams["optimizer"], **own}


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
