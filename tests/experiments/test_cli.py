"""What the command line says when something is wrong: one message that names it, and no traceback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.runs import experiment_names

Command = Callable[..., Any]
SMALL = (
    "--trainer.max_epochs=1",
    "--trainer.logger=false",
    "--model.init_args.encoder.hidden_size=8",
    "--model.init_args.decoder.hidden_size=8",
    "--model.init_args.embedding.size=4",
)
COMMANDS = ("fit", "validate", "test", "predict", "data", "sample", "reconstruct", "interpolate", "results", "compare")
COMMANDS += ("traverse", "tradeoff", "word-dropout", "impute", "transfer", "grid")


@pytest.fixture
def fit(textae: Command, quiet: tuple[str, ...], write_corpus: Command, tmp_path: Path) -> Command:
    """A run of `ae_yelp` on a small folder that must fail, with further options; gives the message."""
    write_corpus(tmp_path / "good", ["a b c", "b c", "c a b c"])

    def run(*args: str) -> str:
        folder = f"--data.init_args.data_dir={tmp_path / 'good'}"
        outcome = textae("fit", "--config=ae_yelp", folder, *SMALL, *quiet, *args, fails=True)
        # Nothing is left of a run that has not begun.
        assert not list((tmp_path / "runs").rglob("*.ckpt"))
        return str(outcome.error)

    return run


def test_one_batch_is_not_all_batches() -> None:
    # In a process of its own, for it depends on what was imported before.
    command = [sys.executable, "-W", "ignore", "-m", "experiments.cli", "fit", "--config", "ae_reviews"]
    options = ["--trainer.limit_test_batches", "1", "--print_config"]
    printed = subprocess.run([*command, *options], capture_output=True, text=True, timeout=100, check=True).stdout
    assert "limit_test_batches: 1\n" in printed


def test_no_arguments_print_the_help(textae: Command) -> None:
    printed = textae().out
    assert printed == textae("--help").out
    for command in COMMANDS:
        assert f"  {command} " in printed


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("fit", ("--config", "--trainer", "--model", "--data", "--runs", "--name", "--ckpt_path")),
        ("validate", ("--config", "--ckpt_path")),
        ("test", ("--config", "--ckpt_path")),
        ("predict", ("--config", "--ckpt_path")),
        ("data", ("--config", "--data")),
        ("sample", ("--run", "--checkpoint", "--output", "--count", "--temperature", "--seed")),
        ("reconstruct", ("--run", "--checkpoint", "--output", "--samples", "--perturb", "sentences")),
        ("interpolate", ("--run", "--checkpoint", "--output", "--steps", "--path", "--random", "first", "last")),
        ("traverse", ("--run", "--checkpoint", "--output", "--sentences", "--range", "--steps", "sentence")),
        ("tradeoff", ("--output", "runs")),
        ("word-dropout", ("--output", "runs")),
    ],
)
def test_every_command_has_help(textae: Command, command: str, options: tuple[str, ...]) -> None:
    printed = textae(command, "--help").out
    for option in options:
        assert option in printed


def test_an_unknown_command(textae: Command) -> None:
    error = textae("trian", fails=True).error
    assert "trian" in error
    for command in COMMANDS:
        assert command in error


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict", "data"])
def test_an_unknown_experiment_lists_the_experiments(textae: Command, command: str) -> None:
    error = textae(command, "--config=dae_yelp", fails=True).error
    assert "dae_yelp" in error
    assert len(experiment_names()) > 5
    for name in experiment_names():
        assert f"\n  {name}" in error


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
        ("--trainer.callbacks+=callbacks.Confetti", ("callbacks", "Confetti")),
        ("--trainer.callbacks+=callbacks.AttributeTransfer", ("AttributeTransfer", "tense", "yelp")),
        ("--trainer.callbacks=[{class_path: callbacks.NeighborPurity, init_args: {k: 0}}]", ("NeighborPurity", "0")),
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
    ],
    ids=["malformed", "empty", "comment", "list", "latin-1", "no data"],
)
def test_a_configuration_that_is_none(textae: Command, tmp_path: Path, content: bytes, named: tuple[str, ...]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    error = textae("fit", "--config", file, fails=True).error
    for name in named or ("mine.yaml",):
        assert name in error


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: (folder / "train.txt").write_text(""), ("train.txt", "empty")),
        (lambda folder: (folder / "valid.txt").write_bytes(b"a\n\xff\xfe b\n"), ("valid.txt", "UTF-8", "line 2")),
        (lambda folder: (folder / "valid.txt").write_text("\n\n"), ("valid",)),
        (lambda folder: (folder / "test.txt").unlink(), ("test.txt",)),
        (lambda folder: (folder / "train.labels").write_text("1\n0\n"), ("train.labels", "2", "3")),
        (lambda folder: (folder / "train.labels").write_text("1\ngood\n0\n"), ("train.labels", "good")),
        (lambda folder: [file.unlink() for file in folder.glob("*.txt")], ("good", "train.txt")),
        (lambda folder: folder.rename(folder.with_name("bad")), ("good",)),
    ],
    ids=["empty", "not UTF-8", "blank", "no split", "labels too few", "labels no numbers", "no file", "no folder"],
)
def test_a_folder_that_is_no_corpus(
    fit: Command, tmp_path: Path, damage: Callable[[Path], object], named: tuple[str, ...]
) -> None:
    damage(tmp_path / "good")
    error = fit()
    for name in named:
        assert name in error


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


def test_a_study_that_does_not_fit_the_corpus_is_said_before_anything_is_written(
    trained: Any, textae: Command, tmp_path: Path
) -> None:
    corpus = ("--data=TextFolder", f"--data.init_args.data_dir={trained.data}", f"--runs={tmp_path / 'runs'}")
    assert "tense" in textae("fit", "--config=daae_reviews", *corpus, fails=True).error
    assert not (tmp_path / "runs").exists()


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


@pytest.mark.parametrize("command", ["fit", "test"])
@pytest.mark.parametrize("word", ["last", "best", "hpc"])
def test_a_checkpoint_is_named_by_its_file(command: str, word: str, trained: Any, textae: Command) -> None:
    config = trained.run / "config.yaml"
    assert f"--ckpt_path {word}" in textae(command, f"--config={config}", f"--ckpt_path={word}", fails=True).error


def test_runs_that_cannot_be_written(textae: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--runs" in textae("fit", "--config=daae_reviews", "--runs=file", fails=True).error


def test_data_dir_that_is_no_root_of_corpora(textae: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    error = textae("fit", "--config=ae_yelp", fails=True).error
    assert "DATA_DIR" in error and str(tmp_path) in error and "folder yelp" in error


def test_a_bug_keeps_its_traceback(textae: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("experiments.sample_command.run", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        textae("sample")


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address of this computer where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def process(*args: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "WANDB_"))}
    return subprocess.run(
        [sys.executable, "-m", "experiments.cli", *args],
        cwd=folder,
        env=kept | {"HOME": str(folder), "HF_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_corpus_that_is_not_to_be_had(tmp_path: Path, nobody: str) -> None:
    ended = process("fit", "--config", "daae_yelp", folder=tmp_path, HF_ENDPOINT=nobody, NO_PROXY="127.0.0.1")
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    message = ended.stderr[ended.stderr.index("textae fit:") :]
    assert "fancyzhx/yelp_polarity" in message and "hub" in message
    assert "DATA_DIR" in message
    assert "daae_reviews" in message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("args", [["trian"], ["--help"], []])
def test_what_needs_no_library_waits_for_none(tmp_path: Path, args: list[str]) -> None:
    script = (
        "import sys; from experiments.cli import main\n"
        f"try: main({args})\n"
        "except SystemExit as end: print(end.code)\n"
        "print([name for name in ('torch', 'datasets', 'pytorch_lightning', 'numpy') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert printed.stderr == ""
    assert printed.stdout.splitlines()[-1] == "[]"
    assert "textae fit --config" in printed.stdout


def test_the_exit_status(tmp_path: Path) -> None:
    ended = process("trian", folder=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("textae trian:")
    assert ended.stdout == ""


@pytest.mark.parametrize(
    "number, reason", [(13, "Permission denied"), (30, "Read-only file system"), (28, "No space left")]
)
def test_a_place_that_cannot_be_written_is_named(
    number: int, reason: str, textae: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/ro/cache")

    monkeypatch.setattr("datamodules.dataset.FileLock", refused)
    monkeypatch.setattr("datamodules.text.encode", refused)
    error = textae("data", "--config=daae_reviews", fails=True).error
    assert "/ro/cache" in error and reason in error and "HF_HOME" in error
    assert len(error.strip().splitlines()) == 1
