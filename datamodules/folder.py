"""Any text of yours."""

from __future__ import annotations

from datamodules.text import TextDataModule


class TextFolder(TextDataModule):
    """A folder with `train.txt`, `valid.txt` and `test.txt`, given as `data_dir`, one sentence a line."""

    corpus = "folder"
    in_root = False
