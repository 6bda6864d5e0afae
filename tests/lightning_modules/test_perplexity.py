from __future__ import annotations

import math

import pytest
import torch
from models import loader, sentences, small, trainer
from torch import Tensor
from torchmetrics.text import Perplexity as TokenPerplexity

from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig
from datamodules.vocabulary import PAD
from lightning_modules import LanguageModel
from lightning_modules.metrics.perplexity import Perplexity

NATS, TOKENS = [7.0, 31.0, 2.5, 12.0, 40.0, 3.0], [3, 9, 1, 4, 20, 2]
# Batches of 1, 3 and 2 sentences.
CUTS = [slice(0, 1), slice(1, 4), slice(4, 6)]


def measured(*parts: slice) -> Perplexity:
    metric = Perplexity()
    for part in parts:
        metric.update(torch.tensor(NATS[part]), torch.tensor(TOKENS[part]))
    return metric


def test_it_is_the_exponential_of_all_nats_over_all_tokens() -> None:
    expected = math.exp(sum(NATS) / sum(TOKENS))
    assert float(measured(*CUTS).compute()) == pytest.approx(expected, rel=1e-12)
    assert float(measured(slice(None)).compute()) == pytest.approx(expected, rel=1e-12)


def test_it_is_neither_a_mean_over_batches_nor_over_sentences() -> None:
    found = float(measured(*CUTS).compute())
    of_batches = [float(measured(part).compute()) for part in CUTS]
    of_sentences = [math.exp(nats / tokens) for nats, tokens in zip(NATS, TOKENS, strict=True)]
    for values in (of_batches, of_sentences):
        assert abs(found / (sum(values) / len(values)) - 1) > 0.05


def random_logits(lengths: list[int], words: int = 11) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, T, V), targets (B, T) with padding, and lengths (B,)."""
    generator = torch.Generator().manual_seed(0)
    length_B = torch.tensor(lengths)
    targets_BT = torch.randint(PAD + 1, words, (len(lengths), max(lengths)), generator=generator)
    targets_BT[torch.arange(max(lengths)) >= length_B[:, None]] = PAD
    return 3 * torch.randn(*targets_BT.shape, words, generator=generator), targets_BT, length_B


def test_it_is_that_of_torchmetrics_which_ignores_padding() -> None:
    ours, theirs = Perplexity(), TokenPerplexity(ignore_index=PAD)
    for lengths in ([5, 2, 7], [1], [3, 8]):
        logits_BTV, targets_BT, length_B = random_logits(lengths)
        nll_BT = -logits_BTV.log_softmax(2).gather(2, targets_BT[:, :, None]).squeeze(2)
        ours.update(nll_BT.masked_fill(targets_BT == PAD, 0).sum(1), length_B)
        theirs.update(logits_BTV, targets_BT)
    assert float(ours.compute()) == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_a_model_reports_it_with_eos_and_without_bos() -> None:
    corpus = sentences(13)
    model = small(LanguageModel)
    data = loader(corpus, BatchingConfig(eval_sentences=5), training=False)
    (found,) = trainer().validate(model, data, verbose=False)
    with torch.no_grad():
        nats = [float(model.nll(TokenBatch.from_ids([sentence]))[0]) for sentence in corpus]
    tokens = sum(len(sentence) + 1 for sentence in corpus)
    assert found["val/perplexity"] == pytest.approx(math.exp(sum(nats) / tokens), rel=1e-5)


def test_parts_merge_exactly() -> None:
    whole, part = measured(*CUTS), measured(*CUTS[:1])
    part.merge_state(measured(*CUTS[1:]))
    assert torch.equal(part.compute(), whole.compute())


def test_ranks_are_summed_exactly() -> None:
    mine, other = measured(*CUTS[:1]), measured(*CUTS[1:])
    theirs = iter([other.sentences, other.nats, other.tokens, other.products])
    mine.distributed_available_fn = lambda: True
    mine.dist_sync_fn = lambda value, group: [value, next(theirs)]
    assert torch.equal(mine.compute(), measured(*CUTS).compute())


def test_many_float32_sentences_lose_no_digits() -> None:
    """From 2^24 on, a float32 sum does not change by 1."""
    metric = Perplexity()
    metric.update(torch.tensor([2.0**24]), torch.tensor([2**22]))
    metric.update(torch.cat((torch.tensor([2.0**24]), torch.ones(500))), torch.tensor([2**22] + [1] * 500))
    for _ in range(500):
        metric.update(torch.ones(1), torch.ones(1, dtype=torch.int64))
    assert float(metric.compute()) == pytest.approx(math.exp((2**25 + 1000) / (2**23 + 1000)), rel=1e-13)


def test_a_model_of_half_precision_keeps_the_sums_of_float64() -> None:
    model = small(LanguageModel).bfloat16()
    metric = model.figures["val"].metrics["perplexity"]
    assert isinstance(metric, Perplexity)
    metric.update(torch.tensor([2.0**24, 1.0]), torch.tensor([2**22, 1]))
    metric.reset()
    metric.update(torch.tensor([2.0**24, 1.0]), torch.tensor([2**22, 1]))
    assert float(metric.compute()) == pytest.approx(math.exp((2**24 + 1) / (2**22 + 1)), rel=1e-13)
