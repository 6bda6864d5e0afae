"""SLURM's signal finds ranks at different points; they save and answer at the end of one step."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from models import left_once, loader, plain, sentences, trainer
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.strategies import DDPStrategy

from callbacks import LastCheckpoint
from datamodules.bucketing import BatchingConfig
from lightning_modules import AdversariallyRegularizedAutoencoder, Autoencoder
from lightning_modules.checkpoint import read_checkpoint

BATCHES = 12  # of an epoch
NEVER = (None, None)


@dataclass(frozen=True)
class Case:
    """A fit, and where the signal comes.

    Attributes:
        answered: The step at whose end it is answered, if it is.
        training: After which training batch the signal comes to each rank.
        validation: After which validation batch, counted over the fit; a validation has one.
        options: Of the trainer.
        family: What is trained.
    """

    answered: int | None
    training: tuple[int | None, int | None] = NEVER
    validation: tuple[int | None, int | None] = NEVER
    options: tuple[tuple[str, Any], ...] = ()
    family: type = Autoencoder


CASES = {
    "never": Case(None),
    "to one rank": Case(7, (None, 7)),
    "to both, one after the other": Case(3, (3, 5)),
    "to one rank in a validation": Case(6, validation=(None, 1), options=(("val_check_interval", 0.5),)),
    "to one rank in the check before training": Case(1, validation=(1, None), options=(("num_sanity_val_steps", 1),)),
    "between steps of gradient accumulation": Case(2, (5, None), options=(("accumulate_grad_batches", 4),)),
    "in the fit's last step": Case(8, (None, 8), options=(("max_steps", 8),)),
    "to a family that steps by itself": Case(4, (4, None), family=AdversariallyRegularizedAutoencoder),
}


class Cluster(TorchElasticEnvironment, SLURMEnvironment):
    """Processes that the test starts, which take themselves for a job's."""

    def __init__(self) -> None:
        self.auto_requeue, self.requeue_signal = True, signal.SIGUSR1


class Sent(Callback):
    """Sends this process the signal after a batch."""

    def __init__(self, training: int | None, validation: int | None) -> None:
        self.left = {"training": training, "validation": validation}

    def on_train_batch_end(self, *_: Any) -> None:
        self._count("training")

    def on_validation_batch_end(self, *_: Any) -> None:
        self._count("validation")

    def _count(self, kind: str) -> None:
        left = self.left[kind]
        if left is not None:
            self.left[kind] = left - 1
            if left == 1:
                os.kill(os.getpid(), signal.SIGUSR1)


class Answers:
    """As Lightning's, which ends with all ranks waiting for each other; where there is one, Lightning leaves it be."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.saved: list[int] = []
        self.trainer: Trainer | None = None
        self.file = Path()

    def __call__(self, *_: Any) -> None:
        assert self.trainer is not None
        self.steps.append(self.trainer.global_step)
        self.trainer.strategy.barrier()
        if self.file.exists():
            self.saved.append(read_checkpoint(self.file)["global_step"])


def fit(rank: int, ranks: int, folder: Path, case: Case, **options: Any) -> Answers:
    answers = Answers()
    answers.file = folder / "last.ckpt"
    signal.signal(signal.SIGUSR1, answers)
    callbacks = [Sent(case.training[rank], case.validation[rank]), LastCheckpoint(str(folder))]
    fitting = trainer(max_epochs=1, callbacks=callbacks, enable_checkpointing=True, **dict(case.options), **options)
    answers.trainer = fitting
    text, batching = sentences(4 * BATCHES), BatchingConfig(sentences=4)
    data = [loader(text, batching, training=training, rank=rank, world_size=ranks) for training in (True, False)]
    fitting.fit(plain(case.family), *data)
    return answers


def train(rank: int, root: str) -> None:
    """Every case on one rank, each in a group of its own; leaves what was answered, or its error."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    for number, case in enumerate(CASES.values()):
        folder = Path(root, str(number))
        torch.distributed.init_process_group(
            "gloo", f"file://{root}/ranks{number}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
        )
        try:
            strategy = DDPStrategy(cluster_environment=Cluster(), process_group_backend="gloo")
            answers = fit(rank, 2, folder, case, strategy=strategy, devices=2)
            torch.save((answers.steps, answers.saved), folder / f"{rank}.pt")
        except Exception:
            (folder / f"{rank}.error").write_text(traceback.format_exc())
        torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes, started once for all cases, left of each."""

    def run(folder: Path) -> None:
        for number in range(len(CASES)):
            (folder / str(number)).mkdir()
        torch.multiprocessing.spawn(train, (str(folder),), nprocs=2)

    return left_once(tmp_path_factory, "signals", run)


@pytest.mark.parametrize("name", CASES)
def test_ranks_save_and_answer_together(name: str, ranks: Path) -> None:
    folder = ranks / str(list(CASES).index(name))
    expected = [] if CASES[name].answered is None else [CASES[name].answered]
    for rank in range(2):
        error = folder / f"{rank}.error"
        assert not error.exists(), error.read_text()
        assert torch.load(folder / f"{rank}.pt", weights_only=True) == (expected, expected)


@pytest.fixture
def signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("signals")
def test_one_rank_saves_before_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "GROUP_RANK"):
        monkeypatch.setenv(name, {"WORLD_SIZE": "1"}.get(name, "0"))
    answers = fit(0, 1, tmp_path, Case(5, (5, None)), plugins=[Cluster()])
    assert (answers.steps, answers.saved) == ([5], [5])


@pytest.mark.usefixtures("signals")
def test_without_slurm_the_signal_is_left_alone(tmp_path: Path) -> None:
    answers = fit(0, 1, tmp_path, Case(5, (5, None)))
    assert (answers.steps, answers.saved) == ([5], [])  # at once
