"""The page of `textae explore`, in Gradio."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from matplotlib.figure import Figure
from torch import Tensor

from datamodules.errors import UsageError
from experiments.model_options import require_known
from lightning_modules.decoding.exploration import Explorer

NEIGHBORS = 10
# Fonts of the system: Gradio's own are fetched from the network.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])


def page(explorer: Explorer, title: str) -> gr.Blocks:
    """A tab for each thing one can ask.

    Args:
        explorer: That answers.
        title: Says which model it is.
    """
    first, second = explorer.sentences[0], explorer.sentences[1]
    with gr.Blocks(title="textae", analytics_enabled=False) as blocks:
        gr.Markdown(f"# textae\n{title}")
        with gr.Tab("Between two sentences"):
            ends = [gr.Textbox(first, label="from"), gr.Textbox(second, label="to")]
            share = gr.Slider(0, 1, 0.5, step=0.02, label="place on the path")
            _answered(blocks, explorer, explorer.between, [*ends, share], gr.Textbox(label="decoded"), sentences=2)
        if explorer.attributes:
            with gr.Tab("Change an attribute"):
                sentence = gr.Textbox(first, label="sentence")
                names = list(explorer.attributes)
                attribute = gr.Dropdown(names, value=names[0], label="attribute")
                scale = gr.Slider(-3, 3, 1, step=0.1, label="times its vector")
                given = [sentence, attribute, scale]
                _answered(blocks, explorer, explorer.changed, given, gr.Textbox(label="decoded"))
        with gr.Tab("Around a sentence"):
            sentence = gr.Textbox(first, label="sentence")
            sigmas = gr.Slider(0, 10, 1, step=0.1, label="standard deviations")
            count, seed = gr.Slider(1, 20, 8, step=1, label="samples"), gr.Slider(0, 99, 0, step=1, label="seed")
            table = gr.Dataframe(headers=["sampled"], interactive=False, wrap=True)
            _answered(blocks, explorer, _samples(explorer), [sentence, sigmas, count, seed], table)
        with gr.Tab("Map"):
            sentence = gr.Textbox(first, label="sentence")
            with gr.Row():
                plot = gr.Plot(show_label=False)
                near = gr.Dataframe(headers=["nearest sentences", "distance"], interactive=False, wrap=True)
            _answered(blocks, explorer, functools.partial(picture, explorer), [sentence], plot)
            _answered(blocks, explorer, functools.partial(_nearest, explorer), [sentence], near)
    return blocks


def picture(explorer: Explorer, sentence: str) -> Figure:
    """The map, with a sentence and its nearest neighbours in it."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title("posterior means on their first two principal axes", fontsize="medium")
    axes.set_aspect("equal", "datalim")
    near = [text for text, _ in explorer.neighbors(sentence, NEIGHBORS)]
    looks: list[tuple[Tensor, dict[str, Any]]] = [
        (explorer.map, {"s": 6, "color": "0.75", "label": "sentences"}),
        (explorer.places(near), {"s": 25, "color": "tab:blue", "label": "nearest in z"}),
        (explorer.places([sentence]), {"s": 90, "color": "tab:red", "marker": "*", "label": "this sentence"}),
    ]
    for points, look in looks:
        axes.scatter(*points.cpu().numpy().T, **look)
    axes.legend()
    return figure


def _answered(
    blocks: gr.Blocks,
    explorer: Explorer,
    function: Callable[..., Any],
    given: Sequence[Any],
    shown: Any,
    sentences: int = 1,
) -> None:
    """Shows what a function says of the inputs, of which the first are sentences; anew when one of them changes."""

    def answer(*values: Any) -> Any:
        texts = [" ".join(str(text).split()) for text in values[:sentences]]
        try:
            require_known(explorer.model, texts)
            return function(*texts, *values[sentences:])
        except UsageError as error:
            # Gradio shows it as HTML.
            raise gr.Error(html.escape(str(error)), print_exception=False) from error

    texts, others = given[:sentences], given[sentences:]
    events = [blocks.load, *(text.submit for text in texts), *(text.blur for text in texts)]
    events += [other.change for other in others]
    # What is dragged across is not decoded if it is gone by the time the last decode ends.
    gr.on(events, answer, list(given), shown, trigger_mode="always_last", show_progress="hidden")


def _samples(explorer: Explorer) -> Callable[..., list[list[str]]]:
    def rows(sentence: str, sigmas: float, count: float, seed: float) -> list[list[str]]:
        return [[text] for text in explorer.around(sentence, sigmas, int(count), int(seed))]

    return rows


def _nearest(explorer: Explorer, sentence: str) -> list[list[str]]:
    return [[text, f"{distance:.3f}"] for text, distance in explorer.neighbors(sentence, NEIGHBORS)]
