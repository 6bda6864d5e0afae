"""`experiments/results/published.yaml`: what papers print, as they print it."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import get_args

import pytest

import datamodules
import experiments
from callbacks.quantities import EOS_IN_BOTH, Kind
from experiments.figures import LIKELIHOODS, OTHERS, columns_of
from experiments.published import FILE, content, published_rows
from lightning_modules.metrics.perplexity import CONVENTIONS

ROOT = Path(experiments.__file__).parent.parent
CONTENT = content()
# Typed from the papers: corpus, source, model, convention, {(quantity, kind): (value, standard deviation)}.
TYPED = [
    ("ptb", "Bowman et al. 2016, table 2", "VAE z=13 decoder=standard", "bowman_unresolved",
     {("nll", "upper bound"): (101, None), ("perplexity", "upper bound"): (119, None), ("kl", "part"): (2, None)}),
    ("ptb", "Xu & Durrett 2018, in Kruengkrai 2019, table 2a", "LSTM-LM decoder=standard", "xu_durrett_unresolved",
     {("nll", "exact"): (100, None), ("perplexity", "exact"): (114, None)}),
    ("ptb", "Kruengkrai 2019, table 2a and 3", "LSTM-LM decoder=standard", "eos_in_both",
     {("nll", "exact"): (100.8, 0.2), ("perplexity", "exact"): (99.4, 0.7)}),
    ("ptb", "Kruengkrai 2019, table 2a and 3", "LSTM-VAE z=32 L=1 decoder=standard", "eos_in_both",
     {("nll", "upper bound"): (102.5, 0.2), ("nll", "importance-weighted"): (102.1, 0.2),
      ("perplexity", "upper bound"): (107.5, 1.0), ("kl", "part"): (1.5, 0.3)}),
    ("ptb", "Kruengkrai 2019, table 2a and 3", "LSTM-VAE z=32 L=5 decoder=standard", "eos_in_both",
     {("nll", "upper bound"): (100.7, 0.3), ("perplexity", "upper bound"): (98.8, 1.2), ("kl", "part"): (2.1, 0.4)}),
    ("ptb", "Kruengkrai 2019, table 2a and 3", "LSTM-VAE-AVG z=32 L=10 decoder=standard", "eos_in_both",
     {("nll", "no bound"): (94.3, 0.4), ("perplexity", "no bound"): (73.8, 1.5), ("nll_iw", "no bound"): (91.7, 0.5),
      ("kl", "part"): (8.1, 0.2)}),
    ("ptb", "Livne et al. 2020, table 2", "sMIM z=512", "tweet_words_plus_1",
     {("nll", "MELBO"): (67.46, None), ("perplexity", "MELBO"): (19.53, 0.01),
      ("sentence_bleu_1", "score"): (0.679, None)}),
    ("yahoo", "He et al. 2019, in Kruengkrai 2019, table 3; KL: Livne et al. 2020, table 4",
     "LSTM-VAE-AIN+anneal (Lagging VAE) z=32", "eos_in_both",
     {("nll", "upper bound"): (328.4, 0.2), ("nll", "importance-weighted"): (326.7, 0.1), ("kl", "part"): (5.7, None)}),
    ("yahoo", "Kim et al. 2018, in Kruengkrai 2019, table 2b", "SA-VAE z=32", "eos_in_both",
     {("nll", "upper bound"): (327.5, None), ("perplexity", "upper bound"): (60.4, None), ("kl", "part"): (7.2, None)}),
    ("yelp15", "Livne et al. 2020, table 3", "sVAE+kl z=32", "tweet_words_plus_1",
     {("nll", "upper bound"): (433.49, None), ("perplexity", "upper bound"): (78.53, 0.01),
      ("nll", "MELBO"): (410.83, None), ("perplexity", "MELBO"): (62.51, 0.01), ("kl", "part"): (31.86, None),
      ("sentence_bleu_1", "score"): (0.274, None)}),
    ("yelp15", "Livne et al. 2020, table 6", "AE z=512", "tweet_words_plus_1",
     {("latent_entropy", "estimate"): (917.0, None)}),
    ("yahoo", "Livne et al. 2020, table 7", "AE z=1024", "tweet_words_plus_1",
     {("sentence_bleu_1", "score"): (0.394, None)}),
    ("wikitext103", "Livne et al. 2020, table 5", "sMIM z=1024", "tweet_words_plus_1",
     {("nll", "MELBO"): (337.58, None), ("perplexity", "MELBO"): (21.95, 0.02),
      ("sentence_bleu_1", "score"): (0.571, None)}),
]  # fmt: skip
# Tokens a sentence of corpus and convention, and by how much rounded figures may miss it. Those of PTB and Yahoo, EOS
# in both, and of PTB by TweetTokenizer were counted in the test files; the others are as papers imply them.
TOKENS = {
    ("ptb", "eos_in_both"): (21.917, 0.02),
    ("ptb", "bowman_unresolved"): (21.07, 0.07),
    ("ptb", "xu_durrett_unresolved"): (21.02, 0.1),
    ("ptb", "li_unresolved"): (21.0, 0.1),
    ("ptb", "tweet_words_plus_1"): (22.7075, 0.02),
    ("yahoo", "eos_in_both"): (79.867, 0.03),
    ("yahoo", "tweet_words_plus_1"): (74.15, 0.03),
    ("yelp15", "eos_in_both"): (96.64, 0.03),
    ("yelp15", "tweet_words_plus_1"): (99.35, 0.02),
    ("wikitext103", "tweet_words_plus_1"): (109.25, 0.15),
}


@pytest.mark.parametrize(("corpus", "source", "model", "convention", "figures"), TYPED)
def test_rows_are_the_papers(
    corpus: str, source: str, model: str, convention: str, figures: dict[tuple[str, str], tuple[float, float | None]]
) -> None:
    [row] = [row for row in published_rows(corpus) if (row.source, row.model) == (source, model)]
    assert {(figure.quantity, figure.kind): (figure.value, figure.std) for figure in row.figures} == figures
    assert {figure.convention for figure in row.figures if figure.quantity not in OTHERS} <= {convention}


def test_figures_count_the_tokens_that_their_convention_says() -> None:
    """NLL / ln(perplexity) is the number of tokens a sentence: a figure that is mistyped makes it another."""
    checked = 0
    for corpus in CONTENT["corpora"]:
        for row in published_rows(corpus):
            values = {(f.quantity, f.kind): f for f in row.figures if not str(f.printed).startswith(">")}
            for kind in LIKELIHOODS:
                if ("nll", kind) in values and ("perplexity", kind) in values:
                    nll, perplexity = values["nll", kind], values["perplexity", kind]
                    tokens, most = TOKENS[corpus, str(nll.convention)]
                    assert nll.value / math.log(perplexity.value) == pytest.approx(tokens, abs=most), row
                    checked += 1
    assert checked > 70


def test_the_file_speaks_the_language_of_the_framework() -> None:
    assert EOS_IN_BOTH in CONVENTIONS and not CONVENTIONS.keys() & CONTENT["conventions"].keys()
    assert set(LIKELIHOODS) <= {*get_args(Kind), "unstated"}
    corpora = {getattr(datamodules, name).corpus for name in datamodules.__all__}
    for table in CONTENT["tables"]:
        assert table["corpus"] in corpora and table["corpus"] in CONTENT["corpora"]
        assert table["paper"] in CONTENT["papers"] and table["convention"] in {*CONVENTIONS, *CONTENT["conventions"]}
        for row in table["rows"]:
            assert row.keys() <= {"model", "settings", "notes", *OTHERS, *LIKELIHOODS}
            assert {*OTHERS, *LIKELIHOODS} & row.keys()
            assert set(row.get("notes", [])) <= CONTENT["notes"].keys()


def test_a_row_has_one_figure_a_column() -> None:
    for corpus in CONTENT["corpora"]:
        for row in published_rows(corpus):
            assert len(columns_of([row])) == len(row.figures) > 0, row


def test_it_is_in_the_wheel() -> None:
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("no checkout")
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    patterns = tools["setuptools"]["package-data"]["experiments"]
    assert FILE in {file for pattern in patterns for file in (ROOT / "experiments").glob(pattern)}
