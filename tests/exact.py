"""Models so small that every sentence can be written down and the one-dimensional latent integrated out.

G points of the quadrature, B sentences.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from models import FIRST_WORD, Family, enlarge, small
from torch import Tensor, nn
from torch.distributions import Normal

from datamodules.batch import TokenBatch
from datamodules.vocabulary import BOS, EOS, closed_vocabulary
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.backbone.posterior import PosteriorConfig
from lightning_modules.text_model import TextModel

WORDS = 2
LONGEST = 2
GRID = torch.linspace(-9, 9, 3601, dtype=torch.float64)
STEP = float(GRID[1] - GRID[0])
PRIOR = Normal(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))


def tiny(family: type[Family], factor: float = 2.0, **options: Any) -> Family:
    """A model in float64 with two words and one latent dimension, on which its sentences depend, in evaluation mode."""
    sizes: dict[str, Any] = {
        "vocabulary": str(closed_vocabulary(["a", "b"]).to_str()),
        "embedding": EmbeddingConfig(4, shared=False),
        "encoder": EncoderConfig(hidden_size=5),
        "posterior": PosteriorConfig(latent_size=1),
        "decoder": DecoderConfig(hidden_size=5, latent=("state", "concat"), max_words=LONGEST),
    }
    model = small(family, **sizes | options)
    enlarge(model, factor)
    return model.double().eval()


def every_sentence(symbols: tuple[int, ...] = (FIRST_WORD, FIRST_WORD + 1), most: int = LONGEST) -> list[list[int]]:
    """All sentences of up to so many words."""
    return [list(words) for count in range(most + 1) for words in itertools.product(symbols, repeat=count)]


def batch_of(sentences: list[list[int]]) -> TokenBatch:
    return TokenBatch.from_ids(sentences)


def log_likelihood(model: TextModel, sentence: list[int], z: Tensor) -> Tensor:
    """log p(x|z) at each of the latents (G, ...), word after word."""
    state, total = None, torch.zeros(len(z), dtype=torch.float64)
    previous = BOS
    for word in [*sentence, EOS]:
        logits, state = model.step(torch.full((len(z),), previous), z, state)
        total = total + logits.log_softmax(1)[:, word]
        previous = word
    return total


@torch.no_grad()
def likelihoods(model: TextModel, sentences: list[list[int]]) -> Tensor:
    """log p(x|z), (B, G), over the grid."""
    return torch.stack([log_likelihood(model, sentence, GRID[:, None]) for sentence in sentences])


def integral(values_BG: Tensor) -> Tensor:
    """Over z, by the trapezoidal rule."""
    return torch.trapezoid(values_BG, dx=STEP)


def evidence(log_likelihood_BG: Tensor) -> Tensor:
    """log p(x), (B,)."""
    return integral(torch.exp(log_likelihood_BG + PRIOR.log_prob(GRID))).log()


def expectation(posterior: Normal, values_BG: Tensor) -> Tensor:
    """Under q(z|x) of each sentence, (B,)."""
    return integral(posterior.log_prob(GRID[:, None]).T.exp() * values_BG)


@torch.no_grad()
def posterior_of(model: Any, sentences: list[list[int]]) -> Normal:
    """q(z|x) as PyTorch's own distribution, (B,)."""
    found = model.encode(batch_of(sentences))
    return Normal(found.mean.squeeze(1), torch.exp(0.5 * found.log_variance).squeeze(1))


def slope(function: Callable[[], Tensor], parameters: list[nn.Parameter], direction: list[Tensor]) -> float:
    """Central difference of a function along a direction of its parameters."""
    step = 1e-5
    values = []
    for sign in (1, -2, 1):
        with torch.no_grad():
            for parameter, change in zip(parameters, direction, strict=True):
                parameter.add_(change, alpha=sign * step)
        values.append(float(function().detach()))
    return (values[0] - values[1]) / (2 * step)


def assert_gradient_is_the_slope(function: Callable[[], Tensor], model: nn.Module) -> None:
    """Of every parameter by itself, along a random direction."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        (gradient,) = torch.autograd.grad(function(), [parameter], allow_unused=True)
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        expected = 0.0 if gradient is None else float((gradient * direction).sum())
        torch.testing.assert_close(
            slope(function, [parameter], [direction]), expected, rtol=1e-4, atol=1e-6, msg=lambda text, n=name: n + text
        )
