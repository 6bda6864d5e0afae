"""`textae answer`: ranks of a file whose ranks are known, chance, and written answers."""

from __future__ import annotations

import io
import itertools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from models import WORDS, small
from torch import Tensor

from experiments import answer_command
from experiments.answer_command import LENGTHS, rank, read_questions
from lightning_modules import SentenceVAE

Command = Callable[..., Any]
# Wrong answers in one place, right ones in another; the number in an answer is its distance.
RANKED = """1	who ?	at 1
0	who ?	at 2
0	who ?	at 3
0	where ?	at 1
1	where ?	at 2
1	where ?	at 5
0	when ?	at 1
0	when ?	at 2
0	when ?	at 2.5
1	when ?	at 3
1	why ?	at 2
0	why ?	at 2
"""


@pytest.fixture
def known_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    def distances(model: object, questions: Sequence[str], answers: Sequence[str], seed: int) -> Tensor:
        return torch.tensor([float(answer.split()[1]) for answer in answers])

    monkeypatch.setattr(answer_command, "answer_distances", distances)


@pytest.mark.usefixtures("known_distances")
def test_known_ranks(textae: Command, moved: Path, tmp_path: Path) -> None:
    (tmp_path / "qa.tsv").write_text(RANKED)
    printed = textae("answer", "--run", moved, "--rank", "qa.tsv", "--output", "found.json").out
    found = json.loads((tmp_path / "found.json").read_text())
    # Ranks 1, 2, 4, and 2 since a wrong answer as near comes before.
    assert found["p_at_1"] == 1 / 4 and found["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 4 + 1 / 2) / 4)
    assert (found["questions"], found["candidates"]) == (4, 12)
    assert "4 questions, 12 candidate answers" in printed and "0.5625" in printed


def test_chance_is_the_mean_over_all_orders() -> None:
    for candidates, right in ((1, 1), (4, 1), (5, 2), (6, 6), (6, 4)):
        orders = list(itertools.permutations(range(candidates)))
        firsts = [min(order[answer] for answer in range(right)) + 1 for order in orders]
        p_at_1, mrr = answer_command._chance(candidates, right)
        assert p_at_1 == pytest.approx(sum(first == 1 for first in firsts) / len(orders))
        assert mrr == pytest.approx(sum(1 / first for first in firsts) / len(orders))


def test_random_distances_give_chance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    monkeypatch.setattr(
        answer_command, "answer_distances", lambda model, q, a, seed: torch.rand(len(q), generator=generator)
    )
    lines = [f"{int(row == 0)}\tq {number}\ta {row}" for number in range(2000) for row in range(5)]
    (tmp_path / "qa.tsv").write_text("\n".join(lines))
    found = rank(None, read_questions(str(tmp_path / "qa.tsv")))  # type: ignore[arg-type]  # no model is asked
    assert found["chance_p_at_1"] == pytest.approx(0.2) and found["chance_mrr"] == pytest.approx(137 / 300)
    assert found["p_at_1"] == pytest.approx(0.2, abs=4 * (0.16 / 2000) ** 0.5)
    assert found["mrr"] == pytest.approx(137 / 300, abs=4 * (0.09 / 2000) ** 0.5)


def test_a_random_encoder_gives_chance(tmp_path: Path) -> None:
    rng = random.Random(0)
    lines = []
    for number in range(400):
        right, words = rng.randrange(4), " ".join(rng.choices(WORDS, k=5))
        for row in range(4):
            lines.append(f"{int(row == right)}\t{words} {number} ?\t{' '.join(rng.choices(WORDS, k=6))}")
    (tmp_path / "qa.tsv").write_text("\n".join(lines))
    found = rank(small(SentenceVAE), read_questions(str(tmp_path / "qa.tsv")))
    assert found["p_at_1"] == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 400) ** 0.5)
    assert found["mrr"] == pytest.approx(25 / 48, abs=4 * (0.09 / 400) ** 0.5)


def test_written_answers_of_three_lengths(
    textae: Command, moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], int, Any]] = []

    def written(model: object, questions: list[str], words: int, decoding: Any, seed: int) -> list[str]:
        asked.append((questions, words, decoding))
        return [f"{words} words"] * len(questions)

    monkeypatch.setattr(answer_command, "written_answers", written)
    monkeypatch.setattr("sys.stdin", io.StringIO("the soup\nwe love\n"))
    textae("answer", "--run", moved, "--output", "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found[1] == {"question": "we love", "short": "5 words", "medium": "10 words", "long": "15 words"}
    assert [words for _, words, _ in asked] == list(LENGTHS.values()) == [5, 10, 15]
    assert all(decoding.forbidden and decoding.temperature == 0 for _, _, decoding in asked)


def test_a_model_that_cannot_ask_is_said_to_answer_nothing(textae: Command, moved: Path) -> None:
    assert "? is no word of the model's" in textae("answer", "--run", moved, "the soup ?", fails=True).error


@pytest.mark.parametrize(
    ("written", "options", "said"),
    [
        ("1\twho ?\n", ["--rank=qa.tsv"], "qa.tsv, line 1, is no row of label<TAB>question<TAB>answer"),
        ("1\twho ?\t\n", ["--rank=qa.tsv"], "line 1, is no row of"),
        ("yes\twho ?\tme\n", ["--rank=qa.tsv"], "line 1: the label is yes; give 1 for a right answer, or 0"),
        ("0\twho ?\tme\n", ["--rank=qa.tsv"], "no answer to this question has the label 1: who ?"),
        ("1\ta\tb\n1\tc\td\n1\ta\te\n", ["--rank=qa.tsv"], "the lines of this question are not together: a"),
        ("", ["--rank=qa.tsv"], "qa.tsv is empty"),
        ("1\ta\tb\n", ["--rank=qa.tsv", "who ?"], "not both"),
        ("", ["zebras"], "question 1 has no word that the model knows"),
    ],
)
def test_bad_input_is_one_line(
    textae: Command, moved: Path, tmp_path: Path, written: str, options: list[str], said: str
) -> None:
    (tmp_path / "qa.tsv").write_text(written)
    assert said in textae("answer", "--run", moved, *options, fails=True).error
