"""`textae encode`: a row for each line, in either kind of file."""

from __future__ import annotations

import io
import signal as signals
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from experiments import encode_command
from experiments.latent_files import latent_file
from lightning_modules.checkpoint import load_model
from lightning_modules.decoding import encoding
from lightning_modules.decoding.text import text_batch

Command = Callable[..., Any]


@pytest.fixture
def lines(sentences: tuple[str, ...], tmp_path: Path) -> Path:
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(sentences) + "\n")
    return file


def test_means_are_the_models_own(
    textae: Command, moved: Path, lines: Path, sentences: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "WINDOW", 3)  # so the file grows twice
    output = lines.with_suffix(".npy")
    printed = textae("encode", "--run", moved, lines, "--output", output).out
    latents = np.load(output, mmap_mode="r")
    model: Any = load_model(moved / "checkpoints" / "best.ckpt").eval()
    assert latents.shape == (8, 8) and "8 x 8 means of q(z|x)" in printed
    for row, sentence in zip(latents, sentences, strict=True):
        alone = model.encode(text_batch(model.vocabulary, [sentence])).mean[0]
        torch.testing.assert_close(torch.from_numpy(row.copy()), alone.detach(), rtol=1e-4, atol=1e-5)
    assert not list(lines.parent.glob("*.partial"))


def test_a_table_has_the_sentences_beside_the_same_latents(
    textae: Command, moved: Path, lines: Path, sentences: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "WINDOW", 5)
    for suffix in (".npy", ".parquet"):
        textae("encode", "--run", moved, lines, "--output", lines.with_suffix(suffix))
    table = pq.read_table(lines.with_suffix(".parquet"))
    assert table["sentence"].to_pylist() == list(sentences)
    latents = np.load(lines.with_suffix(".npy"))
    np.testing.assert_array_equal(np.array(table["latent"].to_pylist(), dtype=np.float32), latents)


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_files_of_samples(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(count, 2, 3)).astype(np.float32) for count in (4, 1, 100_000)]
    name = str(tmp_path / f"z{suffix}")
    with latent_file(name) as file:
        for part in parts:
            file.write([f"s{row}" for row in range(len(part))], part)
            assert not Path(name).exists()
    whole = np.concatenate(parts)
    if suffix == ".npy":
        np.testing.assert_array_equal(np.load(name), whole)
    else:
        column = pq.read_table(name)["latent"].combine_chunks()
        np.testing.assert_array_equal(column.flatten().flatten().to_numpy().reshape(whole.shape), whole)


def test_lines_from_standard_input(
    textae: Command, moved: Path, lines: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A mark of the byte order and carriage returns, as a file may have them.
    text = b"\xef\xbb\xbf" + lines.read_bytes().replace(b"\n", b"\r\n")
    lines.write_bytes(text)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text), encoding="ascii", errors="surrogateescape"))
    textae("encode", "--run", moved, "--output", tmp_path / "piped.npy")
    textae("encode", "--run", moved, lines, "--output", tmp_path / "read.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "piped.npy"), np.load(tmp_path / "read.npy"))


def test_what_is_no_text_is_refused_from_standard_input_too(
    textae: Command, moved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piped = io.TextIOWrapper(io.BytesIO(b"the soup\ncaf\xe9\n"), encoding="ascii", errors="surrogateescape")
    monkeypatch.setattr("sys.stdin", piped)
    outcome = textae("encode", "--run", moved, "--output=z.npy", fails=True)
    assert "standard input is not UTF-8 text" in outcome.error and "in line 2" in outcome.error


def test_samples_and_their_seed(
    textae: Command, moved: Path, lines: Path, sentences: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = load_model(moved / "checkpoints" / "best.ckpt")
    model.stochastic = True  # its heads have a variance, which it does not use
    monkeypatch.setattr(encode_command, "load_with_latent", lambda options: model)
    output = lines.with_suffix(".npy")
    printed = textae("encode", "--run", moved, lines, "--output", output, "--samples=3", "--seed=5").out
    [(_, expected)] = list(encoding.encode_stream(model, sentences, samples=3, seed=5))
    np.testing.assert_array_equal(np.load(output), expected)
    assert "8 x 3 x 8 samples of q(z|x)" in printed and len(np.unique(expected)) == expected.size


@pytest.mark.parametrize("signal", ["TERM", "INT"])
def test_no_part_is_left_of_what_was_interrupted(moved: Path, tmp_path: Path, signal: str) -> None:
    (tmp_path / "z.npy").write_text("of before")
    command = [sys.executable, "-m", "experiments.cli", "encode", "--run", str(moved), "--output", "z.npy"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signals.signal(signals.SIGINT, signals.SIG_DFL),  # tests in the background ignore it
    ) as process:
        end = time.monotonic() + 100
        while not list(tmp_path.glob("z.npy.*partial")) and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(getattr(signals, f"SIG{signal}"))
        assert process.wait(60) != 0
    assert [file.name for file in tmp_path.glob("z*")] == ["z.npy"] and (tmp_path / "z.npy").read_text() == "of before"


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("one\n\nthree\n", ["--output=z.npy"], "line 2, is empty"),
        ("", ["--output=z.npy"], "is empty: give a sentence a line"),
        (b"the soup\ncaf\xe9\n", ["--output=z.npy"], " in line 2): convert it"),
        ("the soup\n", ["--output=z.txt"], "give a name that ends in .npy or .parquet"),
        (
            "the soup\n",
            ["--output=nowhere/z.npy"],
            "--output nowhere/z.npy cannot be written: it is a folder, or its folder does not exist",
        ),
        ("the soup\n", ["--output=z.npy", "--samples=0"], "--samples is 0: give 1 or more"),
        ("the soup\n", ["--output=z.npy", "--samples=2"], "Autoencoder has no posterior density to draw from"),
        ("the soup\n", ["--output=folder.npy"], "--output folder.npy cannot be written: it is a folder"),
        ("the soup\n", [], "required: --output"),
    ],
)
def test_bad_input_is_one_line(
    textae: Command,
    moved: Path,
    tmp_path: Path,
    text: str | bytes,
    options: list[str],
    said: str,
) -> None:
    (tmp_path / "folder.npy").mkdir()
    Path("lines.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    outcome = textae("encode", "--run", moved, "lines.txt", *options, fails=True)
    assert said in outcome.error and not list(tmp_path.glob("z*"))
