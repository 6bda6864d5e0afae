"""`textae traverse`: what single latent dimensions say, from a checkpoint alone."""

from __future__ import annotations

import argparse
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
from lightning_modules.decoding.traversal import traversal_offsets, traverse


def run(args: list[str]) -> None:
    """Prints a table of sentences for each of some dimensions, those of the largest KL first."""
    options = _parser().parse_args(args)
    decoding, offsets = decoding_of(options), traversal_offsets(options.reach, options.steps)
    require(options.dimensions > 0, f"--dimensions is {options.dimensions}: give 1 or more")
    model = load_with_latent(options)
    center = torch.zeros(model.latent_size, device=model.device)
    if options.sentence is not None:
        require_known(model, [options.sentence])
        center = encode_text(model, [options.sentence]).mean[0]
    score_Z, ranked_by = _scores(model, options)
    order = (
        list(range(model.latent_size)) if score_Z is None else score_Z.argsort(descending=True, stable=True).tolist()
    )
    chosen = order[: options.dimensions]
    found = {
        "center": options.sentence or "the prior's mean",
        "ranked_by": ranked_by,
        "dimensions": [
            _record(dimension, None if score_Z is None else float(score_Z[dimension]), offsets, sentences)
            for dimension, sentences in zip(
                chosen, traverse(model, center, chosen, offsets, decoding, options.seed), strict=True
            )
        ],
    }
    if options.output is not None:
        write_json(options.output, found)
    _print(found)


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("traverse", "one latent dimension at a time, around a sentence or the prior's mean")
    parser.add_argument("sentence", nargs="?", help="words separated by spaces; the prior's mean where none is given")
    parser.add_argument("--sentences", metavar="FILE", help="rank dimensions by their KL over these, one a line")
    parser.add_argument("--dimensions", type=int, default=5, help="how many, the first ones by rank (default: 5)")
    parser.add_argument(
        "--reach", type=float, default=3.0, help="farthest offset, in standard deviations of the prior (default: 3)"
    )
    parser.add_argument("--steps", type=int, default=7, help="offsets of each dimension (default: 7)")
    parser.add_argument("--seed", type=int, default=0, help="of drawn words (default: 0)")
    add_decoding(parser)
    return parser


def _scores(model: TextAutoencoder, options: argparse.Namespace) -> tuple[Tensor | None, str]:
    """What ranks the dimensions (Z,), if anything does, and what that is."""
    if options.sentences is not None:
        sentences = read_lines(options.sentences)
        require_known(model, sentences, f"{options.sentences} line")
        over = f"over the {len(sentences)} sentences of {options.sentences}"
    elif options.sentence is not None:
        sentences, over = [options.sentence], "of this sentence's posterior"
    else:
        return None, "their number: give --sentences FILE to rank them by KL"
    posterior = encode_text(model, sentences)
    if model.stochastic:
        return posterior.kl_from_standard_normal().double().mean(0), f"KL to the prior in nats, {over}"
    if len(sentences) > 1:
        return posterior.mean.double().var(0), f"variance of the latent (there is no posterior density), {over}"
    return None, "their number: the model has no posterior density, so no KL; --sentences FILE ranks them by variance"


def _record(dimension: int, score: float | None, offsets: list[float], sentences: list[str]) -> dict[str, Any]:
    points = [{"offset": offset, "sentence": sentence} for offset, sentence in zip(offsets, sentences, strict=True)]
    return {"dimension": dimension, "score": score, "sentences": points}


def _print(found: dict[str, Any]) -> None:
    print_line(f"around {found['center']}; dimensions ranked by {found['ranked_by']}")
    for part in found["dimensions"]:
        print_line(f"dimension {part['dimension']}" + ("" if part["score"] is None else f": {part['score']:.3f}"))
        points = part["sentences"]
        print_table([{"offset": f"{point['offset']:+.2f}", "sentence": point["sentence"]} for point in points])
