"""Experiments on the stand-in for a GPU."""

from __future__ import annotations

import importlib
import json
import traceback
import warnings
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import standin
import standin_training
import torch
import yaml
from models import VOCABULARY, needs_stand_in, sentences

from datamodules.batch import TokenBatch
from experiments.cli import main

Command = Callable[..., Any]
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
ON_STAND_IN = {
    "accelerator": {"class_path": "standin_training.StandIn"},
    "strategy": {
        "class_path": "pytorch_lightning.strategies.SingleDeviceStrategy",
        "init_args": {"device": f"{standin.NAME}:0"},
    },
    "callbacks": [
        {"class_path": "standin_training.WaitsInSteps"},
        {"class_path": "standin_training.Precisions"},
    ],
}
# The protocol but for what trains models on samples, whose dropout is the device's.
MEASURED = (
    "ImportanceWeightedNLL",
    "Melbo",
    "PerplexityConventions",
    "SentenceHistograms",
    "CrossHistograms",
    "Traversals",
    "NeighborhoodRecall",
)
SIZES = (
    *(f"--data.init_args.subset.{split}=48" for split in ("train", "valid", "test")),
    "--model.init_args.embedding.size=8",
    "--model.init_args.encoder.hidden_size=8",
    "--model.init_args.decoder.hidden_size=8",
    "--model.init_args.posterior.latent_size=4",
    "--data.init_args.batching.sentences=8",
    "--trainer.max_epochs=2",
    "--trainer.logger=false",
    *(f"--trainer.callbacks+=callbacks.{name}" for name in MEASURED),
)

pytestmark = [pytest.mark.slow, needs_stand_in]


def fit_on_a_stand_in(process: int, folder: str, command: list[str]) -> None:
    """Leaves, beside the run, where the steps waited for the device, and the precisions of products."""
    warnings.simplefilter("ignore")
    standin.register()
    with chdir(folder):
        main(command)
    left = {"waits": sorted(standin_training.WaitsInSteps.places), "precisions": standin_training.Precisions.found}
    Path(folder, "left.json").write_text(json.dumps(left))


def take_steps_on_a_stand_in(process: int, folder: str) -> None:
    """Leaves what each experiment's model waited for in a step of its objective, or how it failed."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    standin.register()
    batch, found = TokenBatch.from_ids(sentences(6)).to(f"{standin.NAME}:0"), {}
    for file in sorted(EXPERIMENTS.glob("*.yaml")):
        described = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("model")
        if described is None:
            continue
        package, _, name = described["class_path"].rpartition(".")
        family = getattr(importlib.import_module(package), name)
        standin.waits.clear()
        try:
            model = family(vocabulary=VOCABULARY, **described.get("init_args", {})).to(batch.inputs.device)
            standin.waits.clear()
            model.train().objective(batch).loss.mean().backward()
            model.eval().objective(batch)
            found[file.stem] = sorted({line.partition(":")[0] for line in standin.waits})
        except Exception:
            found[file.stem] = [traceback.format_exc()]
    Path(folder, "steps.json").write_text(json.dumps(found))


@pytest.mark.parametrize("name", ["svae_reviews", "daae_reviews"])
def test_figures_are_the_cpus_and_no_step_waits(
    name: str, textae: Command, quiet: tuple[str, ...], tmp_path: Path
) -> None:
    given = yaml.safe_load((EXPERIMENTS / "_default.yaml").read_text(encoding="utf-8"))["trainer"]["callbacks"]
    settings = ON_STAND_IN | {"callbacks": ON_STAND_IN["callbacks"] + given}
    (tmp_path / "device.yaml").write_text(yaml.safe_dump({"trainer": settings}))
    command = ["fit", "--config=device.yaml", f"--config={name}", *SIZES]
    torch.multiprocessing.spawn(fit_on_a_stand_in, (str(tmp_path), command), nprocs=1)
    left = json.loads((tmp_path / "left.json").read_text())
    assert left == {"waits": [], "precisions": {"train": "high", "test": "highest"}}
    [file] = (tmp_path / "runs").glob("*/*/test_metrics.json")
    found = json.loads(file.read_text())["metrics"]
    file.unlink()
    textae("test", "--run", file.parent, "--trainer.strategy=auto", *quiet)
    expected = json.loads(file.read_text())["metrics"]
    assert len(expected) > 40 and found.keys() == expected.keys()
    for figure, record in expected.items():
        numbers = {name: value for name, value in record.items() if isinstance(value, float)}
        assert found[figure] == record | {name: found[figure][name] for name in numbers}, figure
        assert {name: found[figure][name] for name in numbers} == pytest.approx(numbers, rel=1e-4, abs=1e-6), figure


def test_a_step_of_every_experiments_model_waits_for_nothing(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(take_steps_on_a_stand_in, (str(tmp_path),), nprocs=1)
    found = json.loads((tmp_path / "steps.json").read_text())
    assert len(found) > 50
    for name, waits in found.items():
        # MI-VAE reads a text that is written word by word.
        assert waits == (["lightning_modules/decoding/search.py"] if name.startswith("mi_vae") else []), name
