"""What is timed computes the same thing. Times themselves are not tested."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from models import VOCABULARY, small
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from datamodules.batch import TokenBatch
from datamodules.vocabulary import BOS, EOS
from experiments.bench.accelerator import accelerator
from experiments.bench.decoding import Ending, corruption, decoding, to_the_limit
from experiments.bench.encoding import encoding
from experiments.bench.framework import framework
from experiments.bench.importance import estimate, importance, made
from experiments.bench.large_vocabulary import large_vocabulary
from experiments.bench.lstm import lstm
from experiments.bench.memory import SIZES, memory
from experiments.bench.neighbors import neighbors
from experiments.bench.preparation import anonymous_megabytes, preparation, write_corpus
from experiments.bench.published_steps import PublishedDAAE, averaged_loss, mim_loss, word_by_word_drop
from experiments.bench.reference import loop_over_samples, one_at_a_time
from experiments.bench.scaling import scaling
from experiments.bench.timing import Row, medians
from experiments.bench.training import (
    Sizes,
    daae_products,
    daae_step,
    made_daae,
    made_reviews_daae,
    made_vae_avg,
    sentence_mim,
    vae_avg,
)
from experiments.memory import can_keep_freed_memory
from lightning_modules import SentenceMIM, TextModel
from lightning_modules.backbone import lstm as lstm_module
from lightning_modules.backbone import model as backbone
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.posterior import PosteriorConfig
from lightning_modules.backbone.products import bfloat16_is_fast
from lightning_modules.decoding.search import greedy

Command = Callable[..., Any]
WORDS = [[5, 9, 7, 12], [8, 8, 6, 11], [10, 5, 13, 7]]


def test_the_loops_give_the_same_estimate() -> None:
    model = made(words=40, hidden=12)
    batch = TokenBatch.from_ids(WORDS)
    noise = model.random(batch).normal("importance", 20, model.latent_size)
    ours = estimate(model, batch, 20).float()
    torch.testing.assert_close(loop_over_samples(model, batch, noise), ours, rtol=1e-5, atol=1e-4)
    alone = [TokenBatch.from_ids([words]) for words in WORDS]
    torch.testing.assert_close(one_at_a_time(model, alone, noise), ours, rtol=1e-5, atol=1e-4)


UNEVEN = [[5, 9, 7, 12], [8], [10, 5, 13, 7, 6, 6], [9, 9]]
SMALL = Sizes(words=40, embedding=6, hidden=7, latent=3)


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch has it untyped
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def assert_same_step(model: TextModel, loss: Tensor, batch: TokenBatch) -> None:
    """Our objective has the loss, and its gradients."""
    ours = model.objective(batch).loss.mean()
    torch.testing.assert_close(ours, loss, rtol=1e-5, atol=1e-5)
    expected, found = gradients(model, loss), gradients(model, ours)
    assert expected.keys() == found.keys() and any(bool(value.any()) for value in found.values())
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5, msg=name)


def test_the_published_step_of_sentence_mim_has_our_loss_and_gradients() -> None:
    model = small(
        SentenceMIM,
        encoder=EncoderConfig("gru", 14, direction="reversed"),
        posterior=PosteriorConfig(6, min_log_variance=-10),
        decoder=DecoderConfig("gru", 13, latent=("state", "concat")),
    )
    batch = TokenBatch.from_ids(UNEVEN)
    assert_same_step(model, mim_loss(model, batch), batch)


def test_the_loop_of_decoder_passes_has_the_loss_and_gradients_of_vae_avg() -> None:
    model, batch = made_vae_avg(SMALL, samples=3).train(), TokenBatch.from_ids(UNEVEN)
    assert_same_step(model, averaged_loss(model, batch), batch)


def test_the_published_step_of_the_daae_has_our_loss_and_gradients() -> None:
    model = made_daae(SMALL, dropout=0.0, drop=0.0).train()
    published, batch = PublishedDAAE(model).train(), TokenBatch.from_ids(WORDS)
    random = model.random(batch)
    drawn = [random.normal(stream, SMALL.latent) for stream in ("posterior", "prior")]
    autoencoder, discriminator = published.losses(batch, batch.inputs.t(), *drawn)
    ours = model.objective(batch).loss.mean()
    torch.testing.assert_close(ours, autoencoder + discriminator, rtol=1e-5, atol=1e-5)
    found = gradients(model, ours)
    published.zero_grad()
    autoencoder.backward(retain_graph=True)  # type: ignore[no-untyped-call]  # torch has it untyped
    published.discriminator.zero_grad()
    discriminator.backward()  # type: ignore[no-untyped-call]  # torch has it untyped
    theirs = {name: value.grad for name, value in published.named_parameters()}
    names = {
        "backbone.embedding.": "embedding.",
        "backbone.encoder.forwards.0.": "encoder.",
        "backbone.posterior.mean.": "mean.",
        "backbone.posterior.scale.": "log_variance.",
        "backbone.decoder.to_embedding.": "to_embedding.",
        "backbone.decoder.network.": "decoder.",
        "backbone.decoder.output.": "output.",
        "discriminator.": "discriminator.",
    }
    for name, value in found.items():
        start, end = next(((s, "") for s in names if name.startswith(s)), ("backbone.encoder.backwards.0.", "_reverse"))
        other = theirs[names.get(start, "encoder.") + name.removeprefix(start) + end]
        assert other is not None
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-5, msg=name)
    assert len(found) == len(theirs)


def test_words_are_dropped_as_often_as_asked_and_the_first_token_never() -> None:
    inputs = torch.full((11, 500), 7)
    inputs[0] = BOS
    dropped = word_by_word_drop(inputs, 0.3)
    assert dropped.shape == inputs.shape and bool((dropped[0] == BOS).all())
    assert float((dropped == 7).float().sum() / 5000) == pytest.approx(0.7, abs=0.03)


@pytest.fixture(params=[True, False])
def bfloat16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the processor is said to have bfloat16; its rows are left out where it has not."""
    monkeypatch.setattr("experiments.bench.timing.bfloat16_is_fast", lambda: request.param)
    return bool(request.param)


def test_small_training_benchmarks_give_their_rows(bfloat16: bool) -> None:
    rows = daae_step("tiny", SMALL, sentences=3, length=4, repeats=1, targets=(1.05, 2.0, 0.88))
    assert [row.target for row in rows] == ([1.05, 2.0, 0.88] if bfloat16 else [1.05, 0.88])
    assert "tokens/s" in rows[0].note
    rows = sentence_mim(SMALL, batches=2, repeats=1, sentences=3)
    assert [row.target for row in rows] == ([2.0, 3.5] if bfloat16 else [2.0])
    assert [row.target for row in vae_avg(SMALL, samples=2, repeats=1, sentences=2)] == [2.0]


def test_the_products_of_a_step_are_those_that_torch_counts() -> None:
    """Of a model whose networks are linear maps, which torch's counter can see; 4 gates a state and step."""
    sizes, sentences, length = Sizes(50, 6, 7, 3), 2, 4
    tokens = sentences * (length + 1)
    with FlopCounterMode(display=False) as counter:
        maps = [
            *((tokens, sizes.embedding, 4 * sizes.hidden), (tokens, sizes.hidden, 4 * sizes.hidden)) * 3,
            (tokens, sizes.hidden, sizes.words),
            *((sentences, 2 * sizes.hidden, sizes.latent),) * 2,
            (sentences, sizes.latent, sizes.embedding),
        ]
        for rows, size_in, size_out in maps:
            one = torch.randn(rows, size_in, requires_grad=True)
            (one @ torch.randn(size_in, size_out, requires_grad=True)).sum().backward()
    assert daae_products(sizes, sentences, length) == counter.get_total_flops()


def test_greedy_words_are_those_of_decoding_to_the_limit() -> None:
    model = made(40, 12, Ending)
    z = torch.randn(30, model.latent_size, generator=torch.Generator().manual_seed(0))
    plain, ours = to_the_limit(model, z), greedy(model, z)
    lengths = {row.index(EOS) for row in ours.tolist()}
    assert len(lengths) > 5 and max(lengths) < model.decoder_config.max_words
    for theirs, own in zip(plain.tolist(), ours.tolist(), strict=True):
        end = own.index(EOS) + 1
        assert own[:end] == theirs[:end]


def test_small_decoding_benchmarks_give_their_rows() -> None:
    [row] = decoding(words=40, hidden=8, sentences=20, repeats=1)
    assert row.target == 3.0 and "words a sentence" in row.note
    [row] = corruption(sentences=4, length=5, repeats=1)
    assert row.target == 20.0


def test_the_frameworks_own_step_is_that_of_the_default_experiment(textae: Command) -> None:
    written = yaml.safe_load(textae("fit", "--config=daae_reviews", "--print_config").out)["model"]["init_args"]
    own = made_reviews_daae(VOCABULARY).hparams
    for group, options in own.items():
        if isinstance(options, dict) and group != "optimizer":
            for name, value in options.items():
                other = written[group][name]
                assert (tuple(other) if isinstance(other, list) else other) == value, (group, name)


def test_a_small_benchmark_of_the_framework_gives_its_row() -> None:
    [row] = framework(batches=13, repeats=1, options=("--trainer.logger=false",))
    assert row.target == 1 / 1.05 and "13 batches" in row.what and row.ours > 0


@pytest.mark.slow  # it measures in processes of their own, as do the next two
@pytest.mark.skipif(not can_keep_freed_memory(), reason="freed memory cannot be kept here, see experiments/memory.py")
def test_a_small_benchmark_of_memory_gives_its_rows() -> None:
    daae, *published, share, vae_avg = memory(dict.fromkeys(SIZES, SMALL), repeats=1, count=1)
    assert len(published) == (2 if bfloat16_is_fast() else 1)
    assert all("page faults" in row.note for row in (daae, vae_avg))
    assert all(row.ratio > 0 and "published loop" in row.what for row in published)
    assert "share of that rate" in share.note and share.target == 0.88 and share.ours == daae.ours == published[0].ours


@pytest.mark.slow
def test_small_benchmarks_of_preparation_give_their_rows() -> None:
    rows = preparation(sentences=300, against=600)
    assert [row.reference for row in rows[:3]] == [60.0, 5.0, 1500.0]
    assert 10 < rows[2].ours < 1500 and rows[3].reference == pytest.approx(1.3 * rows[2].ours)


@pytest.mark.slow
def test_a_small_benchmark_of_encoding_gives_its_row() -> None:
    [row] = encoding(sentences=600, against=300)
    assert "600 sentences" in row.what and "sentences/s" in row.note and 10 < row.ours < 2000


def test_a_small_benchmark_of_the_vocabulary_gives_its_row() -> None:
    kept = backbone.LOGITS_KEPT
    [row] = large_vocabulary(words=50, sentences=2, length=3, repeats=1)
    assert "8 tokens" in row.what and "MB" in row.note and kept == backbone.LOGITS_KEPT


def test_the_benchmarks_of_a_gpu_give_their_rows_on_a_small_scale(
    bfloat16: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    *trained, weighed = accelerator("cpu", SMALL, SMALL, SMALL, sentences=3, samples=2, repeats=1)
    assert len(trained) == (6 if bfloat16 else 4) and {row.target for row in trained} == {5.0}
    assert all("tokens/s" in row.note for row in trained) and weighed.reference == 60.0 and weighed.ours > 0
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert accelerator() == [] and "no GPU" in capsys.readouterr().err


@pytest.mark.slow
def test_small_benchmarks_of_scaling_give_their_rows() -> None:
    rows = scaling(factor=2, repeats=1, sentences=2, length=3, corpus=50, samples=2)
    assert len(rows) == 5 and all("times" in row.note and row.reference > 0 for row in rows)


def test_the_corpus_is_as_large_as_asked(tmp_path: Path) -> None:
    write_corpus(tmp_path, 2000)
    lines = (tmp_path / "train.txt").read_text().splitlines()
    assert len(lines) == 2000 and min(map(len, lines)) > 0
    assert sum(len(line.split()) for line in lines) / 2000 == pytest.approx(12, abs=0.5)


def test_anonymous_memory_is_what_is_allocated() -> None:
    before = anonymous_megabytes()
    # A mapping of its own: what malloc gives may be pages that an earlier test has left resident.
    with mmap.mmap(-1, 100_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        for _ in range(100):
            held.write(b"x" * 1_000_000)
        assert anonymous_megabytes() - before == pytest.approx(100, abs=20)


def test_the_median_of_rounds_in_turn() -> None:
    order: list[str] = []
    found = medians({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 3
    assert found.keys() == {"a", "b"} and min(found.values()) >= 0
    assert Row("x", reference=3.0, ours=1.5).ratio == 2.0


def test_small_benchmarks_give_their_rows(bfloat16: bool) -> None:
    rows = importance(words=40, hidden=8, sentences=3, length=4, samples=5, repeats=1)
    assert [row.target for row in rows] == [1.15, *[2.0] * bfloat16, *[10.0] * (2 + 2 * bfloat16)]
    alone = [row for row in rows if row.target == 10.0]
    assert ["at the rate of large fp32 products" in row.note for row in alone] == [True, False][: 1 + bfloat16] * 2
    assert "nats" in rows[0].note and "peak memory" in rows[0].note
    [row] = neighbors(sentences=120, latent_size=2)
    assert row.reference == 180 and row.ours < 180


@pytest.mark.skipif(not bfloat16_is_fast(), reason="the processor does not compute in bfloat16")
def test_the_benchmark_of_the_lstm_runs_either_and_leaves_it_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    own: list[bool] = []
    takes = lstm_module.LSTM.takes_own_steps
    monkeypatch.setattr(
        lstm_module.LSTM, "takes_own_steps", lambda network, x: own.append(takes(network, x)) or takes(network, x)
    )
    large = lstm_module.LARGE
    rows = lstm(shapes=[(3, 4, 5, 7)], sizes=SMALL, repeats=2)
    assert len(rows) == 2 and lstm_module.LARGE == large
    assert own == [False, True] * 2 + ([False] * 3 + [True] * 3) * 2  # the DAAE has three networks
