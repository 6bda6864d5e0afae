"""`textae answer`: questions answered, or answers ranked, by a trained model (Livne et al. 2020, section 4.6)."""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from datamodules.errors import require
from datamodules.sentences import read_columns, read_lines
from datamodules.vocabulary import UNK
from experiments.model_options import in_rows, load_with_latent, model_parser, print_line, print_table, require_known
from experiments.runs import write_json
from lightning_modules import TextAutoencoder
from lightning_modules.decoding.answers import answer_distances, written_answers
from lightning_modules.decoding.decode import DecodingConfig

# Unknown words that ask for an answer (Livne et al. 2020, appendix D.4).
LENGTHS = {"short": 5, "medium": 10, "long": 15}


@dataclass(frozen=True)
class Question:
    """A question and its candidate answers.

    Attributes:
        text: The question.
        answers: The candidates.
        right: Which of them are right.
    """

    text: str
    answers: list[str]
    right: list[bool]


def run(args: list[str]) -> None:
    """Prints answers to questions, or how well a model ranks the candidates of a file."""
    options = _parser().parse_args(args)
    require(not (options.rank and options.questions), "give questions to answer, or --rank FILE, not both")
    candidates = read_questions(options.rank) if options.rank else []
    model = load_with_latent(options)
    found: object
    if options.rank:
        found = figures = rank(model, candidates, options.seed)
        print_line(f"{figures['questions']:,} questions, {figures['candidates']:,} candidate answers")
        rows = [_figures("by z", figures, ""), _figures("by chance", figures, "chance_")]
    else:
        found = rows = _answered(model, options)
    print_table(rows)
    if options.output is not None:
        write_json(options.output, found)


def rank(model: TextAutoencoder, questions: Sequence[Question], seed: int = 0) -> dict[str, float]:
    """Precision at 1 and mean reciprocal rank of the first right answer, and what random ranks have in expectation.

    A wrong answer that is as near as the right one is put before it.
    """
    pairs = [(question.text, answer) for question in questions for answer in question.answers]
    texts, answers = zip(*pairs, strict=True)
    distances = iter(answer_distances(model, texts, answers, seed).tolist())
    ranks = [
        _first_rank(list(itertools.islice(distances, len(question.right))), question.right) for question in questions
    ]
    chances = [_chance(len(question.right), sum(question.right)) for question in questions]
    count = len(questions)
    return {
        "questions": count,
        "candidates": len(pairs),
        "p_at_1": sum(place == 1 for place in ranks) / count,
        "mrr": sum(1 / place for place in ranks) / count,
        "chance_p_at_1": sum(first for first, _ in chances) / count,
        "chance_mrr": sum(reciprocal for _, reciprocal in chances) / count,
    }


def read_questions(file: str) -> list[Question]:
    """The questions of a file of lines `label<TAB>question<TAB>answer`, those of one question together.

    Raises:
        UsageError: It cannot be read, a line lacks a column or has a label that is not 0 or 1, a question has no right
            answer, or its lines are not together.
    """
    rows = read_columns(file, "label", "question", "answer")
    for number, (label, _, _) in enumerate(rows, start=1):
        require(label in ("0", "1"), f"{file}, line {number}: the label is {label}; give 1 for a right answer, or 0")
    questions = []
    for text, group in itertools.groupby(rows, key=lambda row: row[1]):
        labels, _, answers = zip(*group, strict=True)
        require("1" in labels, f"{file}: no answer to this question has the label 1: {text}")
        questions.append(Question(text, list(answers), [label == "1" for label in labels]))
    texts = [question.text for question in questions]
    twice = next((text for text in texts if texts.count(text) > 1), None) if len(set(texts)) < len(texts) else None
    require(twice is None, f"{file}: the lines of this question are not together: {twice}")
    return questions


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("answer", "answers to questions, or the ranks of candidate answers, by z")
    parser.add_argument(
        "questions", nargs="*", help="words separated by spaces; standard input, one a line, without any"
    )
    parser.add_argument("--rank", metavar="FILE", help="lines of label<TAB>question<TAB>answer; 1 is a right answer")
    parser.add_argument("--seed", type=int, default=0, help="of the draws of z (default: 0)")
    return parser


def _answered(model: TextAutoencoder, options: argparse.Namespace) -> list[dict[str, str]]:
    questions = options.questions or read_lines(None)
    require_known(model, questions, "question" if options.questions else "line")
    greedy = DecodingConfig(forbidden=(UNK,))
    columns = {name: written_answers(model, questions, words, greedy, options.seed) for name, words in LENGTHS.items()}
    return in_rows({"question": questions} | columns)


def _figures(ranking: str, figures: dict[str, float], prefix: str) -> dict[str, str]:
    return {"ranking": ranking} | {name: f"{figures[prefix + name]:.4f}" for name in ("p_at_1", "mrr")}


def _first_rank(distances: Sequence[float], right: Sequence[bool]) -> int:
    nearest = min(itertools.compress(distances, right))
    return 1 + sum(distance <= nearest and not true for distance, true in zip(distances, right, strict=True))


def _chance(candidates: int, right: int) -> tuple[float, float]:
    """Expected precision at 1 and reciprocal rank of the first right answer in a random order."""
    orders = math.comb(candidates, right)
    places = range(1, candidates - right + 2)
    reciprocal = sum(math.comb(candidates - place, right - 1) / place for place in places) / orders
    return right / candidates, reciprocal
