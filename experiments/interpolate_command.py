"""`textae interpolate`: sentences on paths between two latents, from a checkpoint alone."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from datamodules.errors import require
from datamodules.sentences import read_lines
from experiments.decoding_options import add_decoding, decoding_of
from experiments.model_options import (
    load_with_latent,
    model_parser,
    print_line,
    print_table,
    require_known,
)
from experiments.runs import write_json
from lightning_modules import TextAutoencoder
from lightning_modules.decoding.encoding import encode_text
from lightning_modules.decoding.interpolation import interpolate, places
from lightning_modules.decoding.smoothness import Smoothness, mean_smoothness, smoothness
from lightning_modules.randomness import SentenceRandom

RANDOM = "a draw of the prior"
ENDS = "give two sentences, two files with --from FILE --to FILE, or --random COUNT"


def run(args: list[str]) -> None:
    """Prints a table for each path, with how smooth it is; writes them as JSON where that is asked for."""
    options = _parser().parse_args(args)
    decoding = decoding_of(options)
    names, files = _names(options)
    model = load_with_latent(options)
    first_BZ, last_BZ = _random(model, options) if options.random is not None else _sentences(model, names, files)
    lines = interpolate(model, first_BZ, last_BZ, options.steps, options.path, decoding, options.seed)
    paths = [_record(options, *ends) for ends in zip(names[0], names[1], lines, strict=True)]
    if options.output is not None:
        write_json(options.output, paths)
    for path, line in zip(paths, lines, strict=True):
        print_line(f"from: {path['from']}\nto:   {path['to']}")
        print_table([{"t": f"{point['t']:.2f}", "sentence": point["sentence"]} for point in path["sentences"]])
        print_line(_in_words(smoothness(line)))
    if len(paths) > 1:
        print_line(f"mean over {len(paths)} paths: {_in_words(mean_smoothness(lines))}")


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("interpolate", "sentences on paths between two latents")
    parser.add_argument("first", nargs="?", help="words separated by spaces")
    parser.add_argument("last", nargs="?", help="words separated by spaces")
    parser.add_argument("--from", dest="first_file", metavar="FILE", help="sentences, one a line, instead of first")
    parser.add_argument("--to", dest="last_file", metavar="FILE", help="as many sentences, instead of last")
    parser.add_argument("--random", type=int, metavar="COUNT", help="so many paths between draws of the prior instead")
    parser.add_argument("--path", choices=("linear", "spherical"), default="linear", help="(default: linear)")
    parser.add_argument("--steps", type=int, default=5, help="points on the path, both ends counted (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    add_decoding(parser)
    return parser


def _names(options: argparse.Namespace) -> tuple[list[list[str]], list[str]]:
    """The ends of the paths as they are shown, and where their sentences come from."""
    two = (options.first, options.last)
    files = (options.first_file, options.last_file)
    ways = [any(part is not None for part in way) for way in (two, files, (options.random,))]
    require(sum(ways) == 1, f"there is one way to say between what: {ENDS}")
    if options.random is not None:
        require(options.random > 0, f"--random is {options.random}: give 1 or more")
        return [[RANDOM] * options.random] * 2, []
    if ways[1]:
        require(None not in files, f"--from and --to go together: {ENDS}")
        names = [read_lines(file) for file in files]
        counts = [len(lines) for lines in names]
        require(counts[0] == counts[1], f"{files[0]} has {counts[0]} lines, {files[1]} has {counts[1]}: give as many")
        return names, [f"{file} line" for file in files]
    require(options.last is not None, f"there is a first sentence and no last: {ENDS}")
    return [[options.first], [options.last]], ["first sentence", "last sentence"]


def _sentences(model: TextAutoencoder, names: list[list[str]], where: list[str]) -> list[Tensor]:
    for sentences, place in zip(names, where, strict=True):
        require_known(model, sentences, place)
    return [encode_text(model, sentences).mean for sentences in names]


def _random(model: TextAutoencoder, options: argparse.Namespace) -> list[Tensor]:
    random = SentenceRandom(torch.arange(2 * options.random, device=model.device), options.seed, -1)
    with torch.inference_mode():
        z_BZ = model.prior_latents(random)
    return [z_BZ[::2], z_BZ[1::2]]


def _record(options: argparse.Namespace, first: str, last: str, line: list[str]) -> dict[str, Any]:
    points = [{"t": t, "sentence": sentence} for t, sentence in zip(places(options.steps), line, strict=True)]
    return {"from": first, "to": last, "path": options.path, **asdict(smoothness(line)), "sentences": points}


def _in_words(found: Smoothness) -> str:
    return (
        f"edit distance between neighbours: {found.distance:.2f} in the mean, {found.jump:.2f} at most; "
        f"{found.repeated:.0%} of the steps repeat the sentence"
    )
