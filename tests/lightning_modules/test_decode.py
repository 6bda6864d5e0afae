"""One way to ask for any decoding; chunks do not matter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import enlarge, small
from torch import Tensor

from datamodules.errors import UsageError
from datamodules.vocabulary import UNK
from lightning_modules import Autoencoder
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.decoding import decode as module
from lightning_modules.decoding.beam import beam_search
from lightning_modules.decoding.decode import DecodingConfig, decode
from lightning_modules.decoding.search import greedy, sample
from lightning_modules.decoding.text import to_text
from lightning_modules.randomness import SentenceRandom


@pytest.fixture
def writer() -> Autoencoder:
    made = small(Autoencoder, decoder=DecoderConfig(hidden_size=13, max_words=7)).eval()
    enlarge(made, 3.0)
    return made


@pytest.fixture
def latents() -> Tensor:
    return 2 * torch.randn(23, 6, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("chunk", [5, 512])
def test_every_setting_reaches_its_search(
    writer: Autoencoder, latents: Tensor, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    random = SentenceRandom(torch.arange(23), 4, -1)
    truths = {
        DecodingConfig(): greedy(writer, latents),
        DecodingConfig(max_words=3, forbidden=(UNK, 9)): greedy(writer, latents, 3, (UNK, 9)),
        DecodingConfig(0.7, top_k=4): sample(writer, latents, random, 0.7, top_k=4),
        DecodingConfig(1.3, top_p=0.6, max_words=4): sample(writer, latents, random, 1.3, 4, top_p=0.6),
        DecodingConfig(1.0, forbidden=(8,)): sample(writer, latents, random, forbidden=(8,)),
        DecodingConfig(beam=3, length_penalty=2.0): beam_search(writer, latents, 3, 2.0).words[:, 0],
        DecodingConfig(beam=9, max_words=2, forbidden=(9,)): beam_search(writer, latents, 9, 0.0, 2, (9,)).words[:, 0],
    }
    written = [decode(writer, latents, config, random) for config in truths]
    assert written == [to_text(writer, ids) for ids in truths.values()]
    assert len({tuple(sentences) for sentences in written}) == len(truths)


def test_words_are_drawn_by_the_models_seed_where_no_other_is_given(writer: Autoencoder, latents: Tensor) -> None:
    writer.seed = 11
    hot = DecodingConfig(temperature=1.0)
    assert decode(writer, latents, hot) == decode(writer, latents, hot, SentenceRandom(torch.arange(23), 11, -1))
    assert decode(writer, latents, hot) != decode(writer, latents, hot, SentenceRandom(torch.arange(23), 12, -1))


def test_nothing_is_decoded_from_no_latents(writer: Autoencoder) -> None:
    assert decode(writer, torch.zeros(0, 6)) == []


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"beam": 3, "temperature": 1.0}, "beam search draws no words"),
        ({"beam": 3, "top_k": 2}, "beam search draws no words"),
        ({"beam": 3, "top_p": 0.5}, "beam search draws no words"),
        ({"top_k": 2}, "temperature 0"),
        ({"top_p": 0.5}, "temperature 0"),
        ({"length_penalty": 1.0}, "length_penalty 1.0"),
        ({"temperature": 1.0, "length_penalty": 1.0}, "length_penalty 1.0"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        DecodingConfig(**settings)
