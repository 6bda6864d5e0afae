"""`textae probe`: what a linear classifier reads off the latents of a trained model (Bowman et al. 2016, appendix)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from datamodules.errors import require
from datamodules.sentences import read_columns, read_lines
from datamodules.vocabulary import UNK
from experiments.model_options import load_with_latent, model_parser, print_line, print_table
from experiments.runs import write_json
from lightning_modules import TextAutoencoder
from lightning_modules.decoding.encoding import encode_text

Columns = list[list[str]]  # of sentences: one, or two of pairs
Features = Callable[[Columns], list[Any]]


def run(args: list[str]) -> None:
    """Prints accuracy and F1 of a probe on latents and of one on bags of words, and writes them where asked for."""
    options = _parser().parse_args(args)
    require(find_spec("sklearn") is not None, 'probes need scikit-learn: pip install "textae[studies]"')
    from callbacks.linear_probe import bags_of_words, check_classes, majority, pair_features, probe

    def combined(features: list[Any]) -> Any:
        return features[0] if len(features) == 1 else pair_features(*features)

    train = read_labelled(options.train)
    test = None if options.test is None else read_labelled(options.test)
    same = test is None or len(test[0]) == len(train[0])
    require(same, "--train and --test differ: give both sentences and labels, or both pairs")
    check_classes(train[1], options.folds, nested=test is None)
    model = load_with_latent(options)
    columns, labels = train
    seen, true = test or train
    words = [word for column in columns for word in column]

    def measured(features: Features) -> dict[str, float]:
        on_test = None if test is None else (combined(features(seen)), true)
        return asdict(probe(combined(features(columns)), labels, on_test, options.folds, options.seed))

    found = {
        "latents": measured(lambda some: [encode_text(model, column).mean.cpu().numpy() for column in some]),
        "bag_of_words": measured(lambda some: bags_of_words(words, *some)),
        "majority": {"accuracy": majority(labels, true)},
    }
    about = {
        "train": len(labels),
        "test": len(true) if test else f"each of {options.folds} folds",
        "classes": len(set(labels)),
        "unknown_words": unknown_share(model, seen),
    }
    _print(found, about)
    if options.output is not None:
        write_json(options.output, about | found)


def read_labelled(files: Sequence[str]) -> tuple[Columns, list[str]]:
    """Sentences and their labels.

    Args:
        files: One of lines `label<TAB>sentence<TAB>sentence`, or one of sentences and one of labels.

    Raises:
        UsageError: They cannot be read, a line lacks a column, or the files differ in length.
    """
    require(len(files) <= 2, f"{len(files)} files are given: one of pairs, or one of sentences and one of labels")
    if len(files) == 2:
        sentences, labels = (read_lines(file) for file in files)
        count = f"{files[0]} has {len(sentences)} lines, {files[1]} {len(labels)}: give a label for each sentence"
        require(len(sentences) == len(labels), count)
        return [sentences], labels
    rows = read_columns(files[0], "label", "sentence", "sentence")
    return [[row[1] for row in rows], [row[2] for row in rows]], [row[0] for row in rows]


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("probe", "an L2-regularised logistic regression on the posterior's means")
    how = "SENTENCES LABELS, a line each; or PAIRS, lines of label<TAB>sentence<TAB>sentence"
    parser.add_argument("--train", nargs="+", required=True, metavar="FILE", help=how)
    parser.add_argument("--test", nargs="+", metavar="FILE", help="the same of other sentences (default: the folds)")
    parser.add_argument("--folds", type=int, default=10, help="of the cross-validation (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the folds (default: 0)")
    return parser


def unknown_share(model: TextAutoencoder, columns: Columns) -> float:
    """Of the words of sentences, those that the model does not know."""
    ids = [word for column in columns for line in model.vocabulary.encode_batch_fast(column) for word in line.ids]
    return ids.count(UNK) / len(ids)


def _print(found: dict[str, dict[str, float]], about: dict[str, Any]) -> None:
    print_table(
        [
            {"features": name.replace("_", " ")}
            | {figure: f"{values[figure]:.4g}" if figure in values else "" for figure in ("accuracy", "f1", "strength")}
            for name, values in found.items()
        ]
    )
    print_line(
        f"{about['train']:,} sentences of {about['classes']} classes, tested on {about['test']}; "
        f"the model does not know {about['unknown_words']:.1%} of the words"
    )
