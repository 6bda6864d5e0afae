from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks import SamplePerplexity, Summary, sample_perplexity
from callbacks.judging import sentence_loader
from callbacks.language_judge import JudgeConfig, judged_perplexity, train_judge
from datamodules.errors import UsageError
from datamodules.vocabulary import EOS

Make = Callable[..., Any]
SMALL = JudgeConfig(embedding_size=16, hidden_size=32, dropout=0.0, epochs=6, sentences=20, lr=1e-2)


def test_a_judge_learns_what_it_is_shown(corpus: Make) -> None:
    """Of two sentences that occur in the shares 3 to 1 the best perplexity is known."""
    vocabulary = corpus().vocabulary
    common, rare = "the soup was cold .", "the soup is hot ."
    longer = replace(SMALL, epochs=25)
    judge = train_judge([common, common, common, rare] * 60, vocabulary, longer, torch.device("cpu"), seed=0)
    shown = [common] * 3 + [rare]
    entropy = -(3 * math.log(3 / 4) + math.log(1 / 4))
    best = math.exp(entropy / (4 * 6))  # five words and EOS
    assert judged_perplexity(judge, sentence_loader(shown, vocabulary, 3, training=False)) == pytest.approx(
        best, rel=0.02
    )
    assert judged_perplexity(judge, sentence_loader(["never was cold soup ."], vocabulary, 3, training=False)) > 10


def test_the_perplexity_is_that_of_the_tokens(corpus: Make) -> None:
    vocabulary = corpus().vocabulary
    sentences = ["the soup was cold .", "soup", "we love this place and the food !"]
    judge = train_judge(sentences, vocabulary, SMALL, torch.device("cpu"), seed=0)
    nats, tokens = 0.0, 0
    with torch.no_grad():
        for sentence in sentences:
            state, before = None, torch.tensor([2])  # BOS
            for word in [*vocabulary.encode(sentence).ids, EOS]:
                logits, state = judge.step(before, torch.zeros(1, 0), state)
                nats -= float(logits.log_softmax(1)[0, word])
                tokens += 1
                before = torch.tensor([word])
    for size in (1, 2, 64):
        found = judged_perplexity(judge, sentence_loader(["", *sentences], vocabulary, size, training=False))
        assert found == pytest.approx(math.exp(nats / tokens), rel=1e-4)


def test_training_a_judge_leaves_the_random_numbers_alone_and_repeats(corpus: Make) -> None:
    vocabulary = corpus().vocabulary
    before = torch.get_rng_state()
    with torch.inference_mode():  # as in a test
        judges = [
            train_judge(["soup was cold ."] * 9, vocabulary, SMALL, torch.device("cpu"), seed=3) for _ in range(2)
        ]
    assert torch.equal(torch.get_rng_state(), before)
    first, second = (judge.state_dict() for judge in judges)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("written", ["like the corpus", "all alike"])
def test_samples_of_known_kinds(
    written: str, fresh: Make, corpus: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sentences of the corpus itself are as good as the corpus; one again and again is likely, but no corpus."""
    data = corpus()
    train = list(data.read_split("train")["text"])
    samples = train[:300] if written == "like the corpus" else train[:1] * 300
    asked: list[int] = []
    monkeypatch.setattr(sample_perplexity, "prior_sentences", lambda model, count: asked.append(count) or samples)
    callback = SamplePerplexity(300, language_model=SMALL)
    (found,) = trainer(callback).test(fresh(data.vocabulary_json), data, verbose=False)
    forward, reverse, reference = (found[f"test/{name}_perplexity"] for name in ("forward", "reverse", "data"))
    assert asked == [300]
    if written == "like the corpus":
        assert reverse == pytest.approx(reference, rel=0.15)
        assert forward < 1.2 * reference  # some of them are those it has seen
    else:
        assert reverse > 5 * reference
    assert {"test/reconstruction"} < found.keys()  # the test's own figures are still there


def test_samples_without_a_word_count(
    fresh: Make, corpus: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = corpus()
    written = [*data.read_split("train")["text"][:300]]
    found = []
    for empty in (0, 200):
        samples = written[empty:] + [""] * empty
        monkeypatch.setattr(sample_perplexity, "prior_sentences", lambda model, count, samples=samples: samples)
        callback = SamplePerplexity(300, language_model=SMALL)
        trainer(callback, Summary()).test(fresh(data.vocabulary_json), data, verbose=False)
        found.append(json.loads((tmp_path / "test_metrics.json").read_text())["metrics"]["test/forward_perplexity"])
    assert [figure["sentences"] for figure in found] == [300, 300]
    assert found[1]["value"] > 1.5 * found[0]["value"]  # the corpus has no empty sentence


def test_of_more_samples_than_sentences(
    fresh: Make, corpus: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = corpus()
    asked: list[int] = []
    monkeypatch.setattr(sample_perplexity, "prior_sentences", lambda model, count: asked.append(count) or ["soup ."])
    quick = JudgeConfig(embedding_size=4, hidden_size=4, epochs=1, sentences=200)
    (found,) = trainer(SamplePerplexity(10_000, language_model=quick)).test(
        fresh(data.vocabulary_json), data, verbose=False
    )
    assert asked == [600]
    assert math.isfinite(found["test/reverse_perplexity"])


def test_a_model_that_writes_nothing_is_said_so(
    fresh: Make, corpus: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The test's other figures are not lost for it."""
    data = corpus()
    monkeypatch.setattr(sample_perplexity, "prior_sentences", lambda model, count: [""] * count)
    (found,) = trainer(SamplePerplexity(5, language_model=SMALL)).test(fresh(data.vocabulary_json), data, verbose=False)
    assert "test/reconstruction" in found and not any("perplexity" in name for name in found)
    assert "every sample is empty" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["embedding_size", "hidden_size", "epochs", "sentences"])
def test_settings_that_make_no_sense(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        JudgeConfig(**{name: 0})
    with pytest.raises(UsageError, match="samples"):
        SamplePerplexity(samples=0)
