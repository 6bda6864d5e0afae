"""`textae sample|reconstruct`: what a trained model writes, from its checkpoint alone."""

from __future__ import annotations

import argparse

import torch

from datamodules.errors import require
from experiments.decoding_options import add_decoding, decoding_of
from experiments.model_options import (
    in_rows,
    load,
    load_with_latent,
    model_parser,
    print_table,
    read_sentences,
    require_known,
)
from experiments.runs import write_json
from lightning_modules import TextAutoencoder, TextModel
from lightning_modules.decoding.decode import decode, encode_text
from lightning_modules.decoding.prior import stretched
from lightning_modules.decoding.reconstruction import reconstructions
from lightning_modules.randomness import SentenceRandom

Rows = list[dict[str, str]]


def run(command: str, args: list[str]) -> None:
    """Parses the arguments, loads the model, prints a table and writes JSON where that is asked for."""
    options = _parser(command).parse_args(args)
    decoding_of(options)  # what contradicts itself is refused before a model is read
    if command == "sample":
        rows = _sample(load(options), options)
    else:
        rows = _reconstruct(load_with_latent(options), options)
    print_table(rows)
    if options.output is not None:
        write_json(options.output, rows)


def _parser(command: str) -> argparse.ArgumentParser:
    if command == "sample":
        parser = model_parser(command, "sentences from the prior")
        parser.add_argument("--count", type=int, default=10, help="sentences (default: 10)")
        parser.add_argument("--scale", type=float, default=1.0, help="factor on z ~ N(0, I) (default: 1)")
        parser.add_argument(
            "--stretch",
            type=float,
            metavar="FACTOR",
            help="improbable regions: a random linear map that stretches z up to this much (Bowman et al. 2016: 4)",
        )
    else:
        parser = model_parser(command, "sentences through the latent and back")
        parser.add_argument(
            "sentences", nargs="*", help="words separated by spaces; standard input, one a line, where none is given"
        )
        parser.add_argument("--samples", type=int, default=0, help="also from so many draws of the posterior")
        parser.add_argument(
            "--perturb",
            type=float,
            metavar="SIGMAS",
            help="also from a draw of so many times the posterior's standard deviation (Livne et al. 2020: 10)",
        )
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    add_decoding(parser)
    return parser


def _sample(model: TextModel, options: argparse.Namespace) -> Rows:
    require(options.count > 0, f"--count is {options.count}: give 1 or more")
    random = SentenceRandom(torch.arange(options.count, device=model.device), options.seed, -1)
    z_BZ = options.scale * model.prior_latents(random)
    if options.stretch is not None:
        has_latent = isinstance(model, TextAutoencoder)
        require(has_latent, f"--stretch needs a latent, and a {type(model).__name__} has none")
        z_BZ = stretched(z_BZ, options.stretch, options.seed)
    return [{"sample": sentence} for sentence in decode(model, z_BZ, decoding_of(options), random)]


def _reconstruct(model: TextAutoencoder, options: argparse.Namespace) -> Rows:
    sentences = options.sentences or read_sentences(None)
    require_known(model, sentences, "sentence" if options.sentences else "line")
    index_B = torch.arange(len(sentences), device=model.device)
    posterior = encode_text(model, sentences)
    ways = reconstructions(
        model, posterior, index_B, options.samples, options.perturb, decoding_of(options), options.seed
    )
    return in_rows({"sentence": sentences} | ways)
