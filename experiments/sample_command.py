"""`textae sample`: sentences from a trained model's prior, from its checkpoint alone."""

from __future__ import annotations

import argparse
import math

import torch

from datamodules.errors import require
from experiments.decoding_options import add_decoding, decoding_of
from experiments.model_options import load, model_parser, print_table
from experiments.runs import write_json
from lightning_modules import TextAutoencoder, TextModel
from lightning_modules.decoding.decode import decode
from lightning_modules.decoding.prior import stretched
from lightning_modules.randomness import SentenceRandom


def run(args: list[str]) -> None:
    """Prints the sentences, and writes them as JSON where that is asked for."""
    parser = model_parser("sample", "sentences from the prior")
    parser.add_argument("--count", type=int, default=10, help="sentences (default: 10)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the prior's z (default: 1)")
    parser.add_argument(
        "--stretch",
        type=float,
        metavar="FACTOR",
        help="improbable regions: a random linear map that stretches z up to this much (Bowman et al. 2016: 4)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    add_decoding(parser)
    options = parser.parse_args(args)
    decoding_of(options)  # what contradicts itself is refused before a model is read
    rows = [{"sample": sentence} for sentence in _sentences(load(options), options)]
    print_table(rows)
    if options.output is not None:
        write_json(options.output, rows)


def _sentences(model: TextModel, options: argparse.Namespace) -> list[str]:
    require(math.isfinite(options.scale), f"--scale is {options.scale}: give a number")
    require(options.count > 0, f"--count is {options.count}: give 1 or more")
    random = SentenceRandom(torch.arange(options.count, device=model.device), options.seed, -1)
    z_BZ = options.scale * model.prior_latents(random)
    if options.stretch is not None:
        has_latent = isinstance(model, TextAutoencoder)
        require(has_latent, f"--stretch needs a latent, and a {type(model).__name__} has none")
        z_BZ = stretched(z_BZ, options.stretch, options.seed)
    return decode(model, z_BZ, decoding_of(options), random)
