"""Options and configurations that are wrong: one message that names what is, and no traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from models import small

from datamodules.errors import UsageError
from experiments.runs import EXPERIMENTS

Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("--model.init_args.encoder.hiden_size=3", ("hiden_size",)),
        ("--model.init_args.sizes=3", ("sizes",)),
        ("--trainer.max_epoch=3", ("max_epoch",)),
        ("--colour=red", ("--colour",)),
        ("--model.init_args.encoder.hidden_size=abc", ("encoder.hidden_size", "abc", "int")),
        ("--model.init_args.encoder.hidden_size=3.5", ("encoder.hidden_size", "3.5", "int")),
        ("--model.init_args.encoder.hidden_size=-4", ("encoder.hidden_size", "-4")),
        ("--model.init_args.encoder.cell=rnn", ("encoder.cell", "rnn", "lstm", "gru")),
        ("--model.init_args.encoder.dropout=1", ("encoder.dropout", "1")),
        ("--model.init_args.embedding.size=0", ("embedding.size", "0")),
        ("--model.init_args.embedding.shared=maybe", ("embedding.shared", "maybe")),
        ("--model.init_args.posterior.latent_size=0", ("latent_size", "0")),
        ("--model.init_args.decoder.max_words=0", ("max_words", "0")),
        ("--model.init_args.corruption.drop=1.5", ("corruption.drop", "1.5")),
        ("--model.init_args.corruption.shuffle=-1", ("corruption.shuffle", "-1")),
        ("--model.init_args.optimizer.lr=nan", ("optimizer.lr", "nan")),
        ("--model.init_args.optimizer.lr=.nan", ("optimizer.lr", "nan")),
        ("--model.init_args.optimizer.lr=-0.1", ("optimizer.lr", "-0.1")),
        ("--model.init_args.optimizer.betas=[0.5, 1]", ("optimizer.betas", "0.5")),
        ("--model.init_args.optimizer.name=adamx", ("optimizer.name", "adamx")),
        ("--model.init_args.latent=median", ("latent", "median")),
        ("--model=Autoencodr", ("model", "Autoencodr")),
        ("--data=Yelb", ("data", "Yelb")),
        ("--data.init_args.batching.sentences=0", ("batching.sentences", "0")),
        ("--data.init_args.vocabulary.size=-1", ("vocabulary.size", "-1")),
        ("--data.init_args.vocabulary.coverage=2", ("vocabulary.coverage", "2")),
        ("--data.init_args.vocabulary.file=no.json", ("no.json",)),
        ("--data.init_args.subset.train=-64", ("subset.train", "-64")),
        ("--data.init_args.subset.overflow=squeeze", ("subset.overflow", "squeeze")),
        ("--trainer.max_epochs=many", ("trainer.max_epochs", "many")),
        ("--trainer.max_epochs=-5", ("max_epochs", "-5")),
        ("--trainer.precision=17", ("trainer.precision", "17")),
        ("--trainer.devices=0", ("devices", "0")),
        ("--trainer.accelerator=abacus", ("accelerator", "abacus")),
        ("--trainer.accelerator=tpu", ("torch_xla",)),
        ("--trainer.num_nodes=2", ("num_nodes is 2", "torchrun", "NODE_RANK")),
        ("--trainer.overfit_batches=0.5", ("overfit_batches", "subset.train")),
        ("--model.init_args.encoder.hidden_size=100000000", ("too large",)),
        ("--model.init_args.posterior.latent_size=9223372036854775807", ("too large",)),
        ("--data.init_args.subset.train=99999999999999999999", ("subset.train", "99999999999999999999")),
        ("--name=../elsewhere", ("--name", "../elsewhere", "slashes")),
        (f"--name={'x' * 300}", ("File name too long",)),
        ("--trainer.callbacks+=callbacks.Confetti", ("callbacks", "Confetti")),
        ("--trainer.callbacks+=callbacks.AttributeTransfer", ("AttributeTransfer", "tense", "yelp")),
        (
            "--trainer.callbacks=[{class_path: callbacks.NeighborPurity, init_args: {neighbors: 0}}]",
            ("NeighborPurity", "0"),
        ),
        ("--checkpoint.save_top_k=-5", ("save_top_k", "-5")),
        ("--seed_everything=-1", ("seed_everything", "-1")),
        ("--seed_everything=abc", ("seed_everything", "abc")),
        ("--ckpt_path=no.ckpt", ("no.ckpt",)),
        ("--config=missing.yaml", ("missing.yaml",)),
    ],
    ids=lambda value: value.split(": ")[0].removeprefix("--") if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named(fit: Command, option: str, named: tuple[str, ...]) -> None:
    error = fit(option)
    for name in named:
        assert name in error


@pytest.mark.parametrize(
    ("option", "instead"),
    [("gradient_clip_val=1", "--model.init_args.clip"), ("accumulate_grad_batches=2", "--data.init_args.batching")],
)
def test_what_a_family_does_by_itself_is_not_asked_of_the_trainer(fit: Command, option: str, instead: str) -> None:
    error = fit("--model=lightning_modules.AdversariallyRegularizedAutoencoder", f"--trainer.{option}")
    assert "AdversariallyRegularizedAutoencoder" in error and instead in error and option.split("=")[0] in error


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"trainer: {max_epochs: [\n", ("line 2",)),
        (b"", ()),
        (b"# only a comment\n", ()),
        (b"- a\n- list\n", ()),
        (b"name: caf\xe9\n", ("utf-8", "0xe9")),
        (b"model:\n  class_path: lightning_modules.Autoencoder\n", ("data",)),
        (b"trainer:\nmodel:\n", ("mine.yaml has nothing under trainer, model",)),
        (b"trainer: " + b"[" * 5000, ("mine.yaml is no YAML",)),
    ],
    ids=["malformed", "empty", "comment", "list", "latin-1", "no data", "null", "deep"],
)
def test_a_configuration_that_is_none(textae: Command, tmp_path: Path, content: bytes, named: tuple[str, ...]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    error = textae("fit", "--config", file, fails=True).error
    for name in named or ("mine.yaml",):
        assert name in error


def test_runs_that_cannot_be_written(textae: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--runs" in textae("fit", "--config=daae_reviews", "--runs=file", fails=True).error


def test_apples_gpu_which_lacks_float64_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytorch_lightning.accelerators import MPSAccelerator

    from experiments.lightning_cli import TextCLI
    from experiments.trainer_options import require_trainable
    from lightning_modules import LanguageModel

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MPSAccelerator, "is_available", lambda: True)
    config = ["--config", str(EXPERIMENTS / "lm_reviews.yaml")]
    assert TextCLI(config, run=False).trainer.strategy.root_device.type == "cpu"
    chosen = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("mps")))
    with pytest.raises(UsageError, match=r"accelerator mps.*give cpu"):
        require_trainable(chosen, small(LanguageModel))  # type: ignore[arg-type]  # its device alone is looked at


def test_an_option_that_is_misspelt_points_at_those_of_its_class(textae: Command) -> None:
    error = textae("fit", "--config=svae_reviews", "--model.init_args.kl_wieght=1", fails=True).error
    assert "kl_wieght" in error and "--model.help CLASS" in error
    assert "--model.help" not in textae("sample", "--no-such-option", fails=True).error
