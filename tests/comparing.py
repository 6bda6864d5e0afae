"""What tests of `textae compare` share: tested runs that are written by hand, and the tables read back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

import experiments
from callbacks.quantities import EOS_IN_BOTH

ROOT = Path(experiments.__file__).parent.parent
PUBLISHED = yaml.safe_load((ROOT / "experiments" / "results" / "published.yaml").read_text(encoding="utf-8"))
PARTS = ("kl", "active_units", "mutual_information", "reconstruction_bleu")


def write_tested_run(
    runs: Path, name: str, seed: int, config: dict[str, Any] | None = None, **figures: tuple[float, str]
) -> Path:
    """Writes a tested run: figures by name as (value, kind), and a configuration if there is one."""
    folder = runs / name / str(len(list(runs.glob(f"{name}/*"))))
    folder.mkdir(parents=True)
    corpus = name.split("_")[-1]
    metrics = {
        f"test/{quantity}": {"value": value, "kind": kind} | ({} if quantity in PARTS else {"convention": EOS_IN_BOTH})
        for quantity, (value, kind) in figures.items()
    }
    sentences = PUBLISHED["corpora"].get(corpus, {}).get("test", 3000)
    record = {"corpus": corpus, "experiment": name, "seed": seed, "sentences": sentences, "metrics": metrics}
    (folder / "test_metrics.json").write_text(json.dumps(record))
    if config is not None:
        (folder / "config.yaml").write_text(json.dumps(config))
    return folder


def cells(printed: str) -> list[tuple[str, str, str]]:
    """(line, heading, cell) of each figure in the tables: both are aligned to the right, so they end together."""
    found = []
    lines = printed.splitlines()
    for number, line in enumerate(lines):
        if set(line.strip()) != {"─"}:
            continue
        first = max(i for i in range(number) if not lines[i].strip()) + 1
        headings: dict[int, list[str]] = {}
        for above in lines[first:number]:
            for word in re.finditer(r"\S+(?: \S+)*", above):
                headings.setdefault(word.end(), []).append(word.group())
        [runs] = [end for end, words in headings.items() if words == ["runs"]]
        for below in lines[number + 1 :]:
            if not below.strip():
                break
            for word in re.finditer(r"\S+(?: \S+)*", below):
                if word.start() > runs:
                    found.append((below, " ".join(headings[word.end()]), word.group()))
    return found


def change(folder: Path, name: str, **notes: Any) -> None:
    """Adds to what is noted of a figure of a run."""
    file = folder / "test_metrics.json"
    record = json.loads(file.read_text())
    record["metrics"][f"test/{name}"] |= notes
    file.write_text(json.dumps(record))
