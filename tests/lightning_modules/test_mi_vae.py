from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from exact import (
    GRID,
    PRIOR,
    assert_gradient_is_the_slope,
    batch_of,
    every_sentence,
    integral,
    tiny,
)
from models import sentences, small
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.errors import UsageError
from datamodules.vocabulary import BOS, EOS, UNK
from lightning_modules import MutualInformationVAE, SentenceVAE
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.decoding.search import NEVER
from lightning_modules.mi_vae import MutualInformationConfig

BATCH = TokenBatch.from_ids(sentences(12))
TEXTS: tuple[Literal["sampled", "true"], ...] = ("sampled", "true")
DRAWS = 6000
LONGEST = 2


def model_of(text: Literal["sampled", "true"], **options: float) -> MutualInformationVAE:
    config = MutualInformationConfig(text=text, **options)  # type: ignore[arg-type]
    return small(MutualInformationVAE, mutual_information=config, embedding=EmbeddingConfig(12, shared=False))


@torch.no_grad()
def log_probability_and_information(model: MutualInformationVAE, sentence: list[int]) -> tuple[Tensor, Tensor]:
    """Of a sentence that the decoder writes: log p(x|z), and log q_MI(z|states) - log p(z), both (G,)."""
    z, words = GRID[:, None], [*sentence, EOS]
    state, total, states, previous = None, torch.zeros_like(GRID), [], BOS
    for place, word in enumerate(words):
        hidden, state = model.backbone.decoder.step(torch.full((len(GRID),), previous), z, state)
        states.append(hidden)
        logits = model.backbone.decoder.logits(hidden)
        logits[:, list(NEVER)] = -math.inf
        if place < LONGEST:  # the longest sentences end there with certainty
            total += logits.log_softmax(1)[:, word]
        previous = word
    lengths = torch.full((len(GRID),), len(words))
    q = model.state_posterior(model.state_encoder(torch.stack(states, dim=1), lengths))
    std = torch.exp(0.5 * q.log_variance).squeeze(1)
    log_q = torch.distributions.Normal(q.mean.squeeze(1), std).log_prob(GRID)
    return total, log_q - PRIOR.log_prob(GRID)


def test_the_term_is_the_expectation_over_latents_and_every_text_they_may_give() -> None:
    model = tiny(MutualInformationVAE, decoder=DecoderConfig(hidden_size=5, max_words=LONGEST))
    written = [log_probability_and_information(model, x) for x in every_sentence((UNK, 5, 6))]
    mass = sum(integral(PRIOR.log_prob(GRID).exp() * log_p.exp()) for log_p, _ in written)
    assert float(mass) == pytest.approx(1)
    exact, square = (
        float(sum(integral(PRIOR.log_prob(GRID).exp() * log_p.exp() * value**power) for log_p, value in written))
        for power in (1, 2)
    )
    with torch.no_grad():
        found = -model.objective(TokenBatch.from_ids([[5]] * DRAWS)).terms["mi_loss"]
    assert abs(float(found.mean()) - exact) <= 5 * math.sqrt((square - exact**2) / DRAWS)


@pytest.mark.parametrize("text", TEXTS)
def test_its_gradient_reaches_the_decoder_but_neither_z_nor_the_encoder(text: Literal["sampled", "true"]) -> None:
    model = model_of(text)
    model.objective(BATCH).terms["mi_loss"].mean().backward()
    for name, parameter in model.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.any())
        encoding = name.startswith(("backbone.encoder", "backbone.posterior"))
        writing = name.startswith("backbone.decoder.output")  # the states stand before the words
        assert moved is not (encoding or writing), name


@pytest.mark.parametrize("times_kl_weight", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_the_gradient_is_the_slope_with_the_texts_and_their_latents_held_fixed(
    text: Literal["sampled", "true"], times_kl_weight: bool
) -> None:
    config = MutualInformationConfig(weight=1.7, text=text, times_kl_weight=times_kl_weight)
    model = tiny(MutualInformationVAE, mutual_information=config, kl_weight=0.6).train()
    batch = batch_of(every_sentence())
    with torch.no_grad():
        z = model.sample_latents(batch, model.encode(batch))
        held = [part.clone() for part in model._text(batch, z[0])]
    weight = 1.7 * (0.6 if times_kl_weight else 1.0)

    def by_hand() -> Tensor:
        posterior = model.encode(batch)
        elbo = model.elbo(batch, posterior, model.sample_latents(batch, posterior))
        return (elbo.loss + weight * model.mi_loss(held[0], held[1], held[2])).mean()

    torch.testing.assert_close(model.objective(batch).loss.mean(), by_hand())
    assert_gradient_is_the_slope(by_hand, model)
    for parameter in model.parameters():
        ours, theirs = (
            torch.autograd.grad(loss, [parameter], allow_unused=True)[0]
            for loss in (model.objective(batch).loss.mean(), by_hand())
        )
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs)


def test_without_the_term_it_is_the_sentence_vae() -> None:
    ours, vae = model_of("sampled", weight=0.0), small(SentenceVAE, embedding=EmbeddingConfig(12, shared=False))
    torch.testing.assert_close(ours.objective(BATCH).loss, vae.objective(BATCH).loss)


def test_a_schedule_drives_lambda() -> None:
    model = model_of("sampled", weight=5.0)
    objective = model.objective(BATCH)
    torch.testing.assert_close(objective.loss, objective.terms["negative_elbo"] + 5 * objective.terms["mi_loss"])
    model.weights["mi_weight"] = 0.5
    torch.testing.assert_close(
        model.objective(BATCH).loss, objective.terms["negative_elbo"] + 0.5 * objective.terms["mi_loss"]
    )


def test_a_negative_lambda_is_refused() -> None:
    with pytest.raises(UsageError, match="mutual_information"):
        MutualInformationConfig(weight=-1)
