"""SLURM's signal finds two ranks at different steps; they answer it at the same one."""

from __future__ import annotations

import os
import signal
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from models import loader, plain, sentences, trainer
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.strategies import DDPStrategy

from callbacks import LastCheckpoint
from callbacks.slurm_signal import EVERY
from datamodules.bucketing import BatchingConfig
from lightning_modules import Autoencoder

# The batches of an epoch, and those after which rank 0 and rank 1 get the signal, if they do.
BATCHES = 3 * EVERY
SENT = {"both": (3, EVERY + 4), "one": (None, 7), "none": (None, None)}
ANSWERED = {"both": EVERY + 1, "one": EVERY + 1, "none": None}


class Cluster(TorchElasticEnvironment, SLURMEnvironment):
    """Processes that the test starts, which take themselves for a job's."""

    def __init__(self) -> None:
        self.auto_requeue, self.requeue_signal = True, signal.SIGUSR1


class Sent(Callback):
    """Sends this process the signal after a batch."""

    def __init__(self, after: int | None) -> None:
        self.after = after

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == self.after:
            os.kill(os.getpid(), signal.SIGUSR1)


def train(rank: int, folder: str, name: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/ranks", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    answers = []
    # As Lightning's, which ends in a barrier; with one in place it leaves the signal to it.
    signal.signal(signal.SIGUSR1, lambda *_: (answers.append(fitting.global_step), fitting.strategy.barrier()))
    fitting = trainer(
        max_epochs=1,
        callbacks=[Sent(SENT[name][rank]), LastCheckpoint(folder)],
        enable_checkpointing=True,
        strategy=DDPStrategy(cluster_environment=Cluster(), process_group_backend="gloo"),
        devices=2,
    )
    batching = BatchingConfig(sentences=4)
    fitting.fit(plain(Autoencoder), loader(sentences(4 * BATCHES), batching, training=True, rank=rank, world_size=2))
    torch.save((answers, fitting.global_step), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", SENT)
def test_ranks_answer_together_and_go_on(name: str, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(train, (str(tmp_path), name), nprocs=2)
    for rank in range(2):
        answers, steps = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert answers == ([] if ANSWERED[name] is None else [ANSWERED[name]])
        assert steps == BATCHES
