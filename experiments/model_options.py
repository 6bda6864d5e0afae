"""What the commands have in common that use a trained model: its options, its sentences, and what is printed."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Column, Table

from datamodules.errors import UsageError, require
from datamodules.vocabulary import UNK
from experiments.runs import find_checkpoint
from experiments.tensor_float32 import allow_tf32
from lightning_modules import TextAutoencoder, TextModel
from lightning_modules.checkpoint import load_model


def model_parser(command: str, outline: str, prints: bool = True) -> argparse.ArgumentParser:
    """A parser with the options that say which model is used, where it runs and what is written.

    Args:
        command: Its name.
        outline: What it does, in a line.
        prints: Whether what it finds is printed, and can be written as JSON.
    """
    parser = argparse.ArgumentParser(prog=f"textae {command}", description=outline, exit_on_error=False)
    parser.add_argument("--run", help="run folder, or an experiment's (runs/daae_reviews): its newest run")
    parser.add_argument("--checkpoint", help="checkpoint file, instead of --run")
    parser.add_argument("--device", default="cpu", help="where it runs (default: cpu)")
    if prints:
        parser.add_argument("--output", metavar="FILE", help="write what is printed as JSON, too")
    return parser


def load(options: argparse.Namespace) -> TextModel:
    """The model of `--run` or `--checkpoint`, on `--device`.

    Raises:
        UsageError: There is no such model or device, or no place for `--output`.
    """
    output = getattr(options, "output", None)
    writable = output is None or (Path(output).absolute().parent.is_dir() and not Path(output).is_dir())
    require(writable, f"--output {output} cannot be written: it is a folder, or its folder does not exist")
    device = _device(options.device)
    allow_tf32(device, False)  # as in a test
    return load_model(find_checkpoint(options.run, options.checkpoint), device)


def load_with_latent(options: argparse.Namespace) -> TextAutoencoder:
    """The same, if it has a latent.

    Raises:
        UsageError: It has none.
    """
    model = load(options)
    if not isinstance(model, TextAutoencoder):
        raise UsageError(f"this needs a latent, and a {type(model).__name__} has none")
    return model


def require_known(model: TextModel, sentences: Sequence[str], where: str = "sentence") -> None:
    """Checks that every sentence says something to the model.

    Args:
        model: Whose words are known.
        sentences: Whitespace-tokenised.
        where: They come from, for the message: a sentence's number follows.

    Raises:
        UsageError: A sentence is empty, or all its words are unknown.
    """
    for number, encoding in enumerate(model.vocabulary.encode_batch_fast(list(sentences)), start=1):
        require(len(encoding.ids) > 0, f"{where} {number} is empty: give words separated by spaces")
        unknown = set(encoding.ids) == {UNK}
        require(not unknown, f"{where} {number} has no word that the model knows: {sentences[number - 1]}")


def print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """Prints rows that have the same columns."""
    table = Table(*(Column(name, overflow="fold") for name in rows[0]))  # rather than cut off
    for row in rows:
        table.add_row(*row.values())
    Console(markup=False).print(table)  # a word such as [b] is a word


def print_line(text: str) -> None:
    """Prints what is to be read beside a table."""
    Console(markup=False, highlight=False).print(text, soft_wrap=True)


def in_rows(columns: Mapping[str, Iterable[str]]) -> list[dict[str, str]]:
    """Rows of columns of the same length."""
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _device(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name} is not to be had: {str(error).splitlines()[0]}") from error
