"""How fast a training is said to be, and what it held of memory."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.loggers import CSVLogger

import callbacks
from callbacks import Throughput
from callbacks.throughput import Work, peak_memory

Make = Callable[..., Any]


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Has each look at the clock come so many seconds behind the one before, on a machine of 1 GFLOP/s."""

    def tick(seconds: float) -> None:
        looks = count()
        monkeypatch.setattr("callbacks.throughput.time.perf_counter", lambda: next(looks) * seconds)
        monkeypatch.setattr("callbacks.throughput.matrix_rate", lambda *_: 1e9)

    return tick


@pytest.mark.parametrize(("every", "epochs"), [(4, 1), (12, 1), (8, 2)])
def test_throughput_counts_words_and_ends(
    fresh: Make, corpus: Make, trainer: Make, tmp_path: Path, ticking: Make, every: int, epochs: int
) -> None:
    ticking(0.5)  # half a second a batch
    data = corpus()  # 600 sentences in 12 batches of 50
    measure = Throughput(every_n_steps=every)
    trainer(
        measure,
        logger=CSVLogger(tmp_path, name="", version=""),
        max_epochs=epochs,
        limit_val_batches=0,
        log_every_n_steps=1,
    ).fit(fresh(data.vocabulary_json), datamodule=data)
    with (tmp_path / "metrics.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["train/tokens_per_second"]]
    logged = {int(row["step"]): float(row["train/tokens_per_second"]) for row in rows}
    assert min(logged) == every - 1
    assert {float(row["train/sentences_per_second"]) for row in rows} == {100.0}
    assert {float(row["train/data_wait_share"]) for row in rows} == {0.5}  # half a second between two of them
    assert min(float(row["train/peak_memory_mb"]) for row in rows) > 50
    words = epochs * sum(len(sentence.split()) + 1 for sentence in data.read_split("train")["text"])
    rates = [logged[step] for step in range(every - 1, 12 * epochs, every)]
    assert sum(rate * every * 0.5 for rate in rates) == pytest.approx(words, rel=1e-6)
    whole = measure.summary()
    assert whole["tokens_per_second"] == pytest.approx(words / (6 * epochs), abs=1e-3)
    assert whole["sentences_per_second"] == 100 and whole["data_wait_share"] == 0.5
    # Of linear and recurrent layers alone, the logits of real tokens only; each batch has its own padding.
    assert 0.01 < whole["matrix_product_share"] < 1 and whole["peak_memory_mb"] > 50


@pytest.mark.parametrize(
    ("every", "accumulate", "steps"), [(4, 1, [3, 7, 11, 15, 19, 23]), (3, 2, [2, 5, 8, 11]), (4, 5, [3]), (0, 1, [])]
)
def test_throughput_is_logged_whenever_the_trainer_logs(
    fresh: Make,
    corpus: Make,
    trainer: Make,
    tmp_path: Path,
    ticking: Make,
    monkeypatch: pytest.MonkeyPatch,
    every: int,
    accumulate: int,
    steps: list[int],
) -> None:
    ticking(1.0)  # a second a batch
    windows: list[float] = []
    rates = Work.rates
    monkeypatch.setattr(Work, "rates", lambda work, rate: windows.append(work.seconds) or rates(work, rate))
    data, measure, logger = corpus(), Throughput(), CSVLogger(tmp_path, name="", version="")
    options = {"log_every_n_steps": every, "accumulate_grad_batches": accumulate, "limit_val_batches": 0}
    # 12 batches an epoch, whose last one steps with those that there are.
    trainer(measure, logger=logger, max_epochs=2, **options).fit(fresh(data.vocabulary_json), datamodule=data)
    logger.save()
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines() if steps else []))
    assert [int(row["step"]) for row in rows if row["train/sentences_per_second"]] == steps
    ends = [step for step in range(24) if (step % 12 + 1) % accumulate == 0 or step % 12 == 11]
    logged = [ends[step] + 1 for step in steps]
    assert windows == [after - before for before, after in pairwise([0, *logged])]
    assert measure.summary()["sentences_per_second"] == 50.0


def test_throughput_counts_no_validation(
    fresh: Make, corpus: Make, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("callbacks.throughput.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("callbacks.throughput.matrix_rate", lambda *_: 1e9)

    class Passing(Callback):
        """Each batch takes a second, and each part of a validation a thousand."""

        def on_before_backward(self, *_: Any) -> None:
            clock[0] += 1

        def on_validation_start(self, *_: Any) -> None:
            clock[0] += 1000

        on_validation_batch_end = on_validation_end = on_validation_start  # type: ignore[assignment]  # of any arguments

    for order in ((Passing(), measure := Throughput()), (measure, Passing())):
        data = corpus()
        options = {"max_epochs": 2, "val_check_interval": 4}
        trainer(*order, **options).fit(fresh(data.vocabulary_json), datamodule=data)
        assert measure.summary()["data_wait_share"] == 0 and measure.summary()["sentences_per_second"] == 50.0


def test_the_peak_of_memory_is_not_that_of_the_process_before() -> None:
    held = bytearray(1_500_000_000)
    held[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(held[:: os.sysconf("SC_PAGE_SIZE")])  # or it would not be there
    code = "import torch; from callbacks.throughput import Work, peak_memory; print(peak_memory(torch.device('cpu')))"
    root = Path(callbacks.__file__).parents[1]
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert 50 < float(ran.stdout) < 1_200
    assert peak_memory(torch.device("cpu")) > 1_500
