"""Runs and checkpoints given to a command: those that do not fit, and what a test leaves beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Command = Callable[..., Any]


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("--config=daae_reviews",), ("--run",)),
        (("--run=no/such/run",), ("no/such/run",)),
        (("--run", "no/such/run"), ("no/such/run",)),
        (("--run",), ("--run", "folder")),
        (("--run=.",), ("best.ckpt",)),
        (("--config=daae_reviews", "--ckpt_path=no.ckpt"), ("no.ckpt",)),
    ],
    ids=["none", "missing", "missing, two words", "no value", "no run", "no checkpoint"],
)
def test_a_run_that_is_none(textae: Command, command: str, args: tuple[str, ...], named: tuple[str, ...]) -> None:
    error = textae(command, *args, fails=True).error
    for name in named:
        assert name in error


def test_checkpoints_that_do_not_fit(
    trained: Any, textae: Command, quiet: tuple[str, ...], write_corpus: Command, tmp_path: Path
) -> None:
    best = trained.run / "checkpoints" / "best.ckpt"
    own = ("test", f"--config={trained.config}", f"--data.init_args.data_dir={trained.data}", "--trainer.logger=false")
    other = write_corpus(tmp_path / "other", ["words of another kind"])
    run = textae(*own, *quiet, f"--data.init_args.data_dir={other}", f"--ckpt_path={best}", fails=True)
    assert "vocabulary" in run.error
    # The way out that the message gives is one.
    assert "--data.init_args.vocabulary.file" in run.error
    words = f"--data.init_args.vocabulary.file={trained.run / 'vocabulary.json'}"
    textae(*own, *quiet, f"--data.init_args.data_dir={other}", f"--ckpt_path={best}", words)

    family = "--model=AdversarialAutoencoder"
    error = textae(*own, *quiet, family, f"--ckpt_path={best}", fails=True).error
    assert "Autoencoder" in error and "AdversarialAutoencoder" in error

    for size in (0, 100, best.stat().st_size // 2, best.stat().st_size - 10):
        damaged = tmp_path / f"damaged_{size}.ckpt"
        damaged.write_bytes(best.read_bytes()[:size])
        for command in (own, ("sample",)):
            option = "--ckpt_path" if command == own else "--checkpoint"
            assert damaged.name in textae(*command, f"{option}={damaged}", fails=True).error
    for name in (
        "best.ckpt",
        "last.ckpt",
        "lastrun.ckpt",
    ):  # in this folder, with names that Lightning has a meaning for
        (tmp_path / name).write_bytes(best.read_bytes()[:100])
        assert name in textae(*own, f"--ckpt_path={name}", fails=True).error
    size = "--model.init_args.encoder.hidden_size=47"
    error = textae(*own, *quiet, size, f"--ckpt_path={best}", fails=True).error
    assert "config.yaml" in error and "encoder" in error
    changed = tmp_path / "changed.ckpt"
    content = bytearray(best.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 100] = bytes(byte ^ 0xFF for byte in content[middle : middle + 100])
    changed.write_bytes(content)
    assert "checksum" in textae("sample", f"--checkpoint={changed}", fails=True).error
    alone = tmp_path / "alone.ckpt"
    weights = torch.load(best, weights_only=True)
    torch.save({key: weights[key] for key in ("family", "state_dict", "hyper_parameters")}, alone)
    textae("sample", f"--checkpoint={alone}", "--count=1")
    assert (
        "which lacks loops, optimizer_states"
        in textae("fit", *own[1:], *quiet, f"--ckpt_path={alone}", fails=True).error
    )
    text = tmp_path / "text.ckpt"
    text.write_text("no checkpoint")
    assert "text.ckpt" in textae("sample", f"--checkpoint={text}", fails=True).error


def test_what_does_not_fit_a_checkpoint_is_said_before_anything_is_written(
    trained: Any, textae: Command, quiet: tuple[str, ...], tmp_path: Path
) -> None:
    last = trained.run / "checkpoints" / "last.ckpt"
    resume = ("fit", f"--config={trained.run / 'config.yaml'}", f"--runs={tmp_path / 'rest'}", f"--ckpt_path={last}")
    for options, named in (
        (("--model.init_args.encoder.hidden_size=47",), ("encoder",)),
        # It would be recorded, but the checkpoint's would be used.
        (("--model.init_args.optimizer.lr=0.5",), ("lr 0.01 to 0.5", "--model.init_args.optimizer")),
        (("--model.init_args.optimizer.betas=[0.5, 0.9]",), ("betas",)),
    ):
        loggers = "--trainer.logger={class_path: WandbLogger, init_args: {project: textae, offline: true}}"
        error = textae(*resume, *quiet, loggers, "--trainer.max_epochs=101", *options, fails=True).error
        assert all(name in error for name in named)
        assert not list((tmp_path / "rest").rglob("wandb")) and not list((tmp_path / "rest").rglob("config.yaml"))


def test_a_resume_with_nothing_left_to_do_says_so(
    trained: Any, textae: Command, quiet: tuple[str, ...], tmp_path: Path
) -> None:
    last = trained.run / "checkpoints" / "last.ckpt"
    resume = ("fit", f"--config={trained.run / 'config.yaml'}", f"--runs={tmp_path / 'rest'}", f"--ckpt_path={last}")
    steps = torch.load(last, weights_only=True)["global_step"]
    for limits, named in (
        (("--trainer.max_epochs=100",), ("100 of max_epochs 100", "--trainer.max_epochs")),
        (("--trainer.max_epochs=200", f"--trainer.max_steps={steps}"), ("--trainer.max_steps", str(steps))),
    ):
        error = textae(*resume, *quiet, *limits, fails=True).error
        assert all(name in error for name in (*named, "textae test"))
        assert not (tmp_path / "rest").exists()


def test_a_part_of_a_test_leaves_the_settings_of_the_whole(
    trained: Any, moved: Path, textae: Command, quiet: tuple[str, ...]
) -> None:
    shutil.copy(trained.run / "config.yaml", moved / "config.yaml")
    textae("test", f"--run={moved}", *quiet)
    whole = (moved / "test_config.yaml").read_text()
    textae(
        "test", f"--run={moved}", *quiet, "--trainer.limit_test_batches=1", "--data.init_args.batching.eval_sentences=2"
    )
    assert (moved / "test_config.yaml").read_text() == whole
    assert "limit_test_batches: 1" in (moved / "partial_test_config.yaml").read_text()


def test_an_earlier_tests_settings_do_not_stand_beside_a_fits_figures(
    trained: Any, textae: Command, quiet: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    folder = tmp_path / "runs" / "memory" / "7"
    folder.mkdir(parents=True)
    (folder / "test_config.yaml").write_text("seed_everything: 3")
    fit = ("fit", f"--config={trained.config}", f"--data.init_args.data_dir={trained.data}", "--trainer.max_epochs=1")
    textae(*fit, *quiet, "--trainer.logger=false", f"--runs={tmp_path / 'runs'}")
    assert (folder / "test_metrics.json").is_file()
    assert not (folder / "test_config.yaml").exists()


@pytest.mark.parametrize(
    ("command", "word"), [("test", "last"), ("fit", "best"), ("test", "best"), ("fit", "hpc"), ("test", "hpc")]
)
def test_a_checkpoint_is_named_by_its_file(command: str, word: str, trained: Any, textae: Command) -> None:
    config = trained.run / "config.yaml"
    assert f"--ckpt_path {word}" in textae(command, f"--config={config}", f"--ckpt_path={word}", fails=True).error


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("family", ["a"], "was not written by textae"),
        ("hyper_parameters", None, "was not written by textae"),
        ("hyper_parameters", {1: 2}, "was not written by textae"),
        ("state_dict", [1], "was not written by textae"),
        ("loops", {}, "lacks loops"),
        ("optimizer_states", None, "lacks optimizer_states"),
        ("optimizer_states", [], "lacks optimizer_states"),
        ("optimizer_states", [{"state": {}, "param_groups": []}], "lacks optimizer_states"),
        ("lr_schedulers", None, "lacks lr_schedulers"),
        ("callbacks", {"RunFolder": 5}, "lacks callbacks"),
        ("pytorch-lightning_version", None, "lacks pytorch-lightning_version"),
    ],
)
def test_a_checkpoint_with_a_part_of_another_kind_is_refused(
    trained: Any, textae: Command, quiet: tuple[str, ...], tmp_path: Path, part: str, value: object, said: str
) -> None:
    checkpoint = torch.load(trained.run / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save(checkpoint | {part: value}, tmp_path / "odd.ckpt")
    own = (f"--config={trained.config}", f"--data.init_args.data_dir={trained.data}", "--trainer.logger=false")
    assert said in textae("fit", *own, *quiet, "--trainer.max_epochs=900", "--ckpt_path=odd.ckpt", fails=True).error


@pytest.mark.parametrize("options", [{"encoder": 5}, {"decoder": "a"}, {"vocabulary": 3}, {"else": 1}])
def test_a_checkpoint_with_other_settings_is_refused(
    trained: Any, textae: Command, tmp_path: Path, options: dict[str, object]
) -> None:
    checkpoint = torch.load(trained.run / "checkpoints" / "best.ckpt", weights_only=True)
    odd = checkpoint | {"hyper_parameters": checkpoint["hyper_parameters"] | options}
    torch.save(odd, tmp_path / "odd.ckpt")
    assert (
        "odd.ckpt does not fit this version of Autoencoder"
        in textae("sample", "--checkpoint=odd.ckpt", fails=True).error
    )
