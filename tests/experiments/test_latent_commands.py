"""`textae sample|reconstruct|interpolate`, from a run folder that has lost its data and its configuration."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
Rows = list[dict[str, str]]


@pytest.fixture
def moved(trained: Any, tmp_path: Path) -> Path:
    """The run's checkpoint in another folder, and nothing else."""
    run = tmp_path / "elsewhere" / "memory"
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(trained.run / "checkpoints" / "best.ckpt", run / "checkpoints" / "best.ckpt")
    return run


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
    assert rows("reconstruct", *sentences) == [
        {"sentence": sentence, "reconstruction": sentence} for sentence in sentences
    ]


def test_sentences_from_standard_input(
    rows: Callable[..., Rows], sentences: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{sentences[0]}\n\n   \n  {sentences[3]}  \n"))
    assert [row["reconstruction"] for row in rows("reconstruct")] == [sentences[0], sentences[3]]


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


@pytest.mark.parametrize("sentence", ["zebras xylophone", "", "<pad> <eos>"])
def test_sentences_without_a_known_word(rows: Callable[..., Rows], sentence: str) -> None:
    [row] = rows("reconstruct", sentence)
    assert row["sentence"] == sentence


def test_an_unknown_word_is_read_as_unknown(rows: Callable[..., Rows], sentences: tuple[str, ...]) -> None:
    unknown = [row["reconstruction"] for row in rows("reconstruct", "the zebra was cold .", "the <unk> was cold .")]
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


def test_interpolation_ends_in_the_reconstructions(rows: Callable[..., Rows], sentences: tuple[str, ...]) -> None:
    line = rows("interpolate", "--steps=7", sentences[0], sentences[5])
    assert [row["t"] for row in line] == ["0.00", "0.17", "0.33", "0.50", "0.67", "0.83", "1.00"]
    assert line[0]["sentence"] == sentences[0]
    assert line[-1]["sentence"] == sentences[5]


def test_interpolation_between_a_sentence_and_itself_stays(
    rows: Callable[..., Rows], sentences: tuple[str, ...]
) -> None:
    line = rows("interpolate", sentences[2], sentences[2])
    assert [row["sentence"] for row in line] == [sentences[2]] * 5


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
        (("interpolate", "--run=RUN", "--steps=1", "a", "b"), ("steps", "1")),
        (("interpolate", "--run=RUN", "one end only"), ("last",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) and len(value) > 1 else None,
)
def test_what_is_wrong_is_named(textae: Command, moved: Path, args: tuple[str, ...], named: tuple[str, ...]) -> None:
    error = textae(*(arg.replace("RUN", str(moved)) for arg in args), fails=True).error
    for name in named:
        assert name in error


def test_nothing_to_reconstruct(textae: Command, moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n \n"))
    assert "standard input" in textae("reconstruct", f"--run={moved}", fails=True).error


def test_of_a_language_model_there_are_samples_but_nothing_that_needs_a_latent(
    textae: Command, quiet: tuple[str, ...], write_corpus: Command, sentences: tuple[str, ...], tmp_path: Path
) -> None:
    data = write_corpus(tmp_path / "data", sentences)
    options = ("--trainer.max_epochs=60", "--trainer.check_val_every_n_epoch=60", "--trainer.logger=false", *quiet)
    textae("fit", "--config=lm_reviews", "--data=TextFolder", f"--data.init_args.data_dir={data}", *options)
    run = f"--run={tmp_path / 'runs' / 'lm_reviews'}"
    assert textae("sample", run, "--count=3", "--temperature=1").out
    for command in (("reconstruct", run, "the soup was cold ."), ("interpolate", run, "a", "b")):
        error = textae(*command, fails=True).error
        assert "LanguageModel" in error and "latent" in error and len(error.strip().splitlines()) == 1
    textae("predict", run)
    [file] = (tmp_path / "runs" / "lm_reviews").glob("*/samples/predictions.txt")
    nll = [float(line) for line in file.read_text().splitlines()]
    measured = json.loads((file.parents[1] / "test_metrics.json").read_text())["metrics"]
    assert len(nll) == len(sentences)
    assert sum(nll) / len(nll) == pytest.approx(measured["test/nll"]["value"], abs=1e-3)
    assert set(measured) >= {"test/nll", "test/perplexity"} and "test/reconstruction" not in measured
