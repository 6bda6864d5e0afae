"""Training steps against the published loops, at the papers' sizes and at a small one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from callbacks.matrix_products import large_product
from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig, BucketSampler
from datamodules.vocabulary import SPECIAL_TOKENS, VocabularyConfig, build_vocabulary
from experiments.bench.published_steps import PublishedDAAE, averaged_loss, mim_loss
from experiments.bench.timing import Row, medians
from lightning_modules import AdversarialAutoencoder, AveragingVAE, SentenceMIM, TextModel
from lightning_modules.aae import AdversaryConfig
from lightning_modules.backbone.corruption import CorruptionConfig
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.backbone.posterior import PosteriorConfig
from lightning_modules.optimization import OptimizerConfig, make_optimizer

Loss = Callable[[TokenBatch], Tensor]


@dataclass(frozen=True)
class Sizes:
    """Of a model.

    Attributes:
        words: V, specials included.
        embedding: E.
        hidden: H, of encoder and decoder.
        latent: Z.
    """

    words: int
    embedding: int
    hidden: int
    latent: int


PAPER = Sizes(10_000, 512, 1024, 128)  # of Shen et al. (2020), on Yelp
PTB = Sizes(10_000, 100, 400, 32)  # of Kruengkrai (2019)
MIM_512 = Sizes(10_000, 300, 512, 512)  # of Livne et al. (2020), on PTB


def daae(repeats: int = 9) -> list[Row]:
    """The DAAE at the paper's size and at a small one."""
    small = Sizes(565, 128, 256, 32)
    return [
        *daae_step("paper size", PAPER, sentences=64, length=9, repeats=repeats, targets=(1.05, 2.0, 0.88)),
        *daae_step("small", small, sentences=64, length=9, repeats=2 * repeats, targets=(None, None, None)),
    ]


def daae_step(
    name: str,
    sizes: Sizes,
    sentences: int,
    length: int,
    repeats: int,
    targets: tuple[float | None, float | None, float | None],
) -> list[Row]:
    """Fp32 and bf16-mixed against the published loop, and fp32 against the rate of matrix products alone."""
    model = made_daae(sizes)
    published = PublishedDAAE(model).train()
    batch = TokenBatch.from_ids(torch.randint(len(SPECIAL_TOKENS), sizes.words, (sentences, length)).tolist())
    product, operations = large_product(torch.device("cpu"))
    seconds = medians(
        {
            "published": lambda: published.step(batch),
            "fp32": steps(model, [batch]),
            "product": product,
            "bf16-mixed": steps(model, [batch], bf16=True),
        },
        repeats,
    )
    what = f"DAAE training step, {name}, in {{}}; the published loop in fp32"
    tokens = len(batch.positions)
    rows = [
        Row(what.format(kind), seconds["published"], seconds[kind], target, f"{tokens / seconds[kind]:,.0f} tokens/s")
        for kind, target in zip(("fp32", "bf16-mixed"), targets, strict=False)
        if kind in seconds
    ]
    least = daae_products(sizes, sentences, length) * seconds["product"] / operations
    what = f"DAAE training step, {name}, in fp32; its matrix products alone at the rate of a large one of PyTorch's"
    return [
        *rows,
        Row(
            what,
            least,
            seconds["fp32"],
            targets[2],
            f"the ratio is the share of that rate, {operations / seconds['product'] / 1e9:.0f} GFLOP/s",
        ),
    ]


def sentence_mim(sizes: Sizes = MIM_512, batches: int = 30, repeats: int = 3, sentences: int = 20) -> list[Row]:
    """SentenceMIM on sentences of PTB's lengths: the published loop pads random batches, ours are bucketed."""
    model = made_smim(sizes)
    known = ptb_like(sizes.words, batches * sentences)
    padded = [TokenBatch.from_ids(known[start : start + sentences]) for start in range(0, len(known), sentences)]
    bucketed = in_buckets(known, sentences)
    seconds = medians(
        {
            "published": steps(model, padded, loss=lambda batch: mim_loss(model, batch)),
            "fp32": steps(model, bucketed),
            "bf16-mixed": steps(model, bucketed, bf16=True),
        },
        repeats,
    )
    tokens = sum(len(batch.positions) for batch in padded)
    note = f"{tokens / seconds['published']:,.0f} real tokens/s"
    return [
        Row(
            f"sentenceMIM-512 training, batch {sentences}, PTB's lengths, in {kind}; the published loop in fp32",
            seconds["published"],
            seconds[kind],
            target,
            f"{tokens / seconds[kind]:,.0f} real tokens/s; {note}",
        )
        for kind, target in (("fp32", 2.0), ("bf16-mixed", 3.5))
        if kind in seconds
    ]


def vae_avg(
    sizes: Sizes = PTB, samples: int = 10, repeats: int = 3, batches: int = 20, sentences: int = 32
) -> list[Row]:
    """VAE-AVG against as many decoder passes in a loop over random batches, padded; ours are bucketed."""
    model = made_vae_avg(sizes, samples)
    known = ptb_like(sizes.words, batches * sentences)
    padded = [TokenBatch.from_ids(known[start : start + sentences]) for start in range(0, len(known), sentences)]
    seconds = medians(
        {
            "loop": steps(model, padded, loss=lambda batch: averaged_loss(model, batch)),
            "ours": steps(model, in_buckets(known, sentences)),
        },
        repeats,
    )
    what = f"VAE-AVG training, L = {samples}, PTB's lengths, in fp32; {samples} decoder passes in a loop, padded"
    return [Row(what, seconds["loop"], seconds["ours"], 2.0)]


def steps(
    model: TextModel, batches: Sequence[TokenBatch], loss: Loss | None = None, bf16: bool = False
) -> Callable[[], None]:
    """Training steps over the batches, see `bare_step`."""
    step = bare_step(model, loss, bf16)

    def run() -> None:
        model.train()
        for batch in batches:
            step(batch)

    return run


def bare_step(model: TextModel, loss: Loss | None = None, bf16: bool = False) -> Callable[[TokenBatch], None]:
    """A training step without Lightning, by the family's own objective unless another loss is given."""
    kind = model.device.type
    optimizer = make_optimizer(
        model.parameter_groups(), OptimizerConfig(lr=1e-4), fused=loss is None and model.fuses_steps()
    )

    def step(batch: TokenBatch) -> None:
        optimizer.zero_grad()
        with torch.autocast(kind, torch.bfloat16, enabled=bf16):
            value = model.objective(batch).loss.mean() if loss is None else loss(batch)
        torch.autograd.backward(value)
        optimizer.step()

    return step


def made_daae(sizes: Sizes, dropout: float = 0.5, drop: float = 0.3) -> AdversarialAutoencoder:
    """A DAAE with the architecture of Shen et al. (2020)."""
    torch.manual_seed(0)
    return AdversarialAutoencoder(
        vocabulary=vocabulary(sizes.words),
        embedding=EmbeddingConfig(sizes.embedding),
        encoder=EncoderConfig(hidden_size=sizes.hidden, direction="bidirectional", dropout=dropout),
        posterior=PosteriorConfig(latent_size=sizes.latent),
        decoder=DecoderConfig(hidden_size=sizes.hidden, latent=("add",), dropout=dropout, output_dropout=dropout),
        corruption=CorruptionConfig(drop=drop),
        adversary=AdversaryConfig(weight=10.0, hidden_size=512),
    )


def made_reviews_daae(words: str) -> AdversarialAutoencoder:
    """The model of the experiment `daae_reviews`, of a vocabulary's JSON."""
    torch.manual_seed(0)
    return AdversarialAutoencoder(
        vocabulary=words,
        embedding=EmbeddingConfig(128),
        encoder=EncoderConfig(hidden_size=256, direction="bidirectional"),
        posterior=PosteriorConfig(latent_size=32),
        decoder=DecoderConfig(hidden_size=256, latent=("add",), max_words=20),
        corruption=CorruptionConfig(drop=0.3),
        adversary=AdversaryConfig(weight=1.0),
    )


def made_smim(sizes: Sizes) -> SentenceMIM:
    """A SentenceMIM with the architecture of Livne et al. (2020)."""
    torch.manual_seed(0)
    return SentenceMIM(
        vocabulary=vocabulary(sizes.words),
        embedding=EmbeddingConfig(sizes.embedding),
        encoder=EncoderConfig(cell="gru", hidden_size=sizes.hidden, direction="reversed"),
        posterior=PosteriorConfig(latent_size=sizes.latent, min_log_variance=-10),
        decoder=DecoderConfig(cell="gru", hidden_size=sizes.hidden, latent=("state", "concat"), dropout=0.5),
    )


def made_vae_avg(sizes: Sizes, samples: int) -> AveragingVAE:
    """A VAE-AVG with the architecture of Kruengkrai (2019), without dropout."""
    torch.manual_seed(0)
    return AveragingVAE(
        samples=samples,
        vocabulary=vocabulary(sizes.words),
        embedding=EmbeddingConfig(sizes.embedding, shared=False),
        encoder=EncoderConfig(hidden_size=sizes.hidden),
        posterior=PosteriorConfig(latent_size=sizes.latent),
        decoder=DecoderConfig(hidden_size=sizes.hidden, latent=("state", "concat")),
    )


def vocabulary(words: int) -> str:
    """The JSON of a vocabulary of so many words, specials included."""
    text = " ".join(f"w{number}" for number in range(words - len(SPECIAL_TOKENS)))
    return build_vocabulary([text], VocabularyConfig()).to_str()


def ptb_like(words: int, count: int, seed: int = 0, mean: int = 21, most: int = 80) -> list[list[int]]:
    """Sentences of 2 to 80 words, 21 in the mean with a standard deviation of 10, as in PTB, or of another mean."""
    rng = np.random.default_rng(seed)
    lengths = rng.gamma(4.4, mean / 4.4, size=count).round().clip(2, most).astype(np.int64)
    return [rng.integers(len(SPECIAL_TOKENS), words, size=length).tolist() for length in lengths]


def in_buckets(sentences: Sequence[Sequence[int]], size: int) -> list[TokenBatch]:
    """This framework's batches of an epoch."""
    lengths = np.array([len(sentence) for sentence in sentences], dtype=np.int32)
    sampler = BucketSampler(lengths, BatchingConfig(sentences=size), training=True, rank=0, world_size=1)
    return [TokenBatch.from_ids([sentences[row] for row in rows]) for rows in sampler.global_batches()]


def daae_products(sizes: Sizes, sentences: int, length: int) -> float:
    """Floating-point operations of a step's matrix products: 2 for each weight and token forward, twice that back."""
    recurrent = 4 * sizes.hidden * (sizes.embedding + sizes.hidden)
    per_token = 3 * recurrent + sizes.hidden * sizes.words
    per_sentence = 4 * sizes.hidden * sizes.latent + sizes.latent * sizes.embedding
    return 6.0 * sentences * ((length + 1) * per_token + per_sentence)
