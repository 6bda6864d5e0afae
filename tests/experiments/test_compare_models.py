"""`textae compare`: which runs are seeds of one model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def test_other_settings_and_other_corpora_are_other_rows(write_run: Command, compare: Command) -> None:
    for lr, value in ((0.1, 100.0), (0.1, 104.0), (0.2, 90.0)):
        write_run("svae_ptb", 0, {"model": {"init_args": {"lr": lr}}}, negative_elbo=(value, "upper bound"))
    write_run("svae_reviews", 0, negative_elbo=(17.0, "upper bound"))
    printed, rows = compare("--no-published")
    models = [(row["corpus"], row["model"], row["figures"][0]["value"]) for row in rows]
    expected = [("ptb", "svae_ptb lr=0.1", 102.0), ("ptb", "svae_ptb lr=0.2", 90.0), ("reviews", "svae_reviews", 17.0)]
    assert models == expected
    assert "Penn Treebank" in printed and "Kruengkrai" not in printed
    _, rows = compare("--corpus=reviews")
    assert [row["model"] for row in rows] == ["svae_reviews"]  # of which nothing is published


def test_a_test_with_other_settings_makes_another_row(write_run: Command, compare: Command) -> None:
    config: dict[str, Any] = {
        "seed_everything": 0,
        "model": {"init_args": {"lr": 0.1}},
        "data": {"init_args": {"subset": {"test": 3000}, "batching": {"eval_sentences": 256}}},
        "trainer": {"precision": "32-true"},
    }
    others: list[dict[str, Any]] = [
        {"data": {"init_args": {"subset": {"test": 5000}}}},
        {"model": {"init_args": {"eval_samples": 20}}},
        {"trainer": {"precision": "bf16-true", "logger": False}},
        {"seed_everything": 3},
        # These change no figure.
        {"data": {"init_args": {"subset": {"test": 3000, "train": 30_000}, "batching": {"eval_sentences": 1}}}},
        {"model": {"init_args": {"lr": 0.1, "optimizer": {"lr": 0.3}}}},
    ]
    write_run("svae_ptb", 0, config, nll=(100.0, "exact"))
    for other in others:
        folder = write_run("svae_ptb", other.get("seed_everything", 0), config, nll=(102.0, "exact"))
        (folder / "test_config.yaml").write_text(json.dumps(config | other))
    _, rows = compare("--no-published")
    assert [(row["model"], row["runs"], row["seeds"]) for row in rows] == [
        ("svae_ptb", 3, [0, 0, 0]),
        ("svae_ptb test.test=5000", 1, [0]),
        ("svae_ptb test.eval_samples=20", 1, [0]),
        ("svae_ptb test.precision=bf16-true", 1, [0]),
        ("svae_ptb test.seed_everything=3", 1, [0]),
    ]
    noted = [[note for note in row["notes"] if note.startswith("tested with another setting")] for row in rows]
    said = "tested with another setting than trained with: "
    expected = ["test 5000", "eval_samples 20", "precision bf16-true", "seed_everything 3"]
    assert noted == [[], *([said + each] for each in expected)]


def test_a_run_counts_once_however_its_folder_is_spelled(write_run: Command, textae: Command, tmp_path: Path) -> None:
    folder = write_run("lm_ptb", 0, nll=(100.0, "exact"))
    textae("compare", folder, folder / ".." / folder.name, "--no-published", f"--output={tmp_path / 'rows.json'}")
    [row] = json.loads((tmp_path / "rows.json").read_text())
    assert row["runs"] == 1


def with_callbacks(*classes: str, lr: float = 0.1, **trainer: Any) -> dict[str, Any]:
    callbacks = [{"class_path": name, "init_args": {"weight": "kl_weight", "end": 3}} for name in classes]
    return {"model": {"init_args": {"lr": lr}}, "trainer": {"callbacks": callbacks, **trainer}}


def test_what_only_measures_or_shows_makes_no_other_model(write_run: Command, compare: Command) -> None:
    schedule, measuring = "callbacks.LinearAnnealing", "callbacks.NeighborPurity"
    write_run("svae_ptb", 0, with_callbacks(schedule, accelerator="cpu"), nll=(100.0, "exact"))
    write_run("svae_ptb", 1, with_callbacks(measuring, schedule, enable_progress_bar=False), nll=(102.0, "exact"))
    write_run("svae_ptb", 2, with_callbacks(measuring), nll=(110.0, "exact"))
    _, rows = compare("--no-published")
    assert [(row["model"], row["runs"]) for row in rows] == [("svae_ptb weight=kl_weight end=3", 2), ("svae_ptb", 1)]


def test_leaving_out_batches_makes_another_model(write_run: Command, compare: Command) -> None:
    for seed, otherwise in enumerate(("stop", "stop", "skip")):
        callbacks = [{"class_path": "callbacks.FiniteLoss", "init_args": {"otherwise": otherwise}}]
        write_run("svae_ptb", seed, {"trainer": {"callbacks": callbacks}}, nll=(100.0, "exact"))
    _, rows = compare("--no-published")
    assert sorted(row["runs"] for row in rows) == [1, 2]


def test_an_option_that_only_one_run_has_makes_another_model(write_run: Command, compare: Command) -> None:
    config: dict[str, Any] = {"model": {"init_args": {"lr": 1}}}
    write_run("svae_ptb", 0, config, nll=(17.0, "exact"))
    write_run("svae_ptb", 1, {"model": {"init_args": {"lr": 1, "free_bits": 3}}}, nll=(22.0, "exact"))
    _, rows = compare("--no-published")
    assert [(row["model"], row["runs"]) for row in rows] == [("svae_ptb", 1), ("svae_ptb free_bits=3", 1)]


def test_a_model_without_a_posterior_has_its_codes_reconstructions(write_run: Command, compare: Command) -> None:
    write_run("vae_ptb", 0, bleu_1_sampled_mean=(0.5, "score"), bleu_1_sampled_posterior=(0.4, "score"))
    write_run("ae_ptb", 0, bleu_1_sampled_mean=(0.6, "score"))
    _, rows = compare("--no-published")
    found = {row["model"]: [(figure["quantity"], figure["value"]) for figure in row["figures"]] for row in rows}
    assert found == {"vae_ptb": [("bleu_1", 0.4)], "ae_ptb": [("bleu_1", 0.6)]}
