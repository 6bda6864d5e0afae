"""`textae report`: the layout of a W&B report on a project's runs, for who is logged in there."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import Any

import wandb

from datamodules.errors import UsageError, require
from experiments.model_options import print_line

# Titles, and what is drawn under each; of a family's runs those that it logs.
CURVES = {
    "Objective": ("train/loss", "val/objective"),
    "Reconstruction": ("train/reconstruction", "val/reconstruction"),
    "KL": ("train/kl", "val/kl"),
    "Adversary": ("train/adversarial", "train/discriminator"),
    "Schedules": ("train/lr", "train/kl_weight", "train/word_dropout"),
    "Tokens a second": ("train/tokens_per_second",),
    "Share of the matrix-product rate": ("train/matrix_product_share", "train/data_wait_share"),
}
FIGURES = {
    "Likelihood, nats a sentence": ("test/nll", "test/nll_iw", "test/negative_elbo"),
    "Perplexity": ("test/perplexity", "test/perplexity_iw"),
    "Latent": ("test/active_units", "test/mutual_information"),
    "BLEU of reconstructions": ("test/reconstruction_bleu",),
    "Samples": ("test/forward_perplexity", "test/reverse_perplexity", "test/self_bleu"),
}
SHOWN = {
    "Text": ("samples/prior", "samples/reconstructions", "samples/interpolations", "samples/traversals"),
    "Pictures": ("plots/latent_map", "plots/kl_per_dimension", "plots/loss_curves", "plots/sentence_likelihoods"),
}


def run(args: list[str]) -> None:
    """Creates the report and prints its address."""
    parser = argparse.ArgumentParser(prog="textae report", description=run.__doc__, exit_on_error=False)
    parser.add_argument("--project", default="textae", help="W&B project (default: textae)")
    parser.add_argument("--entity", default="", help="user or team (default: who is logged in)")
    parser.add_argument("--title", default="Autoencoders of text", help="of the report")
    options = parser.parse_args(args)
    require(
        find_spec("wandb_workspaces") is not None, 'the report needs wandb-workspaces: pip install "textae[report]"'
    )
    try:
        entity = options.entity or str(wandb.Api().default_entity)
        report = layout(options.project, entity, options.title)
        report.save()
    except Exception as error:  # the library's own, bare
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"W&B does not take the report ({reason}): `wandb login`, and give --entity if need be"
        ) from error
    print_line(str(report.url))


def layout(project: str, entity: str, title: str) -> Any:
    """The report: curves, figures of tests, text and pictures, of all runs of the project, newest first.

    Args:
        project: In W&B.
        entity: User or team whose it is.
        title: Of the report.
    """
    import wandb_workspaces.reports.v2 as wr

    def section(name: str, panels: list[Any]) -> list[Any]:
        return [wr.H2(name), wr.PanelGrid(runsets=[wr.Runset(project=project, entity=entity)], panels=panels)]

    curves = [wr.LinePlot(title=name, x="Step", y=list(metrics)) for name, metrics in CURVES.items()]
    figures = [wr.BarPlot(title=name, metrics=list(metrics)) for name, metrics in FIGURES.items()]
    shown = [wr.MediaBrowser(title=name, media_keys=list(keys)) for name, keys in SHOWN.items()]
    about = "Written by `textae report`. Which of these numbers are likelihoods: the project's README."
    return wr.Report(
        project=project,
        entity=entity,
        title=title,
        description=about,
        blocks=[*section("Training", curves), *section("Tests", figures), *section("Text and pictures", shown)],
        width="fluid",
    )
