from __future__ import annotations

import math

import pytest
import torch
from exact import GRID, batch_of, every_sentence, evidence, likelihoods, posterior_of, tiny
from models import one_by_one, sentences, small

from datamodules.batch import TokenBatch
from datamodules.errors import UsageError
from datamodules.vocabulary import EOS
from lightning_modules import AdversarialAutoencoder, Autoencoder, AveragingVAE, SentenceMIM, SentenceVAE
from lightning_modules.backbone import model as backbone
from lightning_modules.likelihood import LogWeights, log_weights, rows_within

ALL = every_sentence()
BATCH = TokenBatch.from_ids(sentences(12))


@pytest.mark.parametrize("family", [SentenceVAE, SentenceMIM, AdversarialAutoencoder])
def test_with_many_samples_it_is_minus_log_p(family: type[SentenceVAE]) -> None:
    model = tiny(family)
    exact = -evidence(likelihoods(model, ALL))
    with torch.no_grad():
        found = log_weights(model, batch_of(ALL), 20_000)
    error = found.error()
    assert bool(((found.nll() - exact).abs() <= 5 * error + 1e-9).all())
    assert 0 < float(error.max()) < 0.05


def test_without_the_end_it_is_of_the_words_alone() -> None:
    model = tiny(SentenceVAE)
    sentence = ALL[-1]
    with torch.no_grad():
        z = GRID[:, None]
        state, log_p, previous = None, torch.zeros_like(GRID), 2
        for word in sentence:  # and no EOS
            logits, state = model.step(torch.full((len(z),), previous), z, state)
            log_p += logits.log_softmax(1)[:, word]
            previous = word
        assert previous != EOS
        found = log_weights(model, batch_of([sentence]), 20_000)
    exact = -evidence(log_p[None])
    assert abs(float(found.nll(with_end=False) - exact)) <= 5 * float(found.error(with_end=False))
    assert float(found.nll() - found.nll(with_end=False)) > 0.1


def test_elbo_iw_1_iw_k_and_log_p_are_in_their_order() -> None:
    """E[ELBO] = E[IW_1] <= E[IW_K] <= log p(x), over copies of a sentence with noise of their own."""
    model = tiny(SentenceVAE, factor=3.0)
    copies, sentence = 3000, ALL[-1]
    exact = -float(evidence(likelihoods(model, [sentence])))
    batch = TokenBatch.from_ids([sentence] * copies)
    with torch.no_grad():
        bound = model.objective(batch).terms["negative_elbo"]
        estimates = [bound, *(log_weights(model, batch, count).nll() for count in (1, 5, 50))]
    means = [float(estimate.mean()) for estimate in estimates]
    errors = [float(estimate.std()) / math.sqrt(copies) for estimate in estimates]
    assert abs(means[0] - means[1]) <= 3 * math.hypot(errors[0], errors[1])
    assert means[1] - means[2] > 3 * math.hypot(errors[1], errors[2])
    assert means[2] - means[3] > 3 * math.hypot(errors[2], errors[3])
    assert means[3] >= exact - 3 * errors[3]


def test_the_error_is_the_spread_over_repetitions() -> None:
    model = tiny(SentenceVAE, factor=3.0)
    batch = TokenBatch.from_ids([ALL[-1]] * 2000)
    with torch.no_grad():
        found = log_weights(model, batch, 200)
    assert float(found.error().mean()) == pytest.approx(float(found.nll().std()), rel=0.1)


@pytest.mark.parametrize("spread", [1.0, 2.0, 3.0])
def test_the_error_holds_where_a_few_samples_outweigh_the_others(spread: float) -> None:
    """Log-normal weights, of which at a spread of 3 one in a hundred has most of the sum."""
    drawn = spread * torch.randn(100, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = LogWeights(-drawn, torch.zeros_like(drawn), torch.zeros(100, 1, 4000, dtype=torch.float64))
    error, true = float(found.error().square().mean().sqrt()), float(found.nll().std())
    assert 0.9 < error / true < 1.5
    if spread == 3.0:
        delta = (1 / found.effective_samples() - 1 / 100).sqrt()  # never more than 1 nat, however wrong
        assert float(delta.square().mean().sqrt()) / true < 0.9


def test_nothing_depends_on_companions_chunks_or_order() -> None:
    model = small(SentenceVAE).eval()
    with torch.no_grad():
        together = log_weights(model, BATCH, 30)
        chunked = log_weights(model, BATCH, 30, memory=0.1)
        alone = torch.cat([log_weights(model, one, 30).nll() for one in one_by_one(sentences(12))])
    steps = BATCH.targets.shape[1]
    assert rows_within(0.1, model, steps) < 30 * 12 < rows_within(512, model, steps)
    torch.testing.assert_close(chunked.weights(), together.weights())
    torch.testing.assert_close(alone, together.nll())


@pytest.mark.parametrize("logits", [1, 40, 400, 4000, 10**9])
@pytest.mark.parametrize("memory", [0.001, 0.01, 0.05, 0.2, 1.0])
def test_parts_and_their_weights_stay_within_the_memory(
    logits: int, memory: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, steps = small(SentenceVAE).eval(), 6
    monkeypatch.setitem(backbone.LOGITS_AT_ONCE, "cpu", logits)
    rows = rows_within(memory, model, steps)
    words, hidden = model.vocabulary.get_vocab_size(), model.decoder_config.hidden_size
    tokens = max(1, logits // words)
    in_parts = rows * steps > tokens
    alive = 3 * words * (tokens if in_parts else rows * steps) + 30 * rows * steps * hidden
    laid_out = words * hidden if in_parts else 0
    assert rows == 1 or 4e-6 * (alive + laid_out) <= memory


@pytest.mark.parametrize("normalized", [1, 40, 10**9])
@pytest.mark.parametrize("logits", [1, 40, 10**9])
def test_logits_are_made_in_parts_where_there_are_no_gradients(
    logits: int, normalized: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small(SentenceVAE).eval()
    z = torch.randn(len(BATCH), model.latent_size, generator=torch.Generator().manual_seed(0))
    whole = model.token_nll(BATCH, z)
    assert whole.requires_grad
    monkeypatch.setitem(backbone.LOGITS_AT_ONCE, "cpu", logits)
    monkeypatch.setattr(backbone, "NORMALIZED_AT_ONCE", normalized)
    sizes: list[int] = []
    output = model.backbone.decoder.logits
    monkeypatch.setattr(model.backbone.decoder, "logits", lambda states: sizes.append(len(states)) or output(states))
    with torch.no_grad():
        torch.testing.assert_close(model.token_nll(BATCH, z), whole.detach())
    assert sum(sizes) == len(BATCH.positions)
    assert max(sizes) <= max(1, logits // model.vocabulary.get_vocab_size())
    sizes.clear()
    model.token_nll(BATCH, z)
    assert sizes == [len(BATCH.positions)]


def test_the_weights_of_many_parts_are_laid_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(SentenceVAE).eval()
    z = torch.randn(len(BATCH), model.latent_size, generator=torch.Generator().manual_seed(0))
    output, told = model.backbone.decoder.output, list[int]()
    usual = output.for_many
    monkeypatch.setattr(output, "for_many", lambda rows: told.append(rows) or usual(rows))
    words = model.vocabulary.get_vocab_size()
    for tokens, gradients, calls in ((7, False, [7]), (10**6, False, []), (7, True, [])):
        monkeypatch.setitem(backbone.LOGITS_AT_ONCE, "cpu", tokens * words)
        with torch.set_grad_enabled(gradients):
            model.token_nll(BATCH, z)
        assert told == calls
        told.clear()


def test_of_the_averaging_vae_every_latent_has_its_ratio() -> None:
    model = tiny(AveragingVAE, samples=2)
    batch = batch_of(ALL)
    q = posterior_of(model, ALL)
    with torch.no_grad():
        found = log_weights(model, batch, 4000)
        noise = model.random(batch).normal("importance", 8000, 1).double().squeeze(2).T
    z = q.mean + q.stddev * noise
    ratios = (torch.distributions.Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)).view(4000, 2, len(ALL))
    torch.testing.assert_close(found.ratios, ratios, rtol=1e-4, atol=1e-5)
    pairs = torch.stack([z.view(4000, 2, -1)[:, place] for place in range(2)], dim=1)
    with torch.no_grad():
        one = model.reconstruction(batch, pairs[7].T[..., None])
    torch.testing.assert_close(found.reconstruction[7], one)
    torch.testing.assert_close(found.weights(), ratios.sum(1) - found.reconstruction, rtol=1e-4, atol=1e-4)
    once = found.weights(ratio_once=True)
    torch.testing.assert_close(once, ratios.mean(1) - found.reconstruction, rtol=1e-4, atol=1e-4)


def test_a_model_without_a_density_is_refused() -> None:
    with pytest.raises(UsageError, match="Autoencoder has no posterior density"):
        log_weights(small(Autoencoder).eval(), BATCH, 5)
