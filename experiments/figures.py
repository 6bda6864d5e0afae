"""Figures that say what they are, in rows of one model and columns of one quantity, kind and token convention each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# What a figure of a test is a figure of. Of one quantity there may be several, of different kinds.
QUANTITIES = {
    "nll": "nll",
    "negative_elbo": "nll",
    "nll_iw": "nll",
    "melbo": "nll",
    "nll_kl_once": "nll",
    "nll_iw_kl_once": "nll_iw",
    "perplexity": "perplexity",
    "perplexity_iw": "perplexity",
    "perplexity_melbo": "perplexity",
    "perplexity_kl_once": "perplexity",
    "perplexity_iw_kl_once": "perplexity_iw",
    "kl": "kl",
    "active_units": "active_units",
    "mutual_information": "mutual_information",
    "latent_entropy": "latent_entropy",
    "reconstruction_bleu": "reconstruction_bleu",
    "bleu_1_sampled_posterior": "bleu_1",
    "bleu_1_sampled_mean": "bleu_1",
}
# What stands for a quantity where a model, such as a deterministic autoencoder, has not what is named before it.
INSTEAD = ("bleu_1_sampled_mean",)
# What papers print of a model that is no likelihood, and of which kind it is. Their BLEU-1 is not a corpus'.
PUBLISHED_ONLY = ("sentence_bleu_1",)
OTHERS = {"kl": "part", "latent_entropy": "estimate", "sentence_bleu_1": "score"}
# How far an NLL is above the entropy floor of the same sentences; with these its columns come in this order.
GAP = "gap"
ORDER = ("nll", GAP, *dict.fromkeys(name for name in QUANTITIES.values() if name != "nll"), *PUBLISHED_ONLY)
# The kinds of a likelihood, in the order of their columns; `unstated` where a paper that quotes another does not say.
LIKELIHOODS = ("exact", "upper bound", "importance-weighted", "MELBO", "no bound", "unstated")
# These share a column, where each figure is marked; each of the others has its own.
BOUNDS = LIKELIHOODS[:2]


@dataclass(frozen=True)
class Column:
    """Where figures stand that may be compared.

    Attributes:
        quantity: One of `ORDER`.
        kind: The kind of all figures; empty where they are exact or bounds, or no likelihoods.
        convention: Which tokens count; none where that does not matter.
    """

    quantity: str
    kind: str
    convention: str | None


@dataclass(frozen=True)
class Figure:
    """A number and what it is.

    Attributes:
        quantity: One of `ORDER`.
        kind: One of `callbacks.quantities.Kind`, or unstated.
        convention: Which tokens count, by its name in `results/published.yaml`; none where that does not matter.
        value: Its mean over runs.
        std: Standard deviation over runs, where there are several.
        printed: As a paper prints it.
    """

    quantity: str
    kind: str
    convention: str | None
    value: float
    std: float | None = None
    printed: str | None = None

    @property
    def column(self) -> Column:
        """Where it stands."""
        own = self.kind in LIKELIHOODS and self.kind not in BOUNDS
        return Column(self.quantity, self.kind if own else "", self.convention)


@dataclass(frozen=True)
class Row:
    """A model on a corpus.

    Attributes:
        corpus: The name that its data module gives it.
        model: Its name and settings.
        figures: What is known of it; no two in one column.
        source: The paper and table; none for runs of ours.
        paper: The paper's key in `results/published.yaml`.
        seeds: Of runs of ours, one each.
        runs: How many runs the figures are means over, where that is known.
        notes: What else is to be known of the figures.
    """

    corpus: str
    model: str
    figures: tuple[Figure, ...]
    source: str | None = None
    paper: str | None = None
    seeds: tuple[int, ...] = ()
    runs: int | None = None
    notes: tuple[str, ...] = ()


def columns_of(rows: Iterable[Row]) -> list[Column]:
    """The columns in which some row has a figure: by convention, in the order of the rows; those without one last."""
    found = dict.fromkeys(figure.column for row in rows for figure in row.figures)
    conventions = list(dict.fromkeys(column.convention for column in found if column.convention is not None))
    kinds = ("", *LIKELIHOODS)

    def place(column: Column) -> tuple[int, int, int]:
        convention = len(conventions) if column.convention is None else conventions.index(column.convention)
        return convention, kinds.index(column.kind), ORDER.index(column.quantity)

    return sorted(found, key=place)
