"""`textae sample|reconstruct`, from a run folder that has lost its data and its configuration."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.vocabulary import UNK
from lightning_modules.checkpoint import load_model
from lightning_modules.decoding import prior
from lightning_modules.decoding.beam import beam_search
from lightning_modules.decoding.search import greedy, sample
from lightning_modules.decoding.text import to_text
from lightning_modules.randomness import SentenceRandom

Command = Callable[..., Any]
Rows = list[dict[str, str]]


@pytest.fixture
def rows(textae: Command, moved: Path, tmp_path: Path) -> Callable[..., Rows]:
    """What a command writes as JSON, once it is known to be what it prints as a table."""

    def run(command: str, *args: str) -> Rows:
        file = tmp_path / "rows.json"
        printed = textae(command, "--run", moved, "--output", file, *args).out
        written: Rows = json.loads(file.read_text(encoding="utf-8"))
        table = [
            [cell.strip() for cell in line.strip().strip("│┃").replace("┃", "│").split("│")]
            for line in printed.splitlines()
            if line.strip().startswith(("│", "┃"))
        ]
        assert table[0] == list(written[0])
        assert table[1:] == [list(row.values()) for row in written]
        return written

    return run


def test_reconstructions_of_what_it_knows_by_heart(rows: Callable[..., Rows], sentences: tuple[str, ...]) -> None:
    assert rows("reconstruct", *sentences) == [{"sentence": sentence, "mean": sentence} for sentence in sentences]


def test_sentences_from_standard_input(
    rows: Callable[..., Rows], sentences: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{sentences[0]}\n  {sentences[3]}  \n"))
    assert [row["mean"] for row in rows("reconstruct")] == [sentences[0], sentences[3]]


def test_a_checkpoint_file_does_as_well_as_its_run(
    textae: Command, moved: Path, rows: Callable[..., Rows], tmp_path: Path
) -> None:
    file = tmp_path / "model.ckpt"
    shutil.copy(moved / "checkpoints" / "best.ckpt", file)
    textae("sample", f"--checkpoint={file}", "--count=3", f"--output={tmp_path / 'mine.json'}")
    assert json.loads((tmp_path / "mine.json").read_text()) == rows("sample", "--count=3")


def test_the_folder_of_an_experiment_stands_for_its_newest_run(
    textae: Command, moved: Path, sentences: tuple[str, ...]
) -> None:
    assert sentences[0] in textae("reconstruct", f"--run={moved.parent}", sentences[0]).out


@pytest.mark.parametrize("sentence", ["zebras xylophone", "", " ", "<pad> <eos>"])
def test_a_sentence_without_a_known_word_is_refused(
    textae: Command, moved: Path, sentences: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "no word that the model knows" if sentence.strip() else "is empty"
    error = textae("reconstruct", f"--run={moved}", sentences[0], sentence, fails=True).error
    assert "sentence 2" in error and said in error and len(error.strip().splitlines()) == 1
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{sentences[0]}\n{sentence}\n{sentences[1]}\n"))
    error = textae("reconstruct", f"--run={moved}", fails=True).error
    assert "line 2" in error and said in error


def test_an_unknown_word_is_read_as_unknown(rows: Callable[..., Rows], sentences: tuple[str, ...]) -> None:
    unknown = [row["mean"] for row in rows("reconstruct", "the zebra was cold .", "the <unk> was cold .")]
    assert unknown[0] == unknown[1]
    assert "zebra" not in unknown[0]


@pytest.mark.parametrize("count", [1, 7, 600])  # 600: more than is decoded at once
def test_as_many_samples_as_asked_for(rows: Callable[..., Rows], count: int) -> None:
    assert len(rows("sample", f"--count={count}")) == count


def test_ten_samples_where_nothing_is_asked_for(rows: Callable[..., Rows]) -> None:
    assert len(rows("sample")) == 10


def test_samples_are_a_function_of_the_seed(rows: Callable[..., Rows]) -> None:
    drawn = {seed: rows("sample", "--count=40", f"--seed={seed}", "--temperature=1") for seed in (1, 2)}
    assert drawn[1] == rows("sample", "--count=40", "--seed=1", "--temperature=1")
    assert drawn[1] != drawn[2]
    # Sentence n is the same in any sample that is large enough to hold it.
    assert drawn[1][:5] == rows("sample", "--count=5", "--seed=1", "--temperature=1")


def test_temperature(rows: Callable[..., Rows]) -> None:
    greedy, cold, warm, hot = (
        [row["sample"] for row in rows("sample", "--count=40", f"--temperature={temperature}")]
        for temperature in (0, 1e-4, 1, 50)
    )
    assert cold == greedy
    assert warm != greedy
    # The hotter, the nearer to words drawn alike, of which there are about twenty.
    assert len({word for sentence in hot for word in sentence.split()}) > len(
        {word for sentence in greedy for word in sentence.split()}
    )


def test_scale_zero_decodes_the_origin(rows: Callable[..., Rows]) -> None:
    assert len({row["sample"] for row in rows("sample", "--scale=0", "--count=20")}) == 1
    assert len({row["sample"] for row in rows("sample", "--scale=3", "--count=20")}) > 1


def by_hand(moved: Path, latents: Tensor, **options: Any) -> list[str]:
    """Greedy sentences of latents, one at a time."""
    model = load_model(moved / "checkpoints" / "best.ckpt")
    return [to_text(model, greedy(model, z[None], **options))[0] for z in latents]


def test_a_stretched_sample_is_farther_out_and_a_function_of_the_seed(rows: Callable[..., Rows], moved: Path) -> None:
    z = SentenceRandom(torch.arange(30), 5, -1).normal("prior samples", 8)
    stretched = rows("sample", "--count=30", "--seed=5", "--stretch=4")
    assert [row["sample"] for row in stretched] == by_hand(moved, prior.stretched(z, 4.0, 5))
    assert stretched != rows("sample", "--count=30", "--seed=5")
    assert stretched[:7] == rows("sample", "--count=7", "--seed=5", "--stretch=4")


def test_decoding_options_reach_the_decoder(rows: Callable[..., Rows], moved: Path) -> None:
    model, random = load_model(moved / "checkpoints" / "best.ckpt"), SentenceRandom(torch.arange(40), 0, -1)
    z = random.normal("prior samples", 8)

    def written(*args: str) -> list[str]:
        return [row["sample"] for row in rows("sample", "--count=40", *args)]

    for options, truth in {
        ("--beam=3", "--length-penalty=1.5"): beam_search(model, z, 3, 1.5).words[:, 0],
        ("--beam=2", "--max-words=2"): beam_search(model, z, 2, max_words=2).words[:, 0],
        ("--top-k=2",): sample(model, z, random, top_k=2),
        ("--temperature=3", "--top-p=0.7"): sample(model, z, random, 3.0, top_p=0.7),
        ("--max-words=2",): greedy(model, z, 2),
    }.items():
        assert written(*options) == to_text(model, truth), options
    assert len({tuple(written(*args)) for args in ((), ("--top-k=2",), ("--top-k=3",), ("--max-words=2",))}) == 4


def test_no_unknown_word_is_written(textae: Command, moved: Path, tmp_path: Path) -> None:
    file = moved / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["state_dict"]["backbone.decoder.output.bias"][UNK] += 100
    torch.save(checkpoint, file)
    for way in ((), ("--beam=2",), ("--temperature=1",)):
        for options, unknown in ((way, True), ((*way, "--no-unknown"), False)):
            textae("sample", f"--run={moved}", "--count=5", f"--output={tmp_path / 'x.json'}", *options)
            assert ("<unk>" in (tmp_path / "x.json").read_text()) == unknown


def test_samples_and_perturbations_need_a_posterior_density(textae: Command, moved: Path) -> None:
    for option in ("--samples=2", "--perturb=10"):
        error = textae("reconstruct", f"--run={moved}", option, "never again", fails=True).error
        assert "Autoencoder has no posterior density" in error


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("sample",), ("--run", "--checkpoint")),
        (("sample", "--run=a", "--checkpoint=b"), ("--run", "--checkpoint")),
        (("sample", "--run=no/such/run"), ("no/such/run",)),
        (("sample", "--checkpoint=no.ckpt"), ("no.ckpt",)),
        (("sample", "--run=RUN", "--count=0"), ("--count", "0")),
        (("sample", "--run=RUN", "--count=-3"), ("--count", "-3")),
        (("sample", "--run=RUN", "--count=ten"), ("--count", "ten")),
        (("sample", "--run=RUN", "--temperature=-1"), ("temperature", "-1")),
        (("sample", "--run=RUN", "--temperature=nan"), ("temperature", "nan")),
        (("sample", "--run=RUN", "--scale=wide"), ("--scale", "wide")),
        (("sample", "--run=RUN", "--device=toaster"), ("device", "toaster")),
        (("sample", "--run=RUN", "--colour=red"), ("--colour",)),
        (("sample", "--run=RUN", "--output=no/such/folder/x.json"), ("no/such/folder/x.json",)),
        (("sample", "--run=RUN", "--stretch=0"), ("stretch", "0")),
        (("sample", "--run=RUN", "--beam=0"), ("beam", "0")),
        (("sample", "--run=RUN", "--beam=2", "--temperature=1"), ("beam", "temperature")),
        (("sample", "--run=RUN", "--beam=2", "--top-k=5"), ("beam", "top_k")),
        (("sample", "--run=RUN", "--temperature=0", "--top-p=0.5"), ("temperature 0", "top_p")),
        (("sample", "--run=RUN", "--length-penalty=1"), ("length_penalty", "beam")),
        (("sample", "--run=RUN", "--top-k=0"), ("top_k", "0")),
        (("sample", "--run=RUN", "--top-p=1.5"), ("top_p", "1.5")),
        (("sample", "--run=RUN", "--max-words=0"), ("max_words", "0")),
        (("reconstruct", "--run=RUN", "--samples=-1", "never again"), ("samples", "-1")),
        (("reconstruct", "--run=RUN", "--perturb=0", "never again"), ("perturb", "0")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) and len(value) > 1 else None,
)
def test_what_is_wrong_is_named(textae: Command, moved: Path, args: tuple[str, ...], named: tuple[str, ...]) -> None:
    error = textae(*(arg.replace("RUN", str(moved)) for arg in args), fails=True).error
    for name in named:
        assert name in error


def test_nothing_to_reconstruct(textae: Command, moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "standard input" in textae("reconstruct", f"--run={moved}", fails=True).error


def test_of_a_language_model_there_are_samples_but_nothing_that_needs_a_latent(
    textae: Command, quiet: tuple[str, ...], write_corpus: Command, sentences: tuple[str, ...], tmp_path: Path
) -> None:
    data = write_corpus(tmp_path / "data", sentences)
    options = ("--trainer.max_epochs=60", "--trainer.check_val_every_n_epoch=60", "--trainer.logger=false", *quiet)
    textae("fit", "--config=lm_reviews", "--data=TextFolder", f"--data.init_args.data_dir={data}", *options)
    [folder] = (tmp_path / "runs" / "lm_reviews").iterdir()
    run = f"--run={folder}"
    assert textae("sample", run, "--count=3", "--temperature=1").out
    sentence = "the soup was cold ."
    commands = [("reconstruct", run, sentence), ("interpolate", run, sentence, sentence), ("traverse", run, sentence)]
    for command in [*commands, ("sample", run, "--stretch=4")]:
        error = textae(*command, fails=True).error
        assert "LanguageModel" in error and "latent" in error and len(error.strip().splitlines()) == 1
    textae("predict", run)
    [file] = (tmp_path / "runs" / "lm_reviews").glob("*/samples/predictions.txt")
    nll = [float(line) for line in file.read_text().splitlines()]
    measured = json.loads((file.parents[1] / "test_metrics.json").read_text())["metrics"]
    assert len(nll) == len(sentences)
    assert sum(nll) / len(nll) == pytest.approx(measured["test/nll"]["value"], abs=1e-3)
    assert set(measured) >= {"test/nll", "test/perplexity"} and "test/reconstruction" not in measured
