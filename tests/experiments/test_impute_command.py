"""`textae impute`, from a run folder that has lost its data and its configuration."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.vocabulary import SPECIAL_TOKENS, UNK
from lightning_modules import LanguageModel, TextAutoencoder
from lightning_modules.checkpoint import load_model
from lightning_modules.decoding.text import text_batch

Command = Callable[..., Any]
Records = list[dict[str, Any]]


@pytest.fixture
def moved(trained: Any, tmp_path: Path) -> Path:
    """The run's checkpoint in another folder, and nothing else."""
    run = tmp_path / "elsewhere" / "memory"
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(trained.run / "checkpoints" / "best.ckpt", run / "checkpoints" / "best.ckpt")
    return run


@pytest.fixture
def records(textae: Command, moved: Path, tmp_path: Path) -> Callable[..., Records]:
    """What the command writes as JSON, once its sentences are known to be what it prints."""

    def run(*args: str) -> Records:
        file = tmp_path / "imputed.json"
        printed = textae("impute", "--run", moved, "--output", file, *args).out
        written: Records = json.loads(file.read_text(encoding="utf-8"))
        lines = [line for line in printed.splitlines() if line.startswith("│")]
        assert len(lines) == len(written)
        for line, record in zip(lines, written, strict=True):
            assert record["sentence"] in line and record["imputed"] in line
            assert f"{record['log_probability'][-1]:.2f}" in line
        return written

    return run


@pytest.mark.parametrize("place", range(5))
def test_one_missing_word_is_the_best_of_the_whole_vocabulary(
    records: Callable[..., Records], moved: Path, place: int
) -> None:
    model = load_model(moved / "checkpoints" / "best.ckpt", torch.device("cpu")).eval()
    assert isinstance(model, TextAutoencoder)
    words = "the soup was cold .".split()
    size = model.vocabulary.get_vocab_size()
    candidates = [str(model.vocabulary.id_to_token(word)) for word in range(len(SPECIAL_TOKENS), size)]
    sentences = [" ".join([*words[:place], word, *words[place + 1 :]]) for word in candidates]
    with torch.no_grad():
        unknown = text_batch(model.vocabulary, [" ".join([*words[:place], SPECIAL_TOKENS[UNK], *words[place + 1 :]])])
        z = model.encode(unknown).mean.expand(len(sentences), -1)
        log_p = -model.reconstruction(text_batch(model.vocabulary, sentences), z)
    given = " ".join([*words[:place], "_", *words[place + 1 :]])
    [record] = records("--rounds=1", f"--beam={size}", given)
    assert record["sentence"] == given
    assert record["imputed"] == sentences[int(log_p.argmax())]
    assert record["log_probability"] == pytest.approx([float(log_p.max())], abs=1e-4)
    assert record["latent_change"] == []


def test_known_words_stay_in_the_order_that_was_asked_for(records: Callable[..., Records]) -> None:
    given = ["great food _ great staff", "the zebra was _ .", "_ again", "we _ this _ !"]
    found = records(*given)
    assert [record["sentence"] for record in found] == given
    for record in found:
        before, after = record["sentence"].split(), record["imputed"].split()
        assert len(before) == len(after) and "<unk>" not in after and "_" not in after
        assert all(old in ("_", new) for old, new in zip(before, after, strict=True))
        assert len(record["log_probability"]) == 3 and len(record["latent_change"]) == 2
        # Each round's search keeps what it had, so that all of a fall is due to a step of z.
        pairs = zip(record["log_probability"], record["latent_change"], record["log_probability"][1:], strict=False)
        assert all(one + change <= two + 1e-5 for one, change, two in pairs)


def test_a_sentence_alone_is_imputed_as_in_company(records: Callable[..., Records]) -> None:
    given = ["great food _ great staff", "never _", "the soup _ _ ."]
    together = records(*given)
    assert [record["imputed"] for record in together] == [records(sentence)[0]["imputed"] for sentence in given]


@pytest.mark.parametrize(("share", "missing"), [("0.2", 1), ("0.21", 2), ("0.6", 3), ("1", 5)])
def test_the_last_share_of_each_sentence(records: Callable[..., Records], share: str, missing: int) -> None:
    words = "the soup was cold .".split()
    [record] = records("--last", share, " ".join(words))
    assert record["imputed"].split()[: 5 - missing] == words[: 5 - missing]
    hidden = " ".join([*words[: 5 - missing], *"_" * missing])
    if missing < 5:
        assert record["imputed"] == records(hidden)[0]["imputed"]


def test_sentences_from_standard_input(records: Callable[..., Records], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("never _\n  the soup   was _ .  \n"))
    assert [record["sentence"] for record in records()] == ["never _", "the soup was _ ."]


def test_of_a_language_model(
    textae: Command, quiet: tuple[str, ...], write_corpus: Command, sentences: tuple[str, ...], tmp_path: Path
) -> None:
    data = write_corpus(tmp_path / "data", sentences)
    options = ("--trainer.max_epochs=40", "--trainer.check_val_every_n_epoch=40", "--trainer.logger=false", *quiet)
    textae("fit", "--config=lm_reviews", "--data=TextFolder", f"--data.init_args.data_dir={data}", *options)
    file = tmp_path / "imputed.json"
    run = tmp_path / "runs" / "lm_reviews"
    assert "log p(x)" in textae("impute", "--run", run, "great food and _ staff", "--output", file).out
    [record] = json.loads(file.read_text())
    assert record["imputed"] == "great food and great staff"  # which it knows by heart
    model = load_model(next(run.glob("*/checkpoints/best.ckpt")), torch.device("cpu")).eval()
    assert isinstance(model, LanguageModel)
    with torch.no_grad():
        nll = float(model.nll(text_batch(model.vocabulary, [record["imputed"]]))[0])
    assert record["log_probability"] == pytest.approx([-nll], abs=1e-4)


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("the soup was cold .",), ("sentence 1", "no missing word", "--last", "the soup was cold .")),
        (("the _", "never again"), ("sentence 2", "never again")),
        (("the _", ""), ("sentence 2", "empty")),
        (("zebras _ xylophone",), ("sentence 1", "no word that the model knows", "zebras _ xylophone")),
        (("--last=0.2", "zebras xylophone"), ("sentence 1", "no word that the model knows")),
        (("--last=0", "the soup"), ("--last", "0")),
        (("--last=1.5", "the soup"), ("--last", "1.5")),
        (("--last=nan", "the soup"), ("--last", "nan")),
        (("--beam=0", "the _"), ("--beam", "0")),
        (("--rounds=0", "the _"), ("--rounds", "0")),
        (("--rounds=two", "the _"), ("--rounds", "two")),
        (("--output=no/such/folder/x.json", "the _"), ("no/such/folder/x.json",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) and "_" in value[-1] else None,
)
def test_what_is_wrong_is_named(textae: Command, moved: Path, args: tuple[str, ...], named: tuple[str, ...]) -> None:
    error = textae("impute", f"--run={moved}", *args, fails=True).error
    for name in named:
        assert name in error
    assert len(error.strip().splitlines()) <= 2  # argparse adds where help is


@pytest.mark.parametrize(("text", "named"), [("the _\n\nnever _\n", "line 2, is empty"), ("", "standard input")])
def test_bad_lines_of_standard_input(
    textae: Command, moved: Path, monkeypatch: pytest.MonkeyPatch, text: str, named: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert named in textae("impute", f"--run={moved}", fails=True).error
