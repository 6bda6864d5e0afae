"""The last word of a test: its figures in the terminal and in a file."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from rich.console import Console
from rich.table import Table

from callbacks.latents import corpus_of
from callbacks.provenance import provenance
from callbacks.tables import run_folder
from lightning_modules import TextModel

MEANING = {
    "test/nll": "-log p(x), exact; nats a sentence, EOS counted",
    "test/perplexity": "exp(nats a token) of -log p(x) or its bound; EOS in both, BOS in neither, words as given",
    "test/negative_elbo": "upper bound on -log p(x); nats a sentence, EOS counted",
    "test/nll_kl_once": "the paper's: reconstruction and one KL of several latents; no bound under N(0, I)",
    "test/perplexity_kl_once": "of it, as the paper has it; no bound",
    "test/conditional_perplexity": "of -log p(x|z) alone; no bound",
    "test/mim_loss": "-log p(x|z) - (log q(z|x) + log p(z)) / 2, nats a sentence",
    "test/kl": "KL(q(z|x) || N(0, I)), nats a sentence",
    "test/wasserstein": "the critic's f(z) - f(G(s))",
    "test/active_units": "dimensions whose posterior mean varies by more than the threshold",
    "test/mutual_information": "I(x; z) with the split's aggregate posterior, nats",
    "test/mutual_information_ceiling": "ln of the split's size, which it cannot exceed",
    "test/reconstruction": "-log p(x|z), z from the posterior; nats a sentence, EOS counted",
    "test/reconstruction_bleu": "BLEU-4 of greedy reconstructions from the posterior's mean; <unk> counts as a word",
    "test/reconstruction_exact": "share of sentences that come back word for word",
    "test/prior_grammatical": "share of greedy prior samples in the grammar's language",
    "test/prior_grammatical_sampled": "the same of sampled ones",
    "test/tense_accuracy": "share of present sentences that + tense vector puts into the past",
    "test/tense_bleu": "BLEU-4 of these against each sentence's own past form",
    "test/tense_copy_bleu": "baseline: BLEU-4 of copying the input (its accuracy is 0)",
    "test/adversarial": "-log D(z), nats (ln 2 = 0.69 where D cannot tell)",
    "test/discriminator": "-log D(z') - log(1 - D(z)), nats (2 ln 2 = 1.39 where D cannot tell)",
    "test/log_variance": "sum over dimensions of |log sigma^2|",
    "test/knn_purity": "share of the nearest neighbours in z that have the same label",
}


class Summary(Callback):
    """Prints a table of a test's figures and where the run's files are; writes `test_metrics.json`.

    The file also says where the figures come from: corpus, seed, checkpoint, commit, versions, hardware and, after a
    fit, how long that took and the best value of the monitor, by which settings may be chosen.
    """

    def __init__(self) -> None:
        self.started: float | None = None
        self.fit_seconds: float | None = None
        self.best: float | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self.started = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        if self.started is not None:
            self.fit_seconds = round(time.perf_counter() - self.started, 1)
        checkpoint = trainer.checkpoint_callback
        if isinstance(checkpoint, ModelCheckpoint) and checkpoint.best_model_score is not None:
            self.best = float(checkpoint.best_model_score)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints and writes."""
        assert isinstance(pl_module, TextModel)
        if not trainer.is_global_zero:
            return
        figures = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
        corpus = corpus_of(trainer)
        record = {
            "corpus": corpus.corpus,
            "sentences": len(corpus.split("test")),
            "seed": pl_module.seed,
            "experiment": Path(trainer.default_root_dir).parent.name,
            "model": type(pl_module).__name__,
            "checkpoint": Path(trainer.ckpt_path).name if trainer.ckpt_path else None,
            "fit_seconds": self.fit_seconds,
            "validation": {pl_module.monitor: self.best},
            **provenance(pl_module.device),
            "metrics": figures,
        }
        file = run_folder(trainer, "test_metrics.json")
        if self.fit_seconds is None:
            record |= _of_the_fit(file)
        file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        table = Table(title=f"{corpus.corpus}: {record['sentences']:,} test sentences")
        table.add_column("quantity")
        table.add_column("value", justify="right")
        table.add_column("what it is")
        for name, value in figures.items():
            table.add_row(name, f"{value:.4f}", MEANING.get(name, ""))
        console = Console()
        console.print(table)
        _print_files(console, file.parent)


def _print_files(console: Console, folder: Path) -> None:
    shown = [file for part in ("samples", "plots", "checkpoints") for file in sorted((folder / part).glob("*"))]
    console.print(f"run folder: {folder}", soft_wrap=True)
    console.print("  " + "  ".join(str(file.relative_to(folder)) for file in shown), soft_wrap=True)
    offline = sorted((folder / "wandb").glob("offline-run-*"))
    if offline:
        wandb = Path(sys.executable).with_name("wandb")
        hint = f"look with `{wandb} leet {offline[-1]}`, sync with `{wandb} sync {offline[-1]}`"
        console.print(f"W&B was offline: {hint}", soft_wrap=True)


def _of_the_fit(file: Path) -> dict[str, Any]:
    """What an earlier test of the run noted; a later one did not see the fit."""
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: noted[name] for name in ("fit_seconds", "validation") if name in noted}
