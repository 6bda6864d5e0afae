"""Small decoders, alone and in a model, and the latents that they write from."""

from __future__ import annotations

from typing import Any

import torch
from models import VOCABULARY, enlarge, small
from torch import Tensor, nn

from lightning_modules import Autoencoder
from lightning_modules.backbone.decoder import Decoder, DecoderConfig

WORDS, EMBEDDING, STATE, LATENT = 12, 5, 4, 3


def decoder(config: DecoderConfig) -> Decoder:
    """By itself, in evaluation mode; its states vary much with what it reads."""
    torch.manual_seed(0)
    made = Decoder(config, nn.Embedding(WORDS, EMBEDDING), LATENT)
    enlarge(made, 2.0)
    return made.eval()


def latents(count: int) -> Tensor:
    """For a decoder by itself."""
    return torch.randn(count, LATENT, generator=torch.Generator().manual_seed(1))


def model(vocabulary: str = VOCABULARY, factor: float = 4.0, **options: Any) -> Autoencoder:
    """A whole model whose decoder has these options, in evaluation mode and without gradients."""
    made = small(Autoencoder, vocabulary=vocabulary, decoder=DecoderConfig(hidden_size=13, max_words=12, **options))
    enlarge(made, factor)
    return made.eval().requires_grad_(False)


def codes(count: int) -> Tensor:
    """Latents for a whole model."""
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1))
