"""How often the bar of a training is drawn, and that nothing else is measured where nobody asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.profilers import SimpleProfiler

from callbacks import ProgressBar, Unprofiled

Make = Callable[..., Any]


@pytest.fixture
def fit(fresh: Make, corpus: Make, trainer: Make) -> Make:
    """An epoch of 600 sentences in 12 batches of 50; its model is returned."""

    def run(*callbacks: Any, **options: Any) -> Any:
        data = corpus()
        model = fresh(data.vocabulary_json)
        trainer(*callbacks, max_epochs=1, limit_val_batches=0, **options).fit(model, datamodule=data)
        return model

    return run


@pytest.mark.parametrize(
    ("rate", "between", "drawn"),
    [(5, 0.06, [0, 4, 8, 11]), (None, 0.15, [0, 4, 8, 11]), (5, 1.0, [*range(12)]), (1, 0.0, [0, 11])],
)
def test_the_bar_is_drawn_so_often_a_second_and_at_the_end(
    rate: int | None, between: float, drawn: list[int], fit: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, shown = [100.0], []
    monkeypatch.setattr("callbacks.progress_bar.time.monotonic", lambda: now[0])
    monkeypatch.setattr(RichProgressBar, "on_train_batch_end", lambda *given: shown.append(given[-1]))

    class Passing(ProgressBar):
        def on_train_batch_end(self, *given: Any) -> None:
            now[0] += between
            super().on_train_batch_end(*given)

    fit(Passing() if rate is None else Passing(rate), enable_progress_bar=True)  # twice a second by itself
    assert shown == drawn


def test_the_bar_ends_at_the_last_batch(fit: Make) -> None:
    seen: list[float] = []

    class Noted(ProgressBar):
        def on_train_epoch_end(self, *given: Any) -> None:
            assert self.progress is not None
            seen.extend(task.completed for task in self.progress.tasks)
            super().on_train_epoch_end(*given)

    fit(Noted(), enable_progress_bar=True)
    assert seen == [12]


def test_a_fit_is_the_same_profiled_or_not(fit: Make) -> None:
    losses = [float(fit(profiler=each).last_loss) for each in (Unprofiled(), None, SimpleProfiler())]
    assert losses[0] == losses[1] == losses[2]


def test_nothing_is_measured_around_a_call() -> None:
    with Unprofiled().profile("[Callback]Summary.on_fit_start") as action:
        assert action is None
