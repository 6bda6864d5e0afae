"""Importance-weighted NLL against the published loops, at the sizes of Kruengkrai (2019) on PTB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from callbacks.matrix_products import MatrixProducts, matrix_rate
from datamodules.batch import TokenBatch
from datamodules.vocabulary import SPECIAL_TOKENS
from experiments.bench.reference import loop_over_samples, one_at_a_time
from experiments.bench.timing import Row, medians, peak_megabytes
from experiments.bench.training import vocabulary
from lightning_modules import SentenceVAE
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.backbone.posterior import PosteriorConfig
from lightning_modules.likelihood import log_weights

MEMORY = 512.0


def importance(
    words: int = 10_000, hidden: int = 400, sentences: int = 32, length: int = 21, samples: int = 500, repeats: int = 3
) -> list[Row]:
    """The rows of the table.

    Args:
        words: Of the vocabulary, specials included.
        hidden: State size.
        sentences: In the batch.
        length: Words of each: the published code wants them equal, and PTB's have 21 on average.
        samples: K.
        repeats: Of each measurement, of which the median counts.
    """
    model = made(words, hidden)
    batch = TokenBatch.from_ids(torch.randint(len(SPECIAL_TOKENS), words, (sentences, length)).tolist())
    noise_BKZ = model.random(batch).normal("importance", samples, model.latent_size)
    found: dict[str, Tensor] = {}

    def published() -> None:
        found["published"] = loop_over_samples(model, batch, noise_BKZ)

    def fp32() -> None:
        found["fp32"] = estimate(model, batch, samples)

    def bf16() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            found["bf16"] = estimate(model, batch, samples)

    megabytes = peak_megabytes(fp32)
    seconds = medians({"published": published, "fp32": fp32, "bf16": bf16}, repeats)
    differences = {name: float(found[name].mean() - found["published"].mean()) for name in found}
    rows = [
        Row(
            f"IW-NLL, K = {samples}, in {name}; a loop of {samples} fp32 decodes of same-length batches",
            seconds["published"],
            seconds[name],
            target,
            f"mean NLL differs by {differences[name]:+.5f} nats a sentence",
        )
        for name, target in (("fp32", 1.15), ("bf16", 2.0))
        if name in seconds
    ]
    peak = f"+{megabytes:.0f} MB of {MEMORY:.0f} MB" if megabytes else "not measured, for something before took more"
    rows[0] = replace(rows[0], note=f"{rows[0].note}; peak memory {peak}")
    return [*rows, *_alone(model, batch, samples), *_alone(*_of_reviews(), samples)]


def estimate(model: SentenceVAE, batch: TokenBatch, samples: int) -> Tensor:
    """(B,) this framework's importance-weighted NLL."""
    with torch.inference_mode():
        return log_weights(model, batch, samples, MEMORY).nll()


def _of_reviews() -> tuple[SentenceVAE, TokenBatch]:
    """A model and sentences of the built-in corpus' size."""
    words = 565
    return made(words, 256), TokenBatch.from_ids(torch.randint(len(SPECIAL_TOKENS), words, (2, 9)).tolist())


def _alone(model: SentenceVAE, batch: TokenBatch, samples: int) -> list[Row]:
    """In fp32 and with bf16 products, of two sentences, since it is slow."""
    noise_BKZ = model.random(batch).normal("importance", samples, model.latent_size)
    words = [row[:-1] for row in batch.targets[:2].tolist()]
    found: dict[str, Tensor] = {}

    def one() -> None:
        alone = [TokenBatch.from_ids([row]) for row in words]
        found["one"] = one_at_a_time(model, alone, noise_BKZ[:2])

    def fp32() -> None:
        found["fp32"] = estimate(model, TokenBatch.from_ids(words), samples)

    def bf16() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            found["bf16"] = estimate(model, TokenBatch.from_ids(words), samples)

    seconds = medians({"one": one, "fp32": fp32, "bf16": bf16}, 1)
    least = _products(model, fp32) / matrix_rate(torch.device("cpu"))
    size = f"{model.vocabulary.get_vocab_size():,} words, {len(words[0])} a sentence"
    rows = []
    for name in (each for each in ("fp32", "bf16") if each in seconds):
        what = f"IW-NLL, K = {samples}, in {name}, {size}; one sentence and one sample at a time in fp32"
        note = f"NLL differs by {float((found['one'] - found[name]).abs().max()):.5f} nats at most"
        if name == "fp32":
            note += f"; {seconds['one'] / least:.1f} at the rate of large fp32 products"
        rows.append(Row(what, seconds["one"], seconds[name], 10.0, note))
    return rows


def _products(model: SentenceVAE, run: Callable[[], None]) -> float:
    """Floating-point operations of its matrix products."""
    products = MatrixProducts(model)
    run()
    products.stop()
    return products.operations


def made(words: int, hidden: int, family: type[SentenceVAE] = SentenceVAE) -> SentenceVAE:
    """A sentence VAE of so many words, specials included, with random weights."""
    torch.manual_seed(0)
    model = family(
        vocabulary=vocabulary(words),
        embedding=EmbeddingConfig(size=100, shared=False),
        encoder=EncoderConfig(hidden_size=hidden),
        posterior=PosteriorConfig(latent_size=32),
        decoder=DecoderConfig(hidden_size=hidden, latent=("state", "concat")),
    )
    return model.eval()
