"""`textae sample|reconstruct|interpolate`: what a trained model does, from its checkpoint alone."""

from __future__ import annotations

import argparse
import sys

import torch
from rich.console import Console
from rich.table import Table

from datamodules.errors import UsageError, require
from experiments.runs import find_checkpoint, write_json
from lightning_modules import TextAutoencoder, TextModel
from lightning_modules.checkpoint import load_model
from lightning_modules.decoding.interpolation import interpolate
from lightning_modules.decoding.search import greedy, reconstruct, sample
from lightning_modules.decoding.text import text_batch, to_text
from lightning_modules.randomness import SentenceRandom

Rows = list[dict[str, str]]
CHUNK = 512


def run(command: str, args: list[str]) -> None:
    """Parses the arguments, loads the model, prints a table and writes JSON where that is asked for."""
    options = _parser(command).parse_args(args)
    model = load_model(find_checkpoint(options.run, options.checkpoint), _device(options.device))
    if command == "sample":
        rows = _sample(model, options)
    else:
        if not isinstance(model, TextAutoencoder):
            raise UsageError(f"textae {command} needs a latent, and a {type(model).__name__} has none")
        rows = _reconstruct(model, options) if command == "reconstruct" else _interpolate(model, options)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)
    if options.output is not None:
        write_json(options.output, rows)


def _device(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name} is not to be had: {str(error).splitlines()[0]}") from error


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"textae {command}", exit_on_error=False)
    parser.add_argument("--run", help="run folder, or an experiment's (runs/daae_reviews): its newest run")
    parser.add_argument("--checkpoint", help="checkpoint file, instead of --run")
    parser.add_argument("--device", default="cpu", help="where it runs (default: cpu)")
    parser.add_argument("--output", metavar="FILE", help="write the rows as JSON, too")
    if command == "sample":
        parser.add_argument("--count", type=int, default=10, help="sentences (default: 10)")
        parser.add_argument("--temperature", type=float, default=0.0, help="0 decodes greedily (default), 1 samples")
        parser.add_argument("--scale", type=float, default=1.0, help="factor on z ~ N(0, I) (default: 1)")
        parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    elif command == "reconstruct":
        parser.add_argument(
            "sentences", nargs="*", help="words separated by spaces; standard input where none is given"
        )
    else:
        parser.add_argument("first", help="words separated by spaces")
        parser.add_argument("last", help="words separated by spaces")
        parser.add_argument("--steps", type=int, default=5, help="points on the line, both ends counted (default: 5)")
    return parser


def _sample(model: TextModel, options: argparse.Namespace) -> Rows:
    require(options.count > 0, f"--count is {options.count}: give 1 or more")
    rows: Rows = []
    for start in range(0, options.count, CHUNK):
        index = torch.arange(start, min(start + CHUNK, options.count), device=model.device)
        random = SentenceRandom(index, options.seed, -1)
        z_BZ = options.scale * model.prior_latents(random)
        ids = greedy(model, z_BZ) if options.temperature == 0 else sample(model, z_BZ, random, options.temperature)
        rows += [{"sample": sentence} for sentence in to_text(model, ids)]
    return rows


def _reconstruct(model: TextAutoencoder, options: argparse.Namespace) -> Rows:
    sentences = options.sentences or [line.strip() for line in sys.stdin if line.strip()]
    if not sentences:
        raise UsageError("give sentences as arguments, or one a line on standard input")
    rows: Rows = []
    for start in range(0, len(sentences), CHUNK):
        chunk = sentences[start : start + CHUNK]
        decoded = to_text(model, reconstruct(model, text_batch(model.vocabulary, chunk).to(model.device)))
        rows += [{"sentence": true, "reconstruction": mine} for true, mine in zip(chunk, decoded, strict=True)]
    return rows


def _interpolate(model: TextAutoencoder, options: argparse.Namespace) -> Rows:
    ends = [text_batch(model.vocabulary, [end]).to(model.device) for end in (options.first, options.last)]
    [line] = interpolate(model, ends[0], ends[1], options.steps)
    places = torch.linspace(0, 1, options.steps).tolist()
    return [{"t": f"{place:.2f}", "sentence": sentence} for place, sentence in zip(places, line, strict=True)]
