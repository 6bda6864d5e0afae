from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from callbacks import Imputation, imputation
from callbacks.classifier_judge import ClassifierConfig
from callbacks.language_judge import JudgeConfig, judged_nll
from callbacks.quantities import QUANTITIES
from datamodules import Reviews, TextFolder
from datamodules.batch import TokenBatch
from datamodules.errors import UsageError
from datamodules.text import SubsetConfig
from lightning_modules import LanguageModel
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.decoding.imputation import Imputed, impute, last_words
from lightning_modules.decoding.text import batch_text, text_batch

Make = Callable[..., Any]
QUICK: dict[str, Any] = {
    "unigram": ClassifierConfig("unigram", epochs=30, lr=3e-2),
    "lstm": ClassifierConfig(embedding_size=16, hidden_size=24, epochs=12, dropout=0.0, lr=1e-2),
    "language_model": JudgeConfig(embedding_size=16, hidden_size=24, dropout=0.0, epochs=2, lr=1e-2),
}


def reviews(test: int) -> Reviews:
    return Reviews(subset=SubsetConfig(train=600, valid=20, test=test))


def filled(batch: TokenBatch, targets: Tensor) -> Imputed:
    """What `impute` gives, of words that were not searched for."""
    inputs = torch.cat((batch.inputs[:, :1], targets[:, :-1]), dim=1)
    return Imputed(
        replace(batch, targets=targets, inputs=inputs), torch.zeros(3, len(batch)), torch.ones(2, len(batch))
    )


def measure(model: Any, data: Any, trainer: Make, **options: Any) -> dict[str, float]:
    (found,) = trainer(Imputation(**QUICK | options)).test(model, datamodule=data, verbose=False)
    mine = {name.removeprefix("test/"): value for name, value in found.items()}
    return {name: value for name, value in mine.items() if name.startswith(("imputed", "adversarial_error"))}


def blocks(folder: Path) -> list[list[str]]:
    """The known part, the true ending and the imputed one of each sentence that is shown."""
    text = (folder / "samples" / "imputations.txt").read_text()
    rows = [[line.split(maxsplit=1) for line in block.splitlines()] for block in text.strip().split("\n\n")]
    assert all([line[0] for line in row] == ["known", "true", "imputed"] for row in rows)
    return [[line[1] if len(line) > 1 else "" for line in row] for row in rows]


def test_true_endings_are_perfect(fresh: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imputation, "impute", lambda model, batch, *_: filled(batch, batch.targets))
    data = reviews(1200)
    found = measure(fresh(data.vocabulary_json), data, trainer)
    assert found["imputed_exact"] == found["imputed_grammatical"] == 1
    assert found["imputed_nll"] == found["imputed_nll_true"] > 0
    for kind in ("unigram", "lstm"):
        error = found[f"adversarial_error_{kind}"]
        assert abs(error) < 3 * found[f"adversarial_error_{kind}/error"] == pytest.approx(3 * 0.5 / 120**0.5, rel=0.1)


def test_nonsense_is_found_out(fresh: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    data = reviews(400)
    soup = data.vocabulary.token_to_id("soup")

    def nonsense(model: Any, batch: TokenBatch, missing: Tensor, *_: Any) -> Imputed:
        return filled(batch, batch.targets.masked_fill(missing, soup))

    monkeypatch.setattr(imputation, "impute", nonsense)
    found = measure(fresh(data.vocabulary_json), data, trainer)
    assert found["imputed_exact"] < 0.05 and found["imputed_grammatical"] == 0
    assert found["imputed_nll"] > found["imputed_nll_true"] + 1
    assert found["adversarial_error_unigram"] > 0.45 and found["adversarial_error_lstm"] > 0.45


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_figures_of_a_model_one_sentence_at_a_time(
    model: Any, trainer: Make, tmp_path: Path, test_sentences: list[str], corpus: Make, share: float
) -> None:
    found = measure(model, corpus(), trainer, share=share, shown=1000)
    shown = blocks(tmp_path)
    assert len(shown) == len(test_sentences) // 2
    right = total = grammatical = 0
    search = latent = 0.0
    for known, true, imputed in shown:
        assert f"{known} {true}" in test_sentences
        words, mine = true.split(), imputed.split()
        count = len(known.split()) + len(words)
        assert len(words) == len(mine) == next(n for n in range(count + 1) if n >= share * count - 1e-9)
        right += sum(one == other for one, other in zip(words, mine, strict=True))
        total += len(words)
        grammatical += corpus().grammar.is_grammatical(f"{known} {imputed}")
        batch = text_batch(model.vocabulary, [f"{known} {true}"])
        alone = impute(model, batch, last_words(batch, share), 5, 3)
        assert batch_text(model.vocabulary, alone.batch) == [f"{known} {imputed}"]
        latent += float(alone.latent_change.sum())
        search += float(alone.log_probability[-1, 0] - alone.log_probability[0, 0] - alone.latent_change.sum())
    assert 0 < right < total
    assert found["imputed_exact"] == pytest.approx(right / total)
    assert found["imputed_grammatical"] == pytest.approx(grammatical / len(shown))
    assert found["imputed_latent_change"] == pytest.approx(latent / len(shown), abs=1e-4)
    assert found["imputed_search_change"] == pytest.approx(search / len(shown), abs=1e-4)
    assert abs(latent) > 0.01 and search >= 0
    figures = {name for name in found if "/" not in name}
    assert figures <= QUANTITIES.keys()
    assert all(
        found[f"{name}/sentences"] == len(shown) for name in figures if name.startswith(("imputed", "adversarial"))
    )


def test_no_sentence_is_in_both_halves(
    fresh: Make, folder: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = [f"a{i} b{i} c{i} d{i} e{i}" for i in range(61)]
    data = folder(sentences)
    halves: list[tuple[list[str], list[str]]] = []
    monkeypatch.setattr(imputation, "impute", lambda model, batch, *_: filled(batch, batch.targets))
    monkeypatch.setattr(imputation, "adversarial_error", lambda *given: halves.append(given[:2]) or (0.0, 0.1))
    measure(fresh(data.vocabulary_json), data, trainer)
    for true, imputed in halves:
        assert len(true) == len(imputed) == 30
        assert len({*true, *imputed}) == 60 and {*true, *imputed} < set(sentences)
    assert len(halves) == 2
    measure(fresh(data.vocabulary_json), data, trainer, sentences=41)
    assert [len(side) for side in halves[-1]] == [20, 20]


@pytest.mark.parametrize(
    ("options", "widths"), [({}, (5, 15)), ({"rounds": 2}, (5, 10)), ({"beam": 7}, (7, 7))], ids=str
)
def test_both_kinds_of_model_compute_as_much(
    fresh: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch, options: dict[str, int], widths: tuple[int, int]
) -> None:
    data = reviews(40)
    asked: list[tuple[int, int]] = []

    def record(model: Any, batch: TokenBatch, missing: Tensor, width: int, rounds: int) -> Imputed:
        asked.append((width, rounds))
        return impute(model, batch, missing, width, rounds)

    monkeypatch.setattr(imputation, "impute", record)
    monkeypatch.setattr(imputation, "adversarial_error", lambda *_: (0.0, 0.1))
    models = fresh(data.vocabulary_json), LanguageModel(data.vocabulary_json, decoder=DecoderConfig(hidden_size=8))
    for made, width in zip(models, widths, strict=True):
        asked.clear()
        found = measure(made, data, trainer, **options)
        assert set(asked) == {(width, options.get("rounds", 3))}
        moved = {"imputed_search_change", "imputed_latent_change"} & found.keys()
        assert len(moved) == (0 if isinstance(made, LanguageModel) else 2)


def test_one_round_moves_nothing(model: Any, corpus: Make, trainer: Make) -> None:
    found = measure(model, corpus(), trainer, rounds=1)
    assert "imputed_exact" in found and "imputed_latent_change" not in found


def test_right_to_left_models_are_shown_in_reading_order(
    corpus: Make, trainer: Make, tmp_path: Path, test_sentences: list[str]
) -> None:
    data = corpus()
    backwards = DecoderConfig(hidden_size=8, direction="right_to_left")
    measure(LanguageModel(data.vocabulary_json, decoder=backwards), data, trainer, share=0.4)
    assert all(f"{known} {true}" in test_sentences for known, true, _ in blocks(tmp_path))


def test_sentences_that_end_in_unknown_words_are_in_no_half(
    fresh: Make, trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [f"zebra was {word} here" for word in ("cold", "hot")] * 15
    for split, lines in {"train": ["this was cold here", "it was hot"], "valid": known, "test": known}.items():
        unknown = ["here was one zebra"] * 13 if split == "test" else []
        (tmp_path / f"{split}.txt").write_text("\n".join([*lines, *unknown]) + "\n")
    data = TextFolder(data_dir=str(tmp_path))
    given: list[str] = []
    monkeypatch.setattr(imputation, "impute", lambda model, batch, *_: filled(batch, batch.targets))
    monkeypatch.setattr(imputation, "adversarial_error", lambda *sides: given.extend(sides[0] + sides[1]) or (0.0, 0.1))
    measure(fresh(data.vocabulary_json), data, trainer)
    assert len(given) == 2 * 30 and {text.split()[-1] for text in given} == {"here"}
    assert all(text.startswith("<unk> was") for text in given)


def test_the_nll_is_that_of_sentences(corpus: Make) -> None:
    made = LanguageModel(corpus().vocabulary_json, decoder=DecoderConfig(hidden_size=8)).eval()
    texts = ["the soup was cold .", "soup", "we love this place and the food !"]
    with torch.no_grad():
        alone = [float(made.nll(text_batch(made.vocabulary, [text]))[0]) for text in texts]
    batches = [text_batch(made.vocabulary, texts[:2]), text_batch(made.vocabulary, texts[2:])]
    assert judged_nll(made, batches) == pytest.approx(sum(alone) / 3, rel=1e-5)


@pytest.mark.parametrize("test", [19, 20])
def test_too_few_sentences_are_said_before_anything_is_done(
    fresh: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch, test: int
) -> None:
    data = reviews(test)
    if test == 20:
        assert measure(fresh(data.vocabulary_json), data, trainer)["imputed_nll"] > 0
        return
    monkeypatch.setattr(imputation, "impute", None)
    with pytest.raises(UsageError, match="it needs 20, and 19 of the 19"):
        measure(fresh(data.vocabulary_json), data, trainer)


@pytest.mark.parametrize(
    "options",
    [{"sentences": 0}, {"share": 0.0}, {"share": 1.5}, {"beam": 0}, {"rounds": 0}, {"judge_sentences": 0}],
    ids=str,
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Imputation(**options)
