"""A training step with a vocabulary of 90,000 words: logits in parts, made twice, beside all of them at once."""

from __future__ import annotations

from collections.abc import Callable

import torch

from datamodules.batch import TokenBatch
from experiments.bench.timing import Row, medians, peak_megabytes
from experiments.bench.training import steps, vocabulary
from lightning_modules import LanguageModel
from lightning_modules.backbone import model as backbone
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig


def large_vocabulary(words: int = 90_000, sentences: int = 40, length: int = 114, repeats: int = 2) -> list[Row]:
    """One row; its note has by how much each raises the memory of the process.

    Args:
        words: Of the vocabulary, specials included.
        sentences: In the batch.
        length: Words of each, without EOS.
        repeats: Of which the median counts.
    """
    torch.manual_seed(0)
    decoder = DecoderConfig(hidden_size=256)
    model = LanguageModel(vocabulary=vocabulary(words), embedding=EmbeddingConfig(256), decoder=decoder)
    batch = TokenBatch.from_ids(torch.randint(5, words, (sentences, length)).tolist())
    step = steps(model, [batch])
    step()  # which makes the optimiser's memory
    ways = {"parts": _keeping(backbone.LOGITS_KEPT, step), "whole": _keeping(10**15, step)}
    megabytes = {name: peak_megabytes(run) for name, run in ways.items()}
    seconds = medians(ways, repeats)
    logits = len(batch.positions) * words / 1e6
    what = f"training step, {words:,} words, {len(batch.positions):,} tokens; all {logits:,.0f} million logits at once"
    note = f"memory +{megabytes['parts']:,.0f} MB; all at once +{megabytes['whole']:,.0f} MB more"
    return [Row(what, seconds["whole"], seconds["parts"], None, note)]


def _keeping(logits: int, step: Callable[[], None]) -> Callable[[], None]:
    """The step with another limit of the logits that are kept."""

    def run() -> None:
        usual, backbone.LOGITS_KEPT = backbone.LOGITS_KEPT, logits
        try:
            step()
        finally:
            backbone.LOGITS_KEPT = usual

    return run
