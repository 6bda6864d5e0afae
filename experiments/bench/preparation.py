"""Preparing a large corpus: seconds and memory of a first start and of a second one, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from experiments.bench.timing import Row

WORDS, MEAN = 50_000, 12
FIRST, SECOND, MEMORY = 60.0, 5.0, 1500.0


def preparation(sentences: int = 1_000_000, against: int | None = None) -> list[Row]:
    """Rows of a first and a second start, and of what they take of memory that is not the corpus' own files.

    Args:
        sentences: Of the training split.
        against: A larger corpus, whose memory is compared; 10 million take about a quarter of an hour.
    """
    first, second = _starts(sentences)
    rows = [
        Row(f"preparing {sentences:,} sentences; what is allowed", FIRST, first["seconds"], 1.0, _memory(first)),
        Row("a second start; what is allowed", SECOND, second["seconds"], 1.0, _memory(second)),
        Row("anonymous memory of the first, MB; what is allowed", MEMORY, first["megabytes"], 1.0, "not seconds"),
    ]
    if against is not None:
        larger, _ = _starts(against)
        what = f"1.3 times that memory; the memory of {against:,} sentences, MB"
        rows.append(Row(what, 1.3 * first["megabytes"], larger["megabytes"], 1.0, f"{larger['seconds']:.0f} s"))
    return rows


def seconds_of_preparation(sentences: int) -> float:
    """Of a first start."""
    return _starts(sentences)[0]["seconds"]


def write_corpus(folder: Path, sentences: int, seed: int = 0) -> None:
    """Sentences of 12 words in the mean, drawn from a Zipf distribution over 50,000; small other splits."""
    rng = np.random.default_rng(seed)
    words = np.array([f"word{number}" for number in range(WORDS)])
    for split, count in (("train", sentences), ("valid", 1000), ("test", 1000)):
        with (folder / f"{split}.txt").open("w", encoding="utf-8") as file:
            for start in range(0, count, 100_000):
                lengths = rng.poisson(MEAN - 1, size=min(100_000, count - start)) + 1
                drawn = words[np.minimum(rng.zipf(1.3, size=int(lengths.sum())), WORDS) - 1]
                rows = np.split(drawn, np.cumsum(lengths)[:-1])
                file.writelines(" ".join(row) + "\n" for row in rows)


def _starts(sentences: int) -> list[dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder), sentences)
        environment = os.environ | {"HF_HOME": str(Path(folder) / "cache"), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        environment.pop("HF_DATASETS_CACHE", None)
        command = [sys.executable, "-m", "experiments.bench.preparation", folder]
        ran = [subprocess.run(command, env=environment, check=True, capture_output=True, text=True) for _ in range(2)]
        return [json.loads(each.stdout.splitlines()[-1]) for each in ran]


def _memory(start: dict[str, float]) -> str:
    return f"at most {start['megabytes']:,.0f} MB anonymous memory"


def _measure(folder: str) -> dict[str, float]:
    """Seconds until the first batch, imports not counted, and the most anonymous memory that was seen."""
    from datamodules import TextFolder
    from datamodules.vocabulary import VocabularyConfig

    with anonymous_peak() as most:
        start = time.perf_counter()
        data = TextFolder(data_dir=folder, vocabulary=VocabularyConfig(size=10_000))
        data.prepare_data()
        data.setup("fit")
        next(iter(data.train_dataloader()))
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "megabytes": most[0]}


@contextmanager
def anonymous_peak() -> Iterator[list[float]]:
    """A list of one number, the most `anonymous_megabytes` seen within."""
    most, done = [0.0], threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], anonymous_megabytes())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield most
    finally:
        done.set()
        looking.join()


def anonymous_megabytes() -> float:
    """Resident memory of this process and its children that no file backs; of Linux alone."""
    me, total = os.getpid(), 0.0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:  # it has ended
            continue
        if me in (int(status.parent.name), int(fields["PPid"])) and "RssAnon" in fields:
            total += int(fields["RssAnon"].split()[0]) / 1000
    return total


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1])))
