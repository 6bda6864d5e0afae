"""The LSTM's own steps in bf16-mixed, beside PyTorch's LSTM on the same weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch

from datamodules.batch import TokenBatch
from datamodules.vocabulary import SPECIAL_TOKENS
from experiments.bench.timing import Row, medians
from experiments.bench.training import PAPER, Sizes, made_daae, steps
from lightning_modules.backbone import lstm as module
from lightning_modules.backbone.products import bfloat16_is_fast

Shape = tuple[int, int, int, int]  # sentences, steps, features of the input and of the state

SHAPES: tuple[Shape, ...] = ((64, 10, 512, 1024), (32, 60, 512, 1024), (256, 10, 512, 1024), (32, 20, 300, 512))


def lstm(shapes: Sequence[Shape] = SHAPES, sizes: Sizes = PAPER, repeats: int = 15) -> list[Row]:
    """One row for each shape, forward and backward, and one for a whole step of the DAAE. None without bfloat16."""
    if not bfloat16_is_fast():
        print("lstm: left out, for this processor does not compute in bfloat16", file=sys.stderr)
        return []
    rows = []
    for sentences, length, features, size in shapes:
        what = f"LSTM in bf16-mixed, {sentences} sentences, {length} steps, {features} to {size} features"
        rows.append(_row(what, _both_passes(sentences, length, features, size), repeats))
    ids = torch.randint(len(SPECIAL_TOKENS), sizes.words, (64, 9)).tolist()
    run = steps(made_daae(sizes), [TokenBatch.from_ids(ids)], bf16=True)
    return [*rows, _row("DAAE training step, paper size, in bf16-mixed", run, repeats)]


def _row(what: str, run: Callable[[], None], repeats: int) -> Row:
    seconds = medians({"theirs": lambda: _from(sys.maxsize, run), "ours": lambda: _from(1, run)}, repeats)
    return Row(f"{what}, by its own steps; by PyTorch's", seconds["theirs"], seconds["ours"])


def _from(large: int, run: Callable[[], None]) -> None:
    """Runs with own steps for states of so many features on."""
    before, module.LARGE = module.LARGE, large
    try:
        run()
    finally:
        module.LARGE = before


def _both_passes(sentences: int, length: int, features: int, size: int) -> Callable[[], None]:
    torch.manual_seed(0)
    network = module.LSTM(features, size, batch_first=True)
    x_BTE = torch.randn(sentences, length, features, requires_grad=True)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            states_BTH = network(x_BTE)[0]
        torch.autograd.backward(states_BTH, torch.ones_like(states_BTH))
        network.zero_grad()
        x_BTE.grad = None

    return run
