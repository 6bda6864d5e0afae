"""The figures of a test: what is logged of each, and how they are read back."""

from __future__ import annotations

import math
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from callbacks.floor import is_below
from callbacks.quantities import LIKELIHOODS, quantity_of
from lightning_modules import TextModel
from lightning_modules.metrics.perplexity import DEFAULT_CONVENTION

Figure = dict[str, Any]
Figures = dict[str, Figure]
# What may be logged beside a figure, as `test/<figure>/<note>`: errors, of how many it is, what else defines it.
ERRORS = ("error", "monte_carlo_error")
COUNTS = ("sentences", "samples")
NOTES = (*ERRORS, *COUNTS, "effective_samples", "bf16_products", "neighbors", "threshold", "floor")


def log_figure(module: LightningModule, name: str, value: Any, **notes: float | None) -> None:
    """Logs a figure that the first rank alone measures, and what is to be known of it.

    Args:
        module: The model.
        name: Without `test/`.
        value: The figure.
        notes: Of `NOTES`: `sentences` of which it is a figure, where these are not the test's; `samples` drawn of each,
            or of the prior in all; `neighbors` and `threshold` that define it; its errors; its own `floor`.
    """
    for note, noted in {"": value, **notes}.items():
        if noted is not None:
            module.log(f"test/{name}" + (f"/{note}" if note else ""), float(noted), rank_zero_only=True)


def read_figures(trainer: Trainer, model: TextModel, sentences: int) -> Figures:
    """Each figure by its name: its notes, kind, convention and meaning, and a likelihood's gap to the floor."""
    values = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
    notes = {name: name.rpartition("/") for name in values}
    figures: Figures = {}
    for name, value in values.items():
        if notes[name][2] in NOTES and notes[name][0] in values:
            continue
        known = quantity_of(name.removeprefix("test/"), model.perplexities)
        figures[name] = {"value": value, "sentences": sentences}
        for note in NOTES:
            noted = values.get(f"{name}/{note}", math.nan)
            if math.isfinite(noted):  # one sentence alone has no error
                figures[name][note] = _as_given(note, noted)
        figures[name] |= {"kind": known.kind} | ({"convention": known.convention} if known.convention else {})
        figures[name]["meaning"] = known.meaning
    _compare_with_floor(figures, model)
    return figures


def _as_given(note: str, noted: float) -> float | bool:
    """What somebody chose, without what float32, in which Lightning keeps it, added."""
    if note == "bf16_products":
        return bool(noted)
    if note in (*COUNTS, "neighbors"):
        return int(noted)
    return float(f"{noted:.6g}") if note == "threshold" else noted


def _compare_with_floor(figures: Figures, model: TextModel) -> None:
    """Adds to each likelihood its gap to the entropy floor of the same sentences, and whether chance allows it.

    A perplexity has the gap, in nats a sentence, of what it is made of; one in another convention has none.
    """
    for name, figure in figures.items():
        quantity = name.removeprefix("test/")
        nats = figures.get(f"test/{_nats_of(quantity, model)}")
        counted = figure["kind"] in LIKELIHOODS and figure.get("convention") == DEFAULT_CONVENTION
        if nats is None or quantity == "floor" or not counted:
            continue
        same = figures.get("test/floor")
        floor = nats["floor"] if "floor" in nats else same["value"] if same is not None else None
        if floor is not None and math.isfinite(nats["value"]):
            figure["gap"] = nats["value"] - floor
            figure["below_floor"] = is_below(figure["gap"], nats["sentences"], nats.get("monte_carlo_error"))


def _nats_of(quantity: str, model: TextModel) -> str:
    """The figure in nats a sentence of which a perplexity is made; any other is one itself."""
    if not quantity.startswith(("perplexity", "conditional_perplexity")):
        return quantity
    ending = quantity.removeprefix("perplexity_")
    others = {"iw": "nll_iw", "iw_kl_once": "nll_iw_kl_once", "melbo": "melbo"}
    return model.perplexities.get(quantity, others.get(ending, quantity))
