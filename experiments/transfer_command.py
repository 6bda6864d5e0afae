"""`textae transfer`: an attribute of sentences changed by a vector, from a checkpoint and two files of sentences."""

from __future__ import annotations

import argparse
import math

from datamodules.errors import require
from datamodules.sentences import known_sentences, read_lines
from experiments.model_options import (
    in_rows,
    load_with_latent,
    model_parser,
    print_table,
    require_known,
)
from experiments.runs import write_json
from lightning_modules.decoding.arithmetic import attribute_vector, moved, sentence_means


def run(args: list[str]) -> None:
    """Prints a table of the changed sentences, and writes it as JSON where that is asked for."""
    options = _parser().parse_args(args)
    files = (options.first, options.second)
    require(math.isfinite(options.scale), f"--scale is {options.scale}: give a number")
    require(None not in files, "give --from FILE --to FILE: sentences with the one value, and with the other")
    model = load_with_latent(options)
    first, second = (known_sentences(file, model.vocabulary) for file in files)
    sentences = options.sentences or read_lines(None)
    require_known(model, sentences, "sentence" if options.sentences else "line")
    vector_Z = attribute_vector(model, first, second)
    scale = -options.scale if options.reverse else options.scale
    rows = in_rows({"sentence": sentences, "changed": moved(model, sentence_means(model, sentences), vector_Z, scale)})
    print_table(rows)
    if options.output is not None:
        write_json(options.output, rows)


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("transfer", "sentences with an attribute's other value: z + scale * (mean z of TO - of FROM)")
    parser.add_argument(
        "sentences", nargs="*", help="words separated by spaces; standard input, one a line, where none is given"
    )
    parser.add_argument("--from", dest="first", metavar="FILE", help="sentences with the value to leave, one a line")
    parser.add_argument("--to", dest="second", metavar="FILE", help="sentences with the value to get, one a line")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the vector (default: 1)")
    parser.add_argument("--reverse", action="store_true", help="from the second value to the first")
    return parser
