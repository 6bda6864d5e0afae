"""Training steps that keep the memory that they free, steps that give it back, and the published loop beside them.

Each is in processes of its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Literal

import torch

from callbacks.matrix_products import large_product
from callbacks.throughput import peak_memory
from datamodules.batch import TokenBatch
from datamodules.vocabulary import SPECIAL_TOKENS
from experiments.bench.published_steps import PublishedDAAE
from experiments.bench.timing import Row
from experiments.bench.training import (
    PAPER,
    PTB,
    Sizes,
    daae_products,
    in_buckets,
    made_daae,
    made_vae_avg,
    ptb_like,
    steps,
)
from experiments.memory import can_keep_freed_memory, keep_freed_memory
from lightning_modules.backbone.products import bfloat16_is_fast

Loop = Literal["fp32", "bf16-mixed", "published"]
Kind = tuple[Loop, bool]

DAAE = "DAAE training step, paper size"
SIZES = {DAAE: PAPER, "VAE-AVG training, L = 10, PTB's lengths": PTB}
BATCH = (64, 9)  # sentences and words of the DAAE's
TARGETS: dict[Loop, float] = {"fp32": 1.05, "bf16-mixed": 2.0}


def memory(sizes: Mapping[str, Sizes] = SIZES, repeats: int = 3, count: int = 6) -> list[Row]:
    """One row for each model; of the DAAE, too, in each precision beside the published loop, and its share of a rate.

    None where memory cannot be kept.

    Args:
        sizes: Of the models of `SIZES`.
        repeats: Processes of each kind, in turn.
        count: Runs of a process, of which the median counts.
    """
    if not can_keep_freed_memory():
        print("memory: left out, for freed memory cannot be kept, see experiments/memory.py", file=sys.stderr)
        return []
    rows = []
    for what, size in sizes.items():
        found = _measured_in_turn(what, size, repeats, count)
        before, after = found["fp32", False], found["fp32", True]
        note = f"{after['faults']:,.0f} page faults instead of {before['faults']:,.0f}"
        note += f"; at most {after['megabytes']:,.0f} MB instead of {before['megabytes']:,.0f}"
        told = f"{what}, in fp32, as `textae fit` has it; freed memory given back to the system"
        rows.append(Row(told, before["seconds"], after["seconds"], None, note))
        if what == DAAE:
            rows += _beside_the_published(found)
            told = f"{what}, in fp32, as `textae fit` has it; its matrix products alone at the rate of a large one"
            note = f"the ratio is the share of that rate, {after['rate'] / 1e9:.0f} GFLOP/s"
            rows.append(Row(told, daae_products(size, *BATCH) / after["rate"], after["seconds"], 0.88, note))
    return rows


def _measured_in_turn(what: str, size: Sizes, repeats: int, count: int) -> dict[Kind, dict[str, float]]:
    """Of each kind of loop, by whether it keeps memory: the medians over its processes."""
    found: dict[Kind, list[dict[str, float]]] = {("fp32", False): [], ("fp32", True): []}
    if what == DAAE:
        found["published", False] = []
        found["published", True] = []
        if bfloat16_is_fast():
            found["bf16-mixed", True] = []
    for _ in range(repeats):
        for (loop, keeps), runs in found.items():
            given = {"what": what, "sizes": asdict(size), "count": count, "loop": loop, "keeps": keeps}
            command = [sys.executable, "-m", "experiments.bench.memory", json.dumps(given)]
            ran = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.append(json.loads(ran.stdout.splitlines()[-1]))
    return {kind: _medians(runs) for kind, runs in found.items()}


def _beside_the_published(found: Mapping[Kind, Mapping[str, float]]) -> list[Row]:
    published = found["published", False]["seconds"]
    note = f"{found['published', True]['seconds']:.3f} s for the published loop where it keeps memory, too"
    return [
        Row(
            f"{DAAE}, in {loop}, as `textae fit` has it; the published loop in fp32, in a process left as it is",
            published,
            found[loop, True]["seconds"],
            target,
            note,
        )
        for loop, target in TARGETS.items()
        if (loop, True) in found
    ]


def measured(what: str, sizes: Mapping[str, int], count: int, loop: Loop, keeps: bool) -> dict[str, float]:
    """Of so many runs, the median seconds and page faults, the peak of memory, and a large product's rate.

    The product is made behind each run.
    """
    if keeps:
        keep_freed_memory()
    run = _run_of(what, Sizes(**sizes), loop)
    product, operations = large_product(torch.device("cpu"))
    found: list[dict[str, float]] = []
    for _ in range(2 + count):  # two warm up
        faults, start = _page_faults(), time.perf_counter()
        run()
        seconds, faults = time.perf_counter() - start, _page_faults() - faults
        start = time.perf_counter()
        product()
        found.append({"seconds": seconds, "faults": faults, "rate": operations / (time.perf_counter() - start)})
    return _medians(found[2:]) | {"megabytes": peak_memory(torch.device("cpu"))}


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _run_of(what: str, sizes: Sizes, loop: Loop) -> Callable[[], None]:
    if what != DAAE:
        return steps(made_vae_avg(sizes, samples=10), in_buckets(ptb_like(sizes.words, 4 * 32), 32))
    model = made_daae(sizes)
    batch = TokenBatch.from_ids(torch.randint(len(SPECIAL_TOKENS), sizes.words, BATCH).tolist())
    if loop == "published":
        published = PublishedDAAE(model).train()
        return lambda: published.step(batch)
    return steps(model, [batch], bf16=loop == "bf16-mixed")


def _medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: median(run[name] for run in runs) for name in runs[0]}


if __name__ == "__main__":
    print(json.dumps(measured(**json.loads(sys.argv[1]))))
