"""What tests of attribute transfer share: sentences whose one attribute is a word, and figures read back."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from callbacks.classifier_judge import ClassifierConfig
from callbacks.language_judge import JudgeConfig

Make = Callable[..., Any]
Rows = dict[tuple[str, str], dict[str, float]]
# The same sixteen sentences but for the word.
COLD = [f"i say {a} big soup was cold {b}" for a in ("the", "our", "a", "this") for b in (".", "!", "today", "now")]
HOT = [sentence.replace("cold", "hot") for sentence in COLD]
# Judges that learn these in a moment.
QUICK: dict[str, Any] = {
    "classifier": ClassifierConfig("unigram", epochs=10, lr=5e-2),
    "language_model": JudgeConfig(16, 16, epochs=1),
}


def grid(folder: Path, attribute: str) -> Rows:
    """The figures of a study's JSON by direction and scale."""
    rows = json.loads((folder / "samples" / f"{attribute}_transfer.json").read_text())["rows"]
    return {(row.pop("direction"), row.pop("scale")): row for row in rows}


def labelled_folder(folder: Make) -> Any:
    """A corpus of all of them, in any order, whose label says which word it is; `folder` is the fixture."""
    rows = list(zip([*COLD, *HOT], [0] * len(COLD) + [1] * len(HOT), strict=True))
    random.Random(0).shuffle(rows)
    return folder([row[0] for row in rows], [row[1] for row in rows])


def lines(file: Path, sentences: Sequence[str]) -> str:
    """Writes the sentences, one a line; gives the file's name."""
    file.write_text("\n".join(sentences) + "\n")
    return str(file)
