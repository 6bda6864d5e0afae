"""How sentences are decoded, as options of the commands that decode."""

from __future__ import annotations

import argparse

from datamodules.vocabulary import UNK
from lightning_modules.decoding.decode import DecodingConfig


def add_decoding(parser: argparse.ArgumentParser) -> None:
    """Adds the options; without any of them the most probable word is taken at each step."""
    group = parser.add_argument_group("decoding", "greedy without any of these")
    group.add_argument("--temperature", type=float, help="1 draws words from p(x|z), below 1 sharpened; 0 is greedy")
    group.add_argument("--top-k", type=int, metavar="K", help="draw from the K most probable words only")
    group.add_argument("--top-p", type=float, metavar="P", help="draw from the fewest words of probability P only")
    group.add_argument("--beam", type=int, metavar="WIDTH", help="beam search for the most probable sentence")
    group.add_argument("--length-penalty", type=float, metavar="A", help="of the beam: log p(x|z) / tokens^A (0)")
    group.add_argument("--no-unknown", action="store_true", help="never write <unk>")
    group.add_argument("--max-words", type=int, metavar="N", help="longest sentence (default: the model's)")


def decoding_of(options: argparse.Namespace) -> DecodingConfig:
    """What was asked for; `--top-k` and `--top-p` ask for drawn words, at temperature 1.

    Raises:
        UsageError: Options contradict each other.
    """
    limited = options.top_k is not None or options.top_p is not None
    temperature = options.temperature
    if temperature is None:
        temperature = 1.0 if limited and options.beam is None else 0.0
    return DecodingConfig(
        temperature,
        options.top_k,
        1.0 if options.top_p is None else options.top_p,
        options.beam,
        0.0 if options.length_penalty is None else options.length_penalty,
        options.max_words,
        (UNK,) if options.no_unknown else (),
    )
