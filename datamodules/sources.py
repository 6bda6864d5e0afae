"""Where raw text comes from: a folder of text files or the hub.

Both give a `datasets.Dataset` with the column `text`, one sentence or document a row, and `label` where there is one.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset, Features, Value, load_dataset
from datasets.exceptions import DatasetGenerationError
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from nltk.tokenize import TweetTokenizer

from datamodules.errors import UsageError, require

SPLITS = ("train", "valid", "test")
HUB_TIMEOUT = 5.0  # seconds
PIECE = 2**20  # bytes that are looked through at a time


@dataclass(frozen=True)
class HubSource:
    """A corpus on the hub: parquet files `<configuration>/<split>-*.parquet` or `<configuration>/<split>/*.parquet`.

    Attributes:
        repository: Its id, `owner/name`; empty where a corpus has no hub source.
        configuration: The folder of the files, which is the configuration's name; `data` where there is one only.
        revision: Branch, tag or commit. Repositories that still carry a loading script are read from the hub's own
            conversion, `refs/convert/parquet`.
        text: Columns that are joined, in this order, to one text.
        label: Column with integer labels, if wanted.
        splits: Our split names to the repository's. One that is left out is cut from the training split by seed.
        tweet_tokenize: Split words and punctuation with NLTK's TweetTokenizer and lower-case; off where the repository
            holds whitespace tokens already.
    """

    repository: str = ""
    configuration: str = "data"
    revision: str = "main"
    text: tuple[str, ...] = ("text",)
    label: str | None = None
    splits: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "valid": "validation", "test": "test"})
    tweet_tokenize: bool = True


def read_hub(source: HubSource, split: str, corpus: str) -> Dataset:
    """One of the repository's own splits, downloaded, or from the cache where the hub is out of reach.

    Raises:
        UsageError: It is not to be had, or has no such split or column; names the ways out.
    """
    files = _download(source, source.splits[split], corpus)
    try:
        dataset = load_dataset("parquet", data_files={split: files}, split=split)
    except Exception as error:  # a damaged file: of three libraries' types
        raise _not_to_be_had(source, corpus, error) from error
    columns = [*source.text, *([source.label] if source.label else [])]
    missing = [column for column in columns if column not in dataset.column_names]
    require(
        not missing,
        f"{source.repository} has no column {', '.join(missing)}; it has {', '.join(dataset.column_names)}: "
        "set data.init_args.hub.text and data.init_args.hub.label",
    )
    return dataset.select_columns(columns).map(
        _join_columns,
        batched=True,
        fn_kwargs={"text": source.text, "label": source.label},
        remove_columns=columns,
        features=Features({"text": Value("string")} | ({"label": Value("int64")} if source.label else {})),
        desc=f"{corpus} {split}: text",
    )


def tweet_tokenize(dataset: Dataset, desc: str) -> Dataset:
    """Lower-cased words and punctuation, separated by single spaces."""
    return dataset.map(_tweet_tokenize, batched=True, desc=desc)


def read_folder(folder: Path, split: str) -> Dataset:
    """Reads `<split>.txt`, one sentence a line, and `<split>.labels`, one integer a line, if it is there.

    Raises:
        UsageError: The folder or file is missing, empty, or not UTF-8, or the labels do not fit the lines.
    """
    file = folder / f"{split}.txt"
    require(folder.is_dir(), f"data_dir {folder} is no folder: give one that holds train.txt, valid.txt and test.txt")
    require(file.is_file(), f"data_dir {folder} has no {file.name}: it must hold train.txt, valid.txt and test.txt")
    dataset = _read_lines(file)
    labels_file = file.with_suffix(".labels")
    if labels_file.is_file():
        labels = _read_lines(labels_file)["text"]
        require(
            len(labels) == len(dataset),
            f"{labels_file} has {len(labels)} lines, {file.name} has {len(dataset)}: give one label a line of text",
        )
        try:
            dataset = dataset.add_column("label", [int(label) for label in labels])
        except (ValueError, OverflowError) as error:
            raise UsageError(f"{labels_file}: labels are integers, one a line ({error})") from error
    return dataset


def _read_lines(file: Path) -> Dataset:
    try:
        with file.open("rb") as content:
            start = content.read(PIECE)
            holds_nul = b"\0" in start or any(b"\0" in piece for piece in iter(lambda: content.read(PIECE), b""))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    require(start not in (b"", codecs.BOM_UTF8), f"{file} is empty")
    is_text = not holds_nul or start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # told as such below
    require(is_text, f"{file} holds NUL bytes: it is binary or UTF-16; convert it to UTF-8, for example with iconv")
    try:
        return load_dataset(
            "text",
            data_files={"train": str(file)},
            split="train",
            encoding="utf-8-sig",
            features=Features({"text": Value("string")}),
        )
    except (DatasetGenerationError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not UTF-8 text: {_first_bad_line(file)}") from error


def _first_bad_line(file: Path) -> str:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return f"line {number}, byte {error.start + 1} ({error.reason}); convert it, for example with iconv"
    return "it could not be read"


def _download(source: HubSource, split: str, corpus: str) -> list[str]:
    # `load_dataset(repository)` would retry for 23 s without a network, take any cached revision after an error, and
    # not find a configuration on the conversion branch; the hub client's own calls do what is meant.
    patterns = [f"{source.configuration}/{split}-*.parquet", f"{source.configuration}/{split}/*.parquet"]
    failure: Exception | None = None
    try:
        HfApi().dataset_info(source.repository, revision=source.revision, timeout=HUB_TIMEOUT)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise _not_to_be_had(source, corpus, error) from error
    except Exception as error:  # no network, no answer, offline mode: the client raises types of four libraries
        failure = error
    try:
        folder = snapshot_download(
            source.repository,
            repo_type="dataset",
            revision=source.revision,
            allow_patterns=patterns,
            local_files_only=failure is not None,
        )
    except Exception as error:
        raise _not_to_be_had(source, corpus, failure or error) from error
    files = sorted(str(file) for pattern in patterns for file in Path(folder).glob(pattern))
    if not files:
        missing = FileNotFoundError(f"no file {' or '.join(patterns)} at revision {source.revision}")
        raise _not_to_be_had(source, corpus, failure or missing)
    return files


def _not_to_be_had(source: HubSource, corpus: str, error: Exception) -> UsageError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UsageError(
        f"the corpus {corpus} is not to be had: {source.repository} on the hub failed ({reason}).\n"
        "Three ways to get one:\n"
        f"  - go online once, so that {source.repository} is downloaded from the hub;\n"
        f"  - DATA_DIR=FOLDER, where FOLDER/{corpus}/ holds train.txt, valid.txt and test.txt "
        "(or --data.init_args.data_dir with that folder itself);\n"
        "  - a corpus that is built in and needs nothing: EXP=daae_reviews."
    )


def _join_columns(
    rows: Mapping[str, list[object]], text: tuple[str, ...], label: str | None
) -> dict[str, list[object]]:
    parts = zip(*(rows[column] for column in text), strict=True)
    joined: dict[str, list[object]] = {"text": [" ".join(str(part) for part in row if part) for row in parts]}
    if label:
        joined["label"] = list(rows[label])
    return joined


def _tweet_tokenize(rows: Mapping[str, list[str]]) -> dict[str, list[str]]:
    split_words = TweetTokenizer(preserve_case=False).tokenize
    # The hub's Yelp and Yahoo keep their files' escapes: a line break is a backslash and an n, a quote follows one.
    plain = (text.replace(r"\n", " ").replace(r"\"", '"') for text in rows["text"])
    return {"text": [" ".join(split_words(text)) for text in plain]}
