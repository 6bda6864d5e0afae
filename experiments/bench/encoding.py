"""Encoding a large file: sentences a second, and memory that is not to grow with the file."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from datamodules.sentences import each_line
from datamodules.vocabulary import VocabularyConfig, build_vocabulary
from experiments.bench.preparation import anonymous_peak, write_corpus
from experiments.bench.timing import Row
from experiments.bench.training import made_reviews_daae
from experiments.latent_files import latent_file
from lightning_modules.decoding.encoding import encode_stream

WORDS = 10_000


def encoding(sentences: int = 1_000_000, against: int = 100_000) -> list[Row]:
    """The row of the memory that a large file takes and a smaller one does, each in a process of its own."""
    large, small = _encoded(sentences), _encoded(against)
    what = f"anonymous memory of encoding {sentences:,} sentences, MB; 1.3 times that of {against:,}"
    note = f"not seconds; {sentences / large['seconds']:,.0f} sentences/s"
    return [Row(what, 1.3 * small["megabytes"], large["megabytes"], 1.0, note)]


def _encoded(sentences: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder), sentences)
        command = [sys.executable, "-m", "experiments.bench.encoding", folder]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        measured: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
        return measured


def _measure(folder: Path) -> dict[str, float]:
    """As `textae encode` does it, with a model of the default experiment's size."""
    known = " ".join(f"word{number}" for number in range(WORDS))
    model = made_reviews_daae(build_vocabulary([known], VocabularyConfig()).to_str())
    with anonymous_peak() as most, latent_file(str(folder / "latents.npy")) as file:
        start = time.perf_counter()
        for some, latents in encode_stream(model, each_line(folder / "train.txt")):
            file.write(some, latents)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "megabytes": most[0]}


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]))))
