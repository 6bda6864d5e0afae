"""A fit that goes on from a checkpoint: whether it can, and where W&B recorded it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import Trainer

from datamodules.errors import require
from experiments.records import read_settings, settings_of
from lightning_modules import TextModel

# What a fit goes on from, and whether that is of its kind.
RESUMED: dict[str, Callable[[Any], bool]] = {
    "loops": lambda states: isinstance(states, dict) and "fit_loop" in states,
    "optimizer_states": lambda states: isinstance(states, list) and bool(states) and all(map(_has_groups, states)),
    "lr_schedulers": lambda states: isinstance(states, list),
    "callbacks": lambda states: isinstance(states, dict) and all(isinstance(each, dict) for each in states.values()),
    "pytorch-lightning_version": lambda version: isinstance(version, str),
    "global_step": lambda step: isinstance(step, int),
}


def last_checkpoint(folder: Path) -> str | None:
    """The file from which a run that broke off goes on, if it got that far.

    What Lightning wrote when SLURM sent its signal goes: it is of the middle of a step, and Lightning would take it
    where there is no other.
    """
    for file in folder.glob("hpc_ckpt_*.ckpt"):
        file.unlink(missing_ok=True)
    last = folder / "checkpoints" / "last.ckpt"
    return str(last) if last.is_file() else None


def wandb_id(folder: Path) -> str | None:
    """The id under which a run's newest part was recorded by W&B, from the name that W&B gives the part's folder."""
    names = sorted(each.name.removeprefix("offline-") for each in (folder / "wandb").glob("*run-*"))
    parts = [part for name in names if (part := re.fullmatch(r"run-\d{8}_\d{6}-(.+)", name))]
    return parts[-1].group(1) if parts else None


def require_same_optimizer(model: TextModel, checkpoint: dict[str, Any]) -> None:
    """Checks the optimiser's options: a resume restores it as it was, so that others would be recorded, but not used.

    Raises:
        UsageError: They are others.
    """
    lacking = ", ".join(part for part, is_whole in RESUMED.items() if not is_whole(checkpoint.get(part)))
    require(
        not lacking, f"no training goes on from the checkpoint, which lacks {lacking}: take another one, or test it"
    )
    theirs, ours = (_optimizer_options(hparams) for hparams in (checkpoint["hyper_parameters"], model.hparams))
    other = [name for name in ours if theirs.get(name) != ours[name]]
    changes = ", ".join(f"{name} {theirs.get(name)} to {ours[name]}" for name in other)
    require(
        not other,
        f"a resumed training goes on with the optimiser of its checkpoint, and the configuration changes {changes}: "
        "leave --model.init_args.optimizer, and rates of a network's own, as they are in the run's config.yaml",
    )


def require_same_settings(folder: Path, configuration: str) -> None:
    """Checks that an unfinished run would go on as it began; it may be given more steps, other hardware or loggers.

    Args:
        folder: Of the run.
        configuration: With which it would go on, as YAML.

    Raises:
        UsageError: Its `config.yaml` has other settings.
    """
    theirs, ours = read_settings(folder / "config.yaml"), settings_of(yaml.safe_load(configuration))
    free = ("trainer.max_", "trainer.min_", "data.init_args.data_dir")
    other = [key for key in theirs | ours if theirs.get(key) != ours.get(key) and not key.startswith(free)]
    changes = ", ".join(f"{key} {theirs.get(key)} to {ours.get(key)}" for key in other)
    require(
        not other,
        f"the unfinished run {folder} was begun with other settings, and the configuration changes {changes}: give it "
        "the same options as then, or begin a new run without --ckpt_path last (RESUME=1)",
    )


def require_something_left(trainer: Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Checks that there are steps to take: Lightning would end without a word, and old figures would pass for new ones.

    Raises:
        UsageError: There are none.
    """
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


def _has_groups(state: Any) -> bool:
    return isinstance(state, dict) and bool(state.get("param_groups"))


def _optimizer_options(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """The optimiser's, and the rates that a discriminator, or a generator and its critic, have of their own."""
    own = {
        f"{group}.{name}": hparams[group][name]
        for group in ("adversary", "learned_prior")
        if group in hparams
        for name in ("lr", "betas")
    }
    return {**hparams["optimizer"], **own}
