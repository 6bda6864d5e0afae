"""`make bench`: the table of speed. A ratio is of one process on one machine; absolute seconds are that machine's."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.table import Table

from callbacks.provenance import provenance
from experiments.bench.accelerator import accelerator
from experiments.bench.decoding import corruption, decoding
from experiments.bench.encoding import encoding
from experiments.bench.framework import framework
from experiments.bench.importance import importance
from experiments.bench.large_vocabulary import large_vocabulary
from experiments.bench.lstm import lstm
from experiments.bench.memory import memory
from experiments.bench.neighbors import neighbors
from experiments.bench.preparation import preparation
from experiments.bench.scaling import scaling
from experiments.bench.timing import Row
from experiments.bench.training import daae, sentence_mim, vae_avg
from experiments.runs import write_json

BENCHMARKS: dict[str, Callable[[], list[Row]]] = {
    "importance": importance,
    "daae": daae,
    "sentence_mim": sentence_mim,
    "vae_avg": vae_avg,
    "lstm": lstm,
    "memory": memory,
    "corruption": corruption,
    "decoding": decoding,
    "vocabulary": large_vocabulary,
    "neighbors": neighbors,
    "preparation": preparation,
    "encoding": encoding,
    "scaling": scaling,
    "accelerator": accelerator,
    "framework": framework,
}
# What is done only where it is named.
LONG: dict[str, Callable[[], list[Row]]] = {"large_corpus": partial(preparation, against=10_000_000)}


def main(args: Sequence[str] | None = None) -> None:
    """Runs the benchmarks that are named, all but the long ones by default; each of several in a process of its own.

    Raises:
        SystemExit: There is no such benchmark, or some failed, of which the others' rows are given nevertheless.
    """
    parser = argparse.ArgumentParser(prog="python -m experiments.bench", description=__doc__)
    known = BENCHMARKS | LONG  # in the order in which they are done
    long = f"{', '.join(LONG)} (a quarter of an hour)"
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; and {long}")
    parser.add_argument("--output", help="JSON file for the rows, with commit, versions and hardware")
    given = parser.parse_args(args)
    unknown = sorted(set(given.names) - known.keys())
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(known)}")
    if given.output:
        try:  # before what takes half an hour
            Path(given.output).open("a", encoding="utf-8").close()
        except OSError as error:
            parser.error(f"--output {given.output} cannot be written: {error.strerror}")
    names = [name for name in known if name in (given.names or BENCHMARKS)]
    found = {names[0]: known[names[0]]()} if len(names) == 1 else {name: _in_own_process(name) for name in names}
    rows = [row for part in found.values() for row in part or []]
    table = Table(title="seconds, medians")
    for column in ("measured; compared with", "reference", "ours", "ratio", "at least", "note"):
        table.add_column(column, justify="left" if column in ("measured; compared with", "note") else "right")
    for row in rows:
        target = "" if row.target is None else f"{row.target:.3g}"
        table.add_row(row.what, f"{row.reference:.2f}", f"{row.ours:.2f}", f"{row.ratio:.2f}", target, row.note)
    Console().print(table)
    if given.output:
        record = provenance(torch.device("cuda" if torch.cuda.is_available() else "cpu")) | {
            "rows": [asdict(row) | {"ratio": row.ratio} for row in rows]
        }
        write_json(given.output, record)
    failed = [name for name, part in found.items() if part is None]
    if failed:
        sys.exit(f"of these benchmarks there are no rows, their errors are above: {', '.join(failed)}")


def _in_own_process(name: str) -> list[Row] | None:
    """A benchmark's rows, whatever memory others before it took and freed, and whatever peak they reached.

    None where it failed.
    """
    print(f"benchmark {name}", file=sys.stderr)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "experiments.bench", name, "--output", str(file)]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:
            return None
        found = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return [Row(**{field.name: row[field.name] for field in fields(Row)}) for row in found]


if __name__ == "__main__":
    main()
