"""Rows of figures as tables on the terminal, and what is to be known to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from experiments.figures import GAP, Column, Figure, Row, columns_of
from experiments.published import content, conventions

HEADINGS = {
    "nll": "NLL",
    GAP: "above the\nfloor",
    "nll_iw": "NLL,\nsampled",
    "perplexity": "perplexity",
    "perplexity_iw": "perplexity,\nsampled",
    "kl": "KL",
    "active_units": "active\nunits",
    "mutual_information": "I(x; z)",
    "latent_entropy": "entropy\nof codes",
    "reconstruction_bleu": "BLEU-4",
    "bleu_1": "BLEU-1",
    "sentence_bleu_1": "BLEU-1 by\nsentence",
}
BLEU = ("reconstruction_bleu", "bleu_1", "sentence_bleu_1")
MARKS = {"exact": "= ", "upper bound": "<= ", "importance-weighted": "~ "}
SECTIONS = {"": "likelihoods", "importance-weighted": "likelihoods"}
LEGEND = (
    "= exact, <= upper bound, ~ importance-weighted (an upper bound in expectation); nats a sentence; ± standard "
    "deviation over runs",
    "MELBO: a bound under another prior, which grows with the test split; no bound, unstated: not known to be a "
    "likelihood; sampled: by importance sampling",
)
BLEU_LEGEND = (
    "BLEU-4: of greedy reconstructions from the posterior's mean; BLEU-1: of sampled ones from a posterior sample, or "
    "the code where there is no posterior; by sentence: as papers print it, the mean of sentences' scores, with EOS a "
    "word of the reconstructions"
)
UNLIMITED = 100_000  # columns of characters, more than any table has


def print_comparison(console: Console, corpora: Mapping[str, Sequence[Row]]) -> None:
    """Prints a table for each corpus, then what the marks, conventions, notes and sources in them are.

    A table for which the terminal is too narrow is printed in parts: by token convention, then by kind.
    """
    rows = list(chain(*corpora.values()))
    notes = list(dict.fromkeys(note for row in rows for note in row.notes))
    terminal = console.width
    for corpus, found in corpora.items():
        name = content()["corpora"].get(corpus, {}).get("name", corpus)
        for table in _parts(console, str(name), found, columns_of(found), notes):
            console.width = max(terminal, _width(console, table).minimum)  # lines run over rather than lose figures
            console.print(table)
            console.width = terminal
    used = {figure.convention.split(",")[0] for row in rows for figure in row.figures if figure.convention is not None}
    counted = [f"{name}: {text}" for name, text in conventions().items() if name in used]
    papers = dict.fromkeys(row.paper for row in rows if row.paper is not None)
    sources = ["{short}: {full}".format(**content()["papers"][paper]) for paper in papers]
    numbered = [f"[{number}] {note}" for number, note in enumerate(notes, start=1)]
    bleu = [BLEU_LEGEND] if any(figure.quantity in BLEU for row in rows for figure in row.figures) else []
    for line in (*LEGEND, *bleu, *counted, *numbered, *sources):
        console.print(line, soft_wrap=True)


def _parts(
    console: Console, title: str, rows: Sequence[Row], columns: Sequence[Column], notes: Sequence[str]
) -> list[Table]:
    """One table if it is narrow enough, else its parts, each with its rows and the columns without a convention."""
    table = _table(title, rows, columns, notes)
    if _width(console, table).maximum <= console.width:
        return [table]
    for part_of in (_convention_of, _section_of):
        names = list(dict.fromkeys(part_of(column) for column in columns if column.convention is not None))
        if len(names) > 1:
            return [
                part
                for name in names
                for part in _parts(
                    console,
                    f"{title}: {name}",
                    *_part(rows, columns, [column for column in columns if part_of(column) == name], name == names[0]),
                    notes,
                )
            ]
    return [table]


def _part(
    rows: Sequence[Row], columns: Sequence[Column], own: Sequence[Column], first: bool
) -> tuple[list[Row], list[Column]]:
    """The rows with a figure in a part's own columns, the first part's also those without any; and its columns."""
    places = {row: {figure.column for figure in row.figures} for row in rows}
    likelihoods = {column for column in columns if column.convention is not None}
    kept = [row for row in rows if places[row] & set(own) or (first and not places[row] & likelihoods)]
    filled = {column for row in kept for column in places[row]}
    return kept, [column for column in columns if column in own or (column.convention is None and column in filled)]


def _convention_of(column: Column) -> str | None:
    return column.convention


def _section_of(column: Column) -> str | None:
    return None if column.convention is None else SECTIONS.get(column.kind, "other kinds")


def _width(console: Console, table: Table) -> Measurement:
    return console.measure(table, options=console.options.update(max_width=UNLIMITED))


def _table(title: str, rows: Sequence[Row], columns: Sequence[Column], notes: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for name, least in (("model", 24), ("source", 20), ("runs", 4)):
        table.add_column(name, min_width=least)
    cells = [{figure.column: _cell(figure) for figure in row.figures} for row in rows]
    for column in columns:
        convention = "" if f": {column.convention}" in title else column.convention
        heading = "\n".join(filter(None, (HEADINGS[column.quantity], column.kind.replace("-", "-\n"), convention)))
        least = max(len(text) for text in (*heading.split("\n"), *(found.get(column, "") for found in cells)))
        table.add_column(heading, justify="right", min_width=least, no_wrap=True)
    for row, found in zip(rows, cells, strict=True):
        marks = "".join(f" [{notes.index(note) + 1}]" for note in row.notes)
        start = (row.model + marks, row.source or "measured", str(row.runs or ""))
        table.add_row(*start, *(found.get(column, "") for column in columns))
    return table


def _cell(figure: Figure) -> str:
    mark = "" if figure.quantity == GAP else MARKS.get(figure.kind, "")
    if figure.printed is not None:
        return figure.printed if figure.printed.startswith(">") else mark + figure.printed
    digits = 3 if figure.quantity in BLEU else 2
    spread = "" if figure.std is None else f" ± {figure.std:.{digits}f}"
    return f"{mark}{figure.value:.{digits}f}{spread}"
