"""`textae reconstruct`: sentences through a trained model's latent and back, from its checkpoint alone."""

from __future__ import annotations

import argparse

import torch

from datamodules.sentences import read_lines
from experiments.decoding_options import add_decoding, decoding_of
from experiments.model_options import (
    in_rows,
    load_with_latent,
    model_parser,
    print_table,
    require_known,
)
from experiments.runs import write_json
from lightning_modules import TextAutoencoder
from lightning_modules.decoding.encoding import encode_text
from lightning_modules.decoding.reconstruction import reconstructions


def run(args: list[str]) -> None:
    """Prints each sentence and what becomes of it, and writes them as JSON where that is asked for."""
    parser = model_parser("reconstruct", "sentences through the latent and back")
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
    options = parser.parse_args(args)
    decoding_of(options)  # what contradicts itself is refused before a model is read
    rows = _rows(load_with_latent(options), options)
    print_table(rows)
    if options.output is not None:
        write_json(options.output, rows)


def _rows(model: TextAutoencoder, options: argparse.Namespace) -> list[dict[str, str]]:
    sentences = options.sentences or read_lines(None)
    require_known(model, sentences, "sentence" if options.sentences else "line")
    index_B = torch.arange(len(sentences), device=model.device)
    posterior = encode_text(model, sentences)
    ways = reconstructions(
        model, posterior, index_B, options.samples, options.perturb, decoding_of(options), options.seed
    )
    return in_rows({"sentence": sentences} | ways)
