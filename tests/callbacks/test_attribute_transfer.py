"""Attribute transfer in the built-in corpus, whose grammar judges, against sentences that are made one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attributes import grid

import callbacks.attribute_transfer as study
from callbacks import AttributeTransfer
from callbacks.quantities import TRANSFER, quantity_of
from datamodules.grammar_lexicon import LEXICON

Make = Callable[..., Any]
ATTRIBUTES = {"sentiment": ("negative", "positive"), "tense": ("present", "past")}


def bearers(attribute: str, value: int) -> set[str]:
    """The words that bear a value, read from the raw lexicon."""
    words: set[str] = set()
    for key, entries in LEXICON.items():
        for entry in entries.split():
            forms = entry.split("/")
            half = (len(forms) + 1) // 2
            if attribute == "sentiment" and key.endswith((".neg", ".pos")):
                words |= set(forms) if key.endswith(".pos") == bool(value) else set()
            elif attribute == "tense" and len(forms) > 1:
                words |= set(forms[half:] if value else forms[:half])
    return words


def kept(attribute: str, inputs: Sequence[str], written: Sequence[str]) -> float:
    """Of the inputs' words without the attribute, the share that can be struck from what was written, one by one."""
    bearing = bearers(attribute, 0) | bearers(attribute, 1)
    found = total = 0
    for sentence, changed in zip(inputs, written, strict=True):
        left = changed.split()
        for word in sentence.split():
            if word not in bearing:
                total += 1
                if word in left:
                    left.remove(word)
                    found += 1
    return found / total


@pytest.mark.parametrize("attribute", ["sentiment", "tense"])
def test_by_hand_where_the_grammar_judges(
    model: Any,
    corpus: Make,
    trainer: Make,
    means: Make,
    decode: Make,
    bleu: Make,
    test_sentences: list[str],
    tmp_path: Path,
    attribute: str,
) -> None:
    grammar, values = corpus().grammar, ATTRIBUTES[attribute]
    place = list(ATTRIBUTES).index(attribute)
    train = list(corpus().read_split("train")["text"])
    latents = means(model, train)
    second = np.array([grammar.labels(sentence)[place] == 1 for sentence in train])
    vector = latents[second].mean(0) - latents[~second].mean(0)
    scales = (1.0, 0.0, 2.5)
    testing = trainer(AttributeTransfer(attribute, scales=scales, shown=9))
    [figures] = testing.test(model, datamodule=corpus(11), verbose=False)
    found = grid(tmp_path, attribute)
    assert len(found) == 8
    for value in (0, 1):
        inputs = [sentence for sentence in test_sentences if grammar.labels(sentence)[place] == value]
        assert 0 < len(inputs) < len(test_sentences)
        own = [grammar.with_tense(sentence, 1 - value) for sentence in inputs]
        sign = -1 if value else 1
        written = {f"{s:g}": decode(model, means(model, inputs) + sign * s * vector) for s in scales} | {"copy": inputs}
        wanted, other = bearers(attribute, 1 - value), bearers(attribute, value)
        for scale, changed in written.items():
            right = [bool(set(words) & wanted) and not set(words) & other for words in map(str.split, changed)]
            expected = {
                "accuracy": sum(right) / len(right),
                "content": kept(attribute, inputs, changed),
                "grammatical": sum(grammar.log_probability(sentence) > -np.inf for sentence in changed) / len(changed),
                "input_bleu": bleu(changed, inputs),
            } | ({"bleu": bleu(changed, own)} if attribute == "tense" else {})
            row = found[f"{values[value]} -> {values[1 - value]}", scale]
            assert row == pytest.approx(expected, abs=1e-6)
            if scale == "copy":
                assert (row["accuracy"], row["content"], row["grammatical"]) == (0, 1, 1)
                assert row["input_bleu"] == pytest.approx(1)
    assert len({row["accuracy"] for row in found.values()}) > 2  # else little is tested
    forward, copied, back = (found[f"{values[i]} -> {values[1 - i]}", s] for i, s in ((0, "1"), (0, "copy"), (1, "1")))
    headlines = {f"test/{attribute}_{name}": value for name, value in forward.items()}
    headlines |= {f"test/{attribute}_reverse_accuracy": back["accuracy"]}
    headlines |= {"test/tense_copy_bleu": copied["bleu"]} if attribute == "tense" else {}
    # Each is of the sentences of one value.
    sizes = [sum(grammar.labels(sentence)[place] == value for sentence in test_sentences) for value in (0, 1)]
    headlines |= {f"{name}/sentences": sizes["reverse" in name] for name in headlines}
    logged = {name: value for name, value in figures.items() if attribute in name}
    assert logged == pytest.approx(headlines, abs=1e-6)
    blocks = (tmp_path / "samples" / f"{attribute}.txt").read_text().rstrip("\n").split("\n\n")
    assert len(blocks) == 9
    assert sum(block.splitlines()[0].split() == ["to", values[1]] for block in blocks) == 5
    assert values[0] in (tmp_path / "samples" / f"{attribute}_transfer.txt").read_text()


def test_the_vector_needs_no_more_than_some_sentences(model: Any, corpus: Make, trainer: Make) -> None:
    whole, part, again = (
        trainer(AttributeTransfer(scales=(3.0,), sentences=count)).test(model, datamodule=corpus(), verbose=False)[0]
        for count in (600, 20, 20)
    )
    assert part == again
    assert part["test/tense_bleu"] != whole["test/tense_bleu"]
    assert part["test/tense_copy_bleu"] == whole["test/tense_copy_bleu"]


def test_only_the_first_rank_works(
    model: Any, corpus: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    callback = AttributeTransfer()
    testing = trainer(callback)
    testing.datamodule = corpus()
    monkeypatch.setattr(type(testing), "is_global_zero", False)
    monkeypatch.setattr(study, "attribute_data", lambda *args: pytest.fail("another rank works"))
    callback.on_test_epoch_end(testing, model)
    callback.on_test_end(testing, model)
    assert not (tmp_path / "samples").exists()


def test_the_whole_grid_is_printed(
    model: Any, corpus: Make, trainer: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    trainer(AttributeTransfer("sentiment")).test(model, datamodule=corpus(), verbose=False)
    printed = capsys.readouterr().out
    for direction in ("negative -> positive", "positive -> negative"):
        rows = [line for line in printed.splitlines() if direction in line]
        assert [line.split("│")[2].strip() for line in rows] == ["copy", "1", "1.5", "2"]


def test_every_figure_says_what_it_is() -> None:
    for name in TRANSFER:
        assert quantity_of(f"tense_{name}", {}).meaning == TRANSFER[name].meaning
    assert quantity_of("sentiment_perplexity", {}).convention == "eos_in_both"
    assert quantity_of("unheard_of", {}).meaning == ""
