"""`textae explore`: a page of this machine on which one talks to a trained model's latent space."""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec

import torch
from torch import Tensor

from datamodules.errors import UsageError, require
from datamodules.sentences import known_sentences
from experiments.model_options import load_with_latent, model_parser, print_line
from lightning_modules import TextAutoencoder
from lightning_modules.decoding.arithmetic import attribute_vector
from lightning_modules.decoding.decode import decode
from lightning_modules.decoding.exploration import Explorer
from lightning_modules.randomness import SentenceRandom

LOOPBACK = "127.0.0.1"


def run(args: list[str]) -> None:
    """Serves the page until it is interrupted."""
    options = _parser().parse_args(args)
    require(0 < options.port < 65_536, f"--port is {options.port}: give 1 to 65535")
    require(find_spec("gradio") is not None, 'the page needs Gradio: pip install "textae[explore]"')
    model = load_with_latent(options)
    explorer = Explorer(model, _map_sentences(model, options), _attributes(model, options))
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before it is imported
    for name in ("no_proxy", "NO_PROXY"):  # Gradio asks for its own page when it starts
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), LOOPBACK)))
    from experiments.explore_page import THEME, page

    title = (
        f"{type(model).__name__}, {options.run or options.checkpoint}, {len(explorer.sentences):,} sentences on the map"
    )
    blocks = page(explorer, title)
    try:
        blocks.launch(
            server_name=LOOPBACK,
            server_port=options.port,
            share=False,
            inbrowser=options.open,
            theme=THEME,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise UsageError(f"--port {options.port} of {LOOPBACK} is taken: give another") from error
    print_line(f"http://{LOOPBACK}:{options.port} (Ctrl-C ends it)")
    blocks.block_thread()


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("explore", "a page to explore a latent space, on this machine alone", prints=False)
    parser.add_argument("--sentences", metavar="FILE", help="on the map, one a line (default: 500 from the prior)")
    parser.add_argument(
        "--attribute",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "FROM", "TO"),
        help="an attribute, and files of sentences with its one value and with its other; can be repeated",
    )
    parser.add_argument("--port", type=int, default=7860, help="of the page (default: 7860)")
    parser.add_argument("--open", action="store_true", help="open it in a browser")
    return parser


def _map_sentences(model: TextAutoencoder, options: argparse.Namespace, count: int = 500) -> list[str]:
    if options.sentences is not None:
        sentences = list(dict.fromkeys(known_sentences(options.sentences, model.vocabulary)))
        require(len(sentences) > 1, f"{options.sentences} has one sentence: a map has two or more")
        return sentences
    random = SentenceRandom(torch.arange(count, device=model.device), 0, -1)
    drawn = [text for text in dict.fromkeys(decode(model, model.prior_latents(random))) if text]
    require(len(drawn) > 1, "the prior's samples are all alike: give --sentences FILE for the map")
    return drawn


def _attributes(model: TextAutoencoder, options: argparse.Namespace) -> dict[str, Tensor]:
    return {
        name: attribute_vector(model, *(known_sentences(file, model.vocabulary) for file in files))
        for name, *files in options.attribute
    }
