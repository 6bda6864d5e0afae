"""Where raw text comes from: a folder of text files or the hub.

Both give a `datasets.Dataset` with the column `text`, one sentence or document a row, and `label` where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset, DownloadConfig, Features, Value, load_dataset
from datasets.exceptions import DatasetGenerationError
from nltk.tokenize import TweetTokenizer

from datamodules.errors import UsageError, require

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class HubSource:
    """A corpus on the hub, as `datasets.load_dataset` takes it.

    Attributes:
        repository: Its id, `owner/name`.
        configuration: The configuration (subset) of the repository, if it has several.
        revision: Branch, tag or commit. Repositories that still carry a loading script are read from the hub's own
            conversion, `refs/convert/parquet`.
        text: Columns that are joined, in this order, to one text.
        label: Column with integer labels, if wanted.
        splits: Our split names to the repository's. One that is left out is cut from the training split by seed.
        tweet_tokenize: Split words and punctuation with NLTK's TweetTokenizer and lower-case; off where the repository
            holds whitespace tokens already.
    """

    repository: str
    configuration: str | None = None
    revision: str = "main"
    text: tuple[str, ...] = ("text",)
    label: str | None = None
    splits: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "valid": "validation", "test": "test"})
    tweet_tokenize: bool = True


def read_hub(source: HubSource, split: str, corpus: str) -> Dataset:
    """Downloads one of the repository's own splits (or takes it from the cache).

    Raises:
        UsageError: The hub cannot be reached, or has no such repository, split or column; names the ways out.
    """
    with _hub_errors(source, corpus):
        dataset = load_dataset(
            source.repository,
            source.configuration,
            split=source.splits[split],
            revision=source.revision,
            download_config=DownloadConfig(max_retries=0),
        )
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
        fn_kwargs={"source": source},
        remove_columns=columns,
        desc=f"{corpus} {split}: text",
    )


def read_folder(folder: Path, split: str) -> Dataset:
    """Reads `<split>.txt`, one sentence a line, and `<split>.labels`, one integer a line, if it is there.

    Raises:
        UsageError: The folder or file is missing, empty, or not UTF-8, or the labels do not fit the lines.
    """
    file = folder / f"{split}.txt"
    require(folder.is_dir(), f"data_dir {folder} is no folder: give one that holds train.txt, valid.txt and test.txt")
    require(file.is_file(), f"data_dir {folder} has no {file.name}: it must hold train.txt, valid.txt and test.txt")
    require(file.stat().st_size > 0, f"{file} is empty")
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
        except ValueError as error:
            raise UsageError(f"{labels_file}: labels are integers, one a line ({error})") from error
    return dataset


def _read_lines(file: Path) -> Dataset:
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
                return f"line {number}, byte {error.start} ({error.reason}); convert it, for example with iconv"
    return "it could not be read"


def _join_columns(rows: Mapping[str, list[object]], source: HubSource) -> dict[str, list[object]]:
    split_words = TweetTokenizer().tokenize if source.tweet_tokenize else str.split
    texts: list[object] = []
    for parts in zip(*(rows[column] for column in source.text), strict=True):
        text = " ".join(split_words(" ".join(str(part) for part in parts if part)))
        texts.append(text.lower() if source.tweet_tokenize else text)
    joined: dict[str, list[object]] = {"text": texts}
    if source.label:
        joined["label"] = list(rows[source.label])
    return joined


@contextmanager
def _hub_errors(source: HubSource, corpus: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"the corpus {corpus} is not to be had: {source.repository} on the hub failed "
            f"({type(error).__name__}: {str(error).splitlines()[0]}).\nThree ways to get one:\n"
            f"  - go online, so that it is downloaded from the hub ({source.repository}), once;\n"
            f"  - DATA_DIR=FOLDER, where FOLDER/{corpus}/ holds train.txt, valid.txt and test.txt "
            "(or --data.init_args.data_dir with that folder itself);\n"
            "  - a corpus that is built in and needs nothing: EXP=daae_reviews."
        ) from error
