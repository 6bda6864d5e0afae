"""The attribute vector, what it makes of sentences, and who judges, against sentences that are made one at a time."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import small
from torchmetrics.functional.text import bleu_score

import callbacks.attribute_judges as judges
import callbacks.attribute_transfer as study
from callbacks import AttributeTransfer
from callbacks.attribute_files import AttributeFiles
from callbacks.classifier_judge import ClassifierConfig
from callbacks.language_judge import JudgeConfig
from callbacks.quantities import TRANSFER, quantity_of
from datamodules.errors import UsageError
from datamodules.grammar_lexicon import LEXICON
from lightning_modules import LanguageModel

Make = Callable[..., Any]
Rows = dict[tuple[str, str], dict[str, float]]
QUICK: dict[str, Any] = {
    "classifier": ClassifierConfig("unigram", epochs=10, lr=5e-2),
    "language_model": JudgeConfig(16, 16, epochs=1),
}
ATTRIBUTES = {"sentiment": ("negative", "positive"), "tense": ("present", "past")}


def grid(folder: Path, attribute: str) -> Rows:
    """The figures of a study's JSON by direction and scale."""
    rows = json.loads((folder / "samples" / f"{attribute}_transfer.json").read_text())["rows"]
    return {(row.pop("direction"), row.pop("scale")): row for row in rows}


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


COLD = [f"i say {a} big soup was cold {b}" for a in ("the", "our", "a", "this") for b in (".", "!", "today", "now")]
HOT = [sentence.replace("cold", "hot") for sentence in COLD]
VECTOR = 1.6


@pytest.fixture
def known_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latents of 1 where a sentence says `hot` and -1 where it says `cold`, beside the number of the rest of it."""

    def means(model: Any, sentences: Sequence[str]) -> torch.Tensor:
        known = [(1.0, HOT.index(s)) if s in HOT else (-1.0, COLD.index(s)) for s in sentences]
        return torch.tensor(known)

    def moved(model: Any, z: torch.Tensor, vector: torch.Tensor, scale: float) -> list[str]:
        return [(HOT if heat > 0 else COLD)[int(rest)] for heat, rest in (z + scale * vector).tolist()]

    monkeypatch.setattr(study, "sentence_means", means)
    monkeypatch.setattr(study, "attribute_vector", lambda model, cold, hot: torch.tensor([VECTOR, 0.0]))
    monkeypatch.setattr(study, "moved", moved)


def labelled_folder(folder: Make) -> Any:
    rows = list(zip([*COLD, *HOT], [0] * len(COLD) + [1] * len(HOT), strict=True))
    random.Random(0).shuffle(rows)
    return folder([row[0] for row in rows], [row[1] for row in rows])


@pytest.mark.usefixtures("known_latents")
def test_models_judge_what_labels_say(fresh: Make, folder: Make, trainer: Make, bleu: Make, tmp_path: Path) -> None:
    """A vector of 1.6 leads from -1 to 0.6 and back: scale 1 changes every sentence, and scale 0.5 none."""
    data = labelled_folder(folder)
    testing = trainer(AttributeTransfer("label", scales=(1.0, 0.5), **QUICK))
    [figures] = testing.test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    found = grid(tmp_path, "label")
    for direction, inputs, outputs in (("0 -> 1", COLD, HOT), ("1 -> 0", HOT, COLD)):
        copy, none, changed = (found[direction, scale] for scale in ("copy", "0.5", "1"))
        assert copy == none
        assert (copy["accuracy"], copy["input_bleu"]) == (0, pytest.approx(1))
        assert changed["accuracy"] == 1
        assert 0 < changed["input_bleu"] == pytest.approx(bleu(outputs, inputs), abs=1e-6)
        assert 1 < changed["perplexity"] < 30
    assert found["0 -> 1", "1"]["perplexity"] == pytest.approx(found["1 -> 0", "copy"]["perplexity"])
    logged = {name.removeprefix("test/label_"): value for name, value in figures.items() if "label" in name}
    assert logged == pytest.approx(
        {
            **found["0 -> 1", "1"],
            "copy_accuracy": 0,
            "copy_perplexity": found["0 -> 1", "copy"]["perplexity"],
            "reverse_accuracy": 1,
            "reverse_copy_accuracy": 0,
            "classifier_accuracy": 1,
        }
    )


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the vector and the judges are made of, and what is changed."""
    sentences: dict[str, list[str]] = {}

    def watch(module: Any, name: str, of: Callable[..., list[str]]) -> None:
        true = getattr(module, name)

        def watched(*args: Any) -> Any:
            sentences.setdefault(name, []).extend(of(*args))
            return true(*args)

        monkeypatch.setattr(module, name, watched)

    watch(study, "attribute_vector", lambda model, one, two: [*one, *two])
    watch(study, "sentence_means", lambda model, inputs: list(inputs))
    watch(judges, "train_classifier", lambda train, valid, *rest: [*train.sentences, *valid.sentences])
    return sentences


def lines(file: Path, sentences: Sequence[str]) -> str:
    file.write_text("\n".join(sentences) + "\n")
    return str(file)


def test_of_files_alone_the_changed_sentences_are_held_out(
    fresh: Make, folder: Make, trainer: Make, tmp_path: Path, seen: dict[str, list[str]]
) -> None:
    data = folder([*COLD, *HOT])  # without labels
    files = AttributeFiles((lines(tmp_path / "a.cold", COLD * 2), lines(tmp_path / "a.hot", [*HOT, "cold zebra"])))
    testing = trainer(AttributeTransfer("heat", files, **QUICK))
    testing.test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    changed, vector, judge = (seen[name] for name in ("sentence_means", "attribute_vector", "train_classifier"))
    assert Counter([*changed, *judge]) == Counter([*COLD, *HOT, "cold <unk>"])  # each once, though it came twice
    assert len(changed) == 7 and len(vector) == 23  # of 33: a fifth and, but for a tenth, the others
    assert set(vector) < set(judge)
    record = json.loads((tmp_path / "samples" / "heat_transfer.json").read_text())
    assert record["values"] == ["a.cold", "a.hot"]
    assert [sum(counts) for counts in record["sentences"].values()] == [23, 7]
    again = trainer(AttributeTransfer("heat", files, **QUICK))
    again.test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    assert seen["sentence_means"] == changed[:7] * 2


def test_of_a_labelled_corpus_only_the_vector_is_made_of_files(
    fresh: Make, folder: Make, trainer: Make, tmp_path: Path, seen: dict[str, list[str]]
) -> None:
    data = labelled_folder(folder)
    files = AttributeFiles((lines(tmp_path / "cold", COLD[:3]), lines(tmp_path / "hot", HOT[:2])))
    testing = trainer(AttributeTransfer("label", files, **QUICK))
    testing.test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    assert seen["attribute_vector"] == [*COLD[:3], *HOT[:2]]
    assert set(seen["sentence_means"]) == {*COLD[3:], *HOT[2:]}
    assert set(seen["train_classifier"]) == {*COLD, *HOT}


@pytest.mark.parametrize("attribute", ["label", "heat"])
def test_given_sentences_are_held_out(
    fresh: Make, folder: Make, trainer: Make, tmp_path: Path, seen: dict[str, list[str]], attribute: str
) -> None:
    data = labelled_folder(folder)
    pairs = [
        (lines(tmp_path / f"{name}.0", cold), lines(tmp_path / f"{name}.1", hot))
        for name, cold, hot in (("vector", COLD, HOT), ("changed", COLD[:2], HOT[5:6]))
    ]
    testing = trainer(AttributeTransfer(attribute, AttributeFiles(*pairs), **QUICK))
    testing.test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    changed = {*COLD[:2], HOT[5]}
    assert set(seen["sentence_means"]) == changed
    assert not changed & set(seen["attribute_vector"]) and len(seen["attribute_vector"]) > 20
    # Of files alone the judge, too, sees the other sentences only; the labelled corpus has its own training split.
    assert set(seen["train_classifier"]) == {*COLD, *HOT} - (changed if attribute == "heat" else set())


@pytest.mark.usefixtures("known_latents")
def test_references_are_those_of_the_changed_lines(
    fresh: Make, folder: Make, trainer: Make, tmp_path: Path, bleu: Make
) -> None:
    data = labelled_folder(folder)
    inputs = ([COLD[0], "zebra", COLD[5]], [HOT[2]])
    true = (["the soup was hot indeed .", "nothing", HOT[5]], ["this was a cold soup"])
    pairs = [
        (lines(tmp_path / f"{name}.0", pair[0]), lines(tmp_path / f"{name}.1", pair[1]))
        for name, pair in (("vector", (COLD, HOT)), ("changed", inputs), ("true", true))
    ]
    testing = trainer(AttributeTransfer("label", AttributeFiles(*pairs), **QUICK))
    with pytest.warns(UserWarning, match=r"changed.0: 1 of 3 sentences have no known word"):
        testing.test(fresh(data.vocabulary_json), datamodule=data, verbose=False)
    found = grid(tmp_path, "label")
    assert found["0 -> 1", "1"]["bleu"] == pytest.approx(bleu([HOT[0], HOT[5]], [true[0][0], true[0][2]]), abs=1e-6)
    assert found["0 -> 1", "copy"]["bleu"] == pytest.approx(
        bleu([COLD[0], COLD[5]], [true[0][0], true[0][2]]), abs=1e-6
    )


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


def test_bleu_is_that_of_torchmetrics() -> None:
    rng = random.Random(0)

    def drawn(like: list[str]) -> str:
        return " ".join(word if rng.random() < 0.8 else rng.choice("abc") for word in like[: rng.randint(0, 12)])

    true = [rng.choices("abcdefgh", k=rng.randint(1, 12)) for _ in range(300)]
    written = [drawn(sentence) for sentence in true]
    references = [" ".join(sentence) for sentence in true]
    for mine in (written, references, [f"{sentence} b a" for sentence in references], ["x"] * 300, [""] * 300):
        expected = float(bleu_score(mine, [[reference] for reference in references]))
        assert judges.bleu(mine, references) == pytest.approx(expected, abs=1e-6)


def test_every_figure_says_what_it_is() -> None:
    for name in TRANSFER:
        assert quantity_of(f"tense_{name}", {}).meaning == TRANSFER[name].meaning
    assert quantity_of("sentiment_perplexity", {}).convention == "eos_in_both"
    assert quantity_of("unheard_of", {}).meaning == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attribute": "tense"}, r"corpus folder has no attribute tense \(it has: none"),
        ({"attribute": "two words"}, "two words"),
        ({"scales": ()}, "scales"),
        ({"sentences": 0}, "sentences is 0"),
        ({"judge_sentences": -1}, "judge_sentences is -1"),
    ],
)
def test_what_is_wrong_is_named(
    fresh: Make, folder: Make, trainer: Make, arguments: dict[str, Any], message: str
) -> None:
    data = folder(["a b", "b"])
    with pytest.raises(UsageError, match=message):
        trainer(AttributeTransfer(**arguments)).test(fresh(data.vocabulary_json), datamodule=data, verbose=False)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([1, 1, 1], r"one class of label only \(1\)"), ([0, 1, 2], "labels 0 to 2"), ([-1, 0, 1], "labels -1 to 1")],
)
def test_labels_that_are_not_of_two_classes(
    fresh: Make, folder: Make, trainer: Make, labels: list[int], message: str
) -> None:
    data = folder(["a b", "b", "c"], labels)
    with pytest.raises(UsageError, match=message):
        trainer(AttributeTransfer("label")).test(fresh(data.vocabulary_json), datamodule=data, verbose=False)


def test_the_corpus_reviews_has_two_attributes(model: Any, corpus: Make, trainer: Make) -> None:
    with pytest.raises(UsageError, match=r"no attribute colour \(it has: sentiment, tense\)"):
        trainer(AttributeTransfer("colour")).test(model, datamodule=corpus(), verbose=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no.txt cannot be read"),
        (b"", "no.txt is empty"),
        (b"a b\n\nb\n", "no.txt, line 2, is empty"),
        (b"caf\xe9 a\n", "not UTF-8"),
        (b"zebra\nxylophone zebra\n", "no sentence with a word that the model knows"),
    ],
    ids=["missing", "empty", "a blank line", "latin-1", "unknown words"],
)
def test_files_that_are_no_sentences(
    fresh: Make, folder: Make, trainer: Make, tmp_path: Path, content: bytes | None, message: str
) -> None:
    data = folder(["a b", "b"])
    if content is not None:
        (tmp_path / "no.txt").write_bytes(content)
    files = AttributeFiles((lines(tmp_path / "a", ["a b"]), str(tmp_path / "no.txt")))
    with pytest.raises(UsageError, match=message):
        trainer(AttributeTransfer("heat", files)).test(fresh(data.vocabulary_json), datamodule=data, verbose=False)


def test_files_of_too_few_sentences(fresh: Make, folder: Make, trainer: Make, tmp_path: Path) -> None:
    data = folder(["a b", "b"])
    files = AttributeFiles((lines(tmp_path / "a", ["a b"]), lines(tmp_path / "b", ["b"])))
    with pytest.raises(UsageError, match=r"no sentence that is \w is left to"):
        trainer(AttributeTransfer("heat", files)).test(fresh(data.vocabulary_json), datamodule=data, verbose=False)


def test_references_without_their_sentences() -> None:
    with pytest.raises(UsageError, match="line by line"):
        AttributeFiles(("a", "b"), references=("c", "d"))


def test_references_that_are_not_as_many(fresh: Make, folder: Make, trainer: Make, tmp_path: Path) -> None:
    data = folder(["a b", "b"])
    two, one = lines(tmp_path / "two", ["a", "b"]), lines(tmp_path / "one", ["a"])
    with pytest.raises(UsageError, match=r"one has 1 lines, .*two has 2"):
        callback = AttributeTransfer("heat", AttributeFiles((two, two), (two, two), (two, one)))
        trainer(callback).test(fresh(data.vocabulary_json), datamodule=data, verbose=False)


def test_one_study_of_an_attribute(model: Any, corpus: Make, trainer: Make) -> None:
    with pytest.raises(UsageError, match="2 AttributeTransfer with the attribute tense"):
        trainer(AttributeTransfer(), AttributeTransfer()).test(model, datamodule=corpus(), verbose=False)


def test_a_language_model_has_no_latent(folder: Make, trainer: Make) -> None:
    data = folder(["a b", "b"])
    model = small(LanguageModel, vocabulary=data.vocabulary_json)
    with pytest.raises(UsageError, match="needs a latent, and a LanguageModel has none"):
        trainer(AttributeTransfer("label")).test(model, datamodule=data, verbose=False)
