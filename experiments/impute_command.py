"""`textae impute`: the missing words of sentences, from a checkpoint alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from rich.progress import track

from datamodules.errors import require
from datamodules.sentences import read_lines
from experiments.model_options import load, model_parser, print_table, require_known
from experiments.runs import write_json
from lightning_modules import TextAutoencoder, TextModel
from lightning_modules.decoding.imputation import beam_width, impute, imputed_together, last_words
from lightning_modules.decoding.text import batch_text, text_batch

MISSING = "_"


def run(args: list[str]) -> None:
    """Prints a table of the completed sentences and of log p(x|z) after each round; writes JSON where asked for it."""
    options = _parser().parse_args(args)
    require(options.beam is None or options.beam > 0, f"--beam is {options.beam}: give 1 or more")
    require(options.rounds > 0, f"--rounds is {options.rounds}: give 1 or more")
    require(options.last is None or 0 < options.last <= 1, f"--last is {options.last}: give a share above 0, up to 1")
    where = "sentence" if options.sentences else "line"
    sentences = [" ".join(sentence.split()) for sentence in options.sentences or read_lines(None)]
    model = load(options)
    require_known(model, sentences, where)
    for number, sentence in enumerate(sentences, start=1):
        marked = options.last is not None or MISSING in sentence.split()
        require(
            marked,
            f'{where} {number} has no missing word: mark each with {MISSING}, as in "the soup was {MISSING} .", or '
            f"give --last 0.2 for the last fifth of each sentence: {sentence}",
        )
    found = _impute(model, sentences, options)
    if options.output is not None:
        write_json(options.output, found)
    name = "log p(x|z) after each round" if isinstance(model, TextAutoencoder) else "log p(x)"
    print_table([_cells(record, name) for record in found])


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("impute", "the most probable words at the places of missing ones")
    parser.add_argument(
        "sentences",
        nargs="*",
        help=f"words separated by spaces, {MISSING} for a missing one; standard input, one a line, where none is given",
    )
    parser.add_argument("--last", type=float, metavar="SHARE", help="impute the final share of each sentence instead")
    parser.add_argument("--beam", type=int, metavar="WIDTH", help="(default: 5; of a language model 5 * rounds)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="z to the mode of q(z|x), then a search (default: 3; no latent: 1)"
    )
    return parser


def _impute(model: TextModel, sentences: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Of each sentence the completed one, and log p(x|z) in nats as the search went on."""
    width = options.beam or beam_width(model, options.rounds)
    records: dict[int, dict[str, Any]] = {}
    groups = imputed_together(model, [len(sentence.split()) for sentence in sentences], width)
    for group in track(groups, "imputing", disable=len(groups) == 1, transient=True):
        rows = group.tolist()
        words = [sentences[row].split() for row in rows]
        batch = text_batch(model.vocabulary, [sentences[row] for row in rows]).to(model.device)
        if options.last is None:
            steps = batch.targets.shape[1]
            marks = [[word == MISSING for word in sentence] + [False] * (steps - len(sentence)) for sentence in words]
            missing_BT = torch.tensor(marks, device=model.device)
        else:
            missing_BT = last_words(batch, options.last)
        imputed = impute(model, batch, missing_BT, width, options.rounds)
        for place, written in enumerate(batch_text(model.vocabulary, imputed.batch)):
            # Known words stay as they were given, also those that the model does not know.
            missing = missing_BT[place, : len(words[place])].tolist()
            pairs = zip(words[place], written.split(), missing, strict=True)
            records[rows[place]] = {
                "sentence": sentences[rows[place]],
                "imputed": " ".join(new if found else old for old, new, found in pairs),
                "log_probability": imputed.log_probability[:, place].tolist(),
                "latent_change": imputed.latent_change[:, place].tolist(),
            }
    return [records[row] for row in range(len(sentences))]


def _cells(record: dict[str, Any], name: str) -> dict[str, str]:
    log_p = "  ".join(f"{value:.2f}" for value in record["log_probability"])
    return {"sentence": record["sentence"], "imputed": record["imputed"], name: log_p}
