"""`textae encode`: a row for each line, in either kind of file."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

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
    monkeypatch.setattr("sys.stdin", io.StringIO(lines.read_text()))
    textae("encode", "--run", moved, "--output", tmp_path / "piped.npy")
    textae("encode", "--run", moved, lines, "--output", tmp_path / "read.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "piped.npy"), np.load(tmp_path / "read.npy"))


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("one\n\nthree\n", ["--output=z.npy"], "line 2, is empty"),
        ("", ["--output=z.npy"], "is empty: give a sentence a line"),
        (b"the soup\ncaf\xe9\n", ["--output=z.npy"], " in line 2): convert it"),
        ("the soup\n", ["--output=z.txt"], "give a name that ends in .npy or .parquet"),
        ("the soup\n", ["--output=nowhere/z.npy"], "--output nowhere/z.npy cannot be written: No such file"),
        ("the soup\n", ["--output=z.npy", "--samples=0"], "--samples is 0: give 1 or more"),
        ("the soup\n", ["--output=z.npy", "--samples=2"], "Autoencoder has no posterior density to draw from"),
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
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lines.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    outcome = textae("encode", "--run", moved, "lines.txt", *options, fails=True)
    assert said in outcome.error and not list(tmp_path.glob("z*"))
