"""`textae encode`: the latents of a file of sentences, however long, from a checkpoint alone."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datamodules.errors import UsageError, require
from datamodules.sentences import each_line
from experiments.latent_files import LATENT_FILES, latent_file
from experiments.model_options import load_with_latent, model_parser, print_line
from lightning_modules.decoding.encoding import encode_stream


def run(args: list[str]) -> None:
    """Writes an array or a table with a row for each line."""
    options = _parser().parse_args(args)
    require(
        Path(options.output).suffix in LATENT_FILES,
        f"--output {options.output}: give a name that ends in {' or '.join(LATENT_FILES)}",
    )
    require(options.samples is None or options.samples > 0, f"--samples is {options.samples}: give 1 or more")
    model = load_with_latent(options)
    if options.samples is not None and not model.stochastic:
        raise UsageError(f"{type(model).__name__} has no posterior density to draw from: leave out --samples")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no part of a file is left
    written = 0
    with latent_file(options.output) as file, _progress() as progress:
        task = progress.add_task("sentences", total=_line_count(options.sentences))
        for some, latents in encode_stream(model, each_line(options.sentences), options.samples, options.seed):
            file.write(some, latents)
            written += len(some)
            progress.update(task, completed=written)
    shape = " x ".join(f"{size:,}" for size in (written, *latents.shape[1:]))
    print_line(f"{options.output}: {shape} {'means' if options.samples is None else 'samples'} of q(z|x), float32")


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("encode", "the latents of sentences, however many", prints=False)
    parser.add_argument("sentences", nargs="?", metavar="FILE", help="a sentence a line; standard input by default")
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help=".npy, an array that numpy.load(..., mmap_mode='r') reads in part; .parquet, with the sentences",
    )
    parser.add_argument("--samples", type=int, metavar="K", help="draws of the posterior, rather than its mean")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    return parser


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _line_count(file: str | None) -> int | None:
    """For the progress bar; none of what cannot be read twice or at all."""
    if file is None or not Path(file).is_file():
        return None
    with Path(file).open("rb") as lines:
        return sum(1 for _ in lines)
