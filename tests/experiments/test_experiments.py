"""Every experiment that comes with the project, with its sizes and its corpus cut down to seconds."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

import experiments
from experiments.lightning_cli import TextCLI
from lightning_modules.checkpoint import load_model

Command = Callable[..., Any]
FILES = sorted(file for file in Path(experiments.__file__).parent.glob("*.yaml") if not file.stem.startswith("_"))
ONE_BATCH = (
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=1",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1",
    "--trainer.logger=false",
)


def settings(name: str) -> dict[str, Any]:
    [file] = [file for file in FILES if file.stem == name]
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting under its dotted name."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def corpus_class(experiment: Mapping[str, Any]) -> Any:
    module, name = experiment["data"]["class_path"].rsplit(".", 1)
    return getattr(import_module(module), name)


def smaller(experiment: Mapping[str, Any], corpus: Path) -> dict[str, Any]:
    """Settings that make an experiment small: its shape stays, its sizes shrink, its text is at hand."""
    small: dict[str, Any] = {}
    for key, value in leaves(experiment["model"]["init_args"]):
        if key.endswith(("hidden_size", "embedding.size")):
            small[f"model.init_args.{key}"] = min(value, 16)
        elif key.endswith("latent_size"):
            small[f"model.init_args.{key}"] = min(value, 4)
    kind = corpus_class(experiment)
    if kind.corpus == "binary_clusters":
        small |= {"data.init_args.size": 6, "data.init_args.bits": 8}
    elif kind.built_in:
        small |= {f"data.init_args.subset.{split}": 64 for split in ("train", "valid", "test")}
    elif kind.corpus == "everything":
        root = corpus.parent / "everything"
        for name in ("ptb", "yahoo", "yelp15", "wikitext103"):
            if not (root / name).exists():
                shutil.copytree(corpus, root / name)
        small["data.init_args.data_dir"] = str(root)
    else:
        small["data.init_args.data_dir"] = str(corpus)
    return small


def options(values: Mapping[str, Any]) -> list[str]:
    return [f"--{key}={value}" for key, value in values.items()]


def figures(run: Path) -> dict[str, float]:
    [file] = run.glob("*test_metrics.json")  # partial where the split has more than the one batch
    metrics = json.loads(file.read_text())["metrics"]
    return {name: figure["value"] for name, figure in metrics.items()}


def in_turn() -> Iterator[Any]:
    """All experiments; slow are those whose family and whose corpus an earlier one has."""
    seen: set[str] = set()
    for file in FILES:
        kinds = {settings(file.stem)[part]["class_path"] for part in ("model", "data")}
        yield pytest.param(file.stem, marks=[pytest.mark.slow] if kinds <= seen else [])
        seen |= kinds


@pytest.fixture
def corpus(write_corpus: Command, sentences: tuple[str, ...], tmp_path: Path) -> Path:
    """A folder with labels; the words of a label are its own, as sentiment has them."""
    folder: Path = write_corpus(tmp_path / "corpora" / "any", sentences * 4, labels=True)
    return folder


@pytest.mark.parametrize("name", list(in_turn()))
def test_it_trains_and_tests(name: str, textae: Command, quiet: tuple[str, ...], corpus: Path, tmp_path: Path) -> None:
    experiment = settings(name)
    small = smaller(experiment, corpus)
    printed = textae("fit", "--config", name, *options(small), *ONE_BATCH, *quiet).out
    [run] = (tmp_path / "runs" / name).iterdir()
    for part in ("config.yaml", "vocabulary.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        assert (run / part).stat().st_size > 0, part
    assert (run / "finished").exists()
    assert str(run) in printed

    # The configuration that is kept says what the experiment says, but for what was overridden.
    kept = dict(leaves(yaml.safe_load((run / "config.yaml").read_text())))
    for key, value in leaves(experiment):
        if key not in small and not key.startswith("trainer"):
            assert kept[key] == value, key
    for key, value in small.items():
        assert kept[key] == value, key

    measured = figures(run)
    assert {"test/reconstruction", "test/nll"} & measured.keys()
    for quantity, value in measured.items():
        assert math.isfinite(value), quantity
        assert f"{value:.4f}" in printed
    model = load_model(run / "checkpoints" / "best.ckpt")
    assert type(model).__name__ == experiment["model"]["class_path"].rsplit(".", 1)[1]


def test_every_experiment_is_one_that_the_command_line_understands() -> None:
    parser = TextCLI([f"--config={FILES[0]}"], run=False).parser
    for file in FILES:
        config = parser.parse_path(file)
        assert config.model.class_path == settings(file.stem)["model"]["class_path"]


def test_a_saved_configuration_is_enough_to_rerun(textae: Command, quiet: tuple[str, ...], tmp_path: Path) -> None:
    small = smaller(settings("daae_reviews"), tmp_path)
    # Two epochs of four batches: dropout, corruption, shuffling and both samples of the adversary take part.
    length = ("--trainer.max_epochs=2", "--trainer.limit_train_batches=4", "--data.init_args.batching.sentences=16")
    textae("fit", "--config=daae_reviews", "--trainer.logger=false", *length, *options(small), *quiet)
    [first] = (tmp_path / "runs" / "daae_reviews").iterdir()
    untouched = figures(first)

    textae("fit", f"--config={first / 'config.yaml'}")
    [second] = {*(tmp_path / "runs" / "daae_reviews").iterdir()} - {first}
    assert figures(second) == untouched
    assert figures(first) == untouched

    [record] = first.glob("*test_metrics.json")
    record.unlink()
    textae("test", "--run", first)
    assert figures(first) == untouched
    record.unlink()
    textae("test", f"--run={first}")
    assert figures(first) == untouched
    assert len(list((tmp_path / "runs" / "daae_reviews").iterdir())) == 2

    textae("fit", f"--config={first / 'config.yaml'}", "--seed_everything=1")
    [third] = {*(tmp_path / "runs" / "daae_reviews").iterdir()} - {first, second}
    assert figures(third)["test/reconstruction"] != untouched["test/reconstruction"]
    # The seed is the model's as well as the data's, whose sentences are others now.
    assert [load_model(run / "checkpoints" / "best.ckpt").seed for run in (first, third)] == [0, 1]
    shown = [(run / "samples" / "reconstructions.txt").read_text().split("\n")[0] for run in (first, second, third)]
    assert shown[0] == shown[1] != shown[2]


def test_a_run_can_be_validated_and_predicted(
    trained: Any, textae: Command, quiet: tuple[str, ...], sentences: tuple[str, ...]
) -> None:
    printed = textae("validate", "--run", trained.run).out
    assert "val/reconstruction" in printed
    textae("predict", "--run", trained.run)
    # It knows its sentences by heart.
    assert (trained.run / "samples" / "predictions.txt").read_text().splitlines() == list(sentences)


def test_data_dir_is_resolved_into_the_saved_configuration(
    textae: Command,
    quiet: tuple[str, ...],
    write_corpus: Command,
    sentences: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_corpus(tmp_path / "corpora" / "yelp", sentences, labels=True)
    small = smaller(settings("ae_yelp"), folder)
    del small["data.init_args.data_dir"]
    monkeypatch.setenv("DATA_DIR", "corpora")  # relative to where the run starts
    textae("fit", "--config=ae_yelp", *options(small), *ONE_BATCH, *quiet)
    monkeypatch.delenv("DATA_DIR")
    [run] = (tmp_path / "runs" / "ae_yelp").iterdir()
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["init_args"]["data_dir"] == str(folder)
    measured = figures(run)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    textae("test", "--run", run)
    assert figures(run) == measured


def test_data_dir_given_as_an_option_goes_before_the_environment(
    textae: Command, quiet: tuple[str, ...], corpus: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "no" / "such"))
    textae("data", "--config=ae_yelp", f"--data.init_args.data_dir={corpus}")


def test_the_description_of_a_corpus(textae: Command, write_corpus: Command, tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "described", ["a b c", "a", "a b", "a b c d", "b a"])
    (folder / "test.txt").write_text("a b z z\nz a\nz\n")
    printed = textae("data", "--config=ae_yelp", f"--data.init_args.data_dir={folder}").out
    rows = {
        cells[0]: cells[1:]
        for line in printed.splitlines()
        if len(cells := [cell.strip() for cell in line.strip().strip("│").split("│")]) == 8
    }
    # Lines, words, unknown, words a line, shortest, median, longest.
    assert rows["train"] == ["5", "12", "0.00%", "2.40", "1", "2", "4"]
    assert rows["test"] == ["3", "7", "57.14%", "2.33", "1", "2", "4"]
    title = "".join(printed.split())  # it is wrapped, within a word too where the folder's name is long
    assert f"yelp({folder})" in title
    assert "vocabularyof9with5specials" in title


def test_the_name_of_a_run_and_the_folder_of_runs(
    textae: Command, quiet: tuple[str, ...], corpus: Path, tmp_path: Path
) -> None:
    small = options(smaller(settings("ae_yelp"), corpus))
    textae("fit", "--config=ae_yelp", "--name=mine", "--runs=elsewhere", *small, *ONE_BATCH, *quiet)
    [run] = (tmp_path / "elsewhere" / "mine").iterdir()
    assert figures(run)
    textae("fit", "--config=ae_yelp", "--test_after_fit=false", "--runs=untested", *small, *ONE_BATCH, *quiet)
    [run] = (tmp_path / "untested" / "ae_yelp").iterdir()
    assert not list(run.glob("*test_metrics.json"))


def test_a_resumed_run_ends_where_an_unbroken_one_does(textae: Command, quiet: tuple[str, ...], tmp_path: Path) -> None:
    small = options(smaller(settings("daae_reviews"), tmp_path))
    common = ("fit", "--config=daae_reviews", "--data.init_args.batching.sentences=16", "--trainer.logger=false")
    textae(*common, "--runs=whole", "--trainer.max_epochs=2", *small, *quiet)
    [whole] = (tmp_path / "whole" / "daae_reviews").iterdir()
    textae(*common, "--runs=half", "--trainer.max_epochs=1", *small, *quiet)
    [half] = (tmp_path / "half" / "daae_reviews").iterdir()
    last = half / "checkpoints" / "last.ckpt"
    textae(*common, "--runs=rest", "--trainer.max_epochs=2", f"--ckpt_path={last}", *small, *quiet)
    [rest] = (tmp_path / "rest" / "daae_reviews").iterdir()
    weights = [load_model(run / "checkpoints" / "last.ckpt").state_dict() for run in (whole, rest, half)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    assert not all(weights[0][name].equal(weights[2][name]) for name in weights[0])


def test_the_environment_names_the_version(
    textae: Command, quiet: tuple[str, ...], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    small = options(smaller(settings("ae_yelp"), corpus))
    textae("fit", "--config=ae_yelp", *small, *ONE_BATCH, *quiet)
    assert [run.name for run in (tmp_path / "runs" / "ae_yelp").iterdir()] == ["4711"]
    assert os.environ["TEXTAE_VERSION"] == "4711"


@pytest.mark.parametrize(
    ("name", "baseline", "different"),
    [
        ("aae_yelp", "daae_yelp", {"corruption.drop"}),
        ("laae_yelp", "aae_yelp", {"adversary.log_variance_weight"}),
        (
            "aae_binary_clusters",
            "daae_binary_clusters",
            {"corruption.substitute", "adversary.weight", "optimizer.lr"},
        ),
    ],
)
def test_experiments_that_are_compared_differ_in_what_is_compared(
    name: str, baseline: str, different: set[str]
) -> None:
    one, other = settings(name), settings(baseline)
    models = [dict(leaves(each.pop("model")["init_args"])) for each in (one, other)]
    assert {key for key in models[0] | models[1] if models[0].get(key) != models[1].get(key)} == different
    assert one == other
