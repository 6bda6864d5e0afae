"""On a GPU: training at the papers' sizes beside the published loops, and importance weighting of a whole split."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch

from datamodules.batch import TokenBatch
from datamodules.vocabulary import SPECIAL_TOKENS
from experiments.bench.importance import estimate, made
from experiments.bench.published_steps import PublishedDAAE, mim_loss
from experiments.bench.timing import Row, medians
from experiments.bench.training import PAPER, PTB, Sizes, in_buckets, made_daae, made_smim, ptb_like, steps
from experiments.tensor_float32 import allow_tf32

YAHOO = Sizes(37_165, 512, 1024, 512)  # of Livne et al. (2020)
AIM, SECONDS = 5.0, 60.0


def accelerator(
    device: str = "cuda",
    daae: Sizes = PAPER,
    smim: Sizes = YAHOO,
    vae: Sizes = PTB,
    sentences: int = 3761,
    samples: int = 500,
    repeats: int = 3,
) -> list[Row]:
    """The rows; none where there is no GPU.

    Args:
        device: Where.
        daae: Sizes of the DAAE, which trains on batches of 256 sentences of 9 words.
        smim: Sizes of SentenceMIM, which trains on batches of 20 documents of 115 words in the mean.
        vae: Sizes of the VAE whose likelihood is estimated.
        sentences: Of the split for that; PTB's test split has 3,761.
        samples: K.
        repeats: Of which the median counts.
    """
    if device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU: the benchmark `accelerator` is left out", file=sys.stderr)
        return []
    allow_tf32(torch.device(device), False)  # the published loops, too, are in full float32
    lstm = made_daae(daae).to(device)
    words = torch.randint(len(SPECIAL_TOKENS), daae.words, (256, 9)).tolist()
    batch = TokenBatch.from_ids(words).to(device)
    published = PublishedDAAE(lstm).to(device).train()
    ways: dict[str, Callable[[], object]] = {
        "published": lambda: published.step(batch),
        "fp32": steps(lstm, [batch]),
        "TF32": _in_tf32(steps(lstm, [batch]), device),
        "bf16-mixed": steps(lstm, [batch], bf16=True),
    }
    rows = _training("DAAE training step, paper size", [batch], ways, repeats, device)
    gru = made_smim(smim).to(device)
    known = ptb_like(smim.words, 8 * 20, mean=115, most=200)
    padded = [TokenBatch.from_ids(known[start : start + 20]).to(device) for start in range(0, len(known), 20)]
    bucketed = [batch.to(device) for batch in in_buckets(known, 20)]
    ways = {
        "published": steps(gru, padded, loss=lambda batch: mim_loss(gru, batch)),
        "fp32": steps(gru, bucketed),
        "TF32": _in_tf32(steps(gru, bucketed), device),
        "bf16-mixed": steps(gru, bucketed, bf16=True),
    }
    rows += _training("sentenceMIM training, Yahoo's size, batch 20", padded, ways, repeats, device)
    model = made(vae.words, vae.hidden).to(device)
    split = [batch.to(device) for batch in in_buckets(ptb_like(vae.words, sentences), 64)]

    def weigh() -> None:
        for each in split:
            estimate(model, each, samples)

    taken = medians({"ours": weigh}, 1, device)["ours"]
    what = f"IW-NLL of {sentences:,} sentences of PTB's lengths, K = {samples}, in fp32; the time that is aimed at"
    return [*rows, Row(what, SECONDS, taken, 1.0)]


def _in_tf32(run: Callable[[], None], device: str) -> Callable[[], None]:
    """As `textae fit` trains in float32 on a GPU, but a CPU's products are left as they are."""

    def within() -> None:
        allow_tf32(torch.device(device), True)
        run()
        allow_tf32(torch.device(device), False)

    return within


def _training(
    what: str,
    batches: Sequence[TokenBatch],
    ways: dict[str, Callable[[], object]],
    repeats: int,
    device: str,
) -> list[Row]:
    for run in ways.values():
        run()  # which takes the memory
    seconds = medians(ways, repeats, device)
    tokens = sum(len(batch.positions) for batch in batches)
    return [
        Row(
            f"{what}, in {name}; the published loop in fp32",
            seconds["published"],
            taken,
            AIM,
            f"{tokens / taken:,.0f} tokens/s",
        )
        for name, taken in seconds.items()
        if name != "published"
    ]
