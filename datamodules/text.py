"""The base of every corpus: raw text in, length-bucketed `TokenBatch`es out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from datasets import Dataset
from pytorch_lightning import LightningDataModule
from tokenizers import Tokenizer
from torch.utils.data import DataLoader

from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig, BucketSampler, ResumableLoader
from datamodules.dataset import Overflow, SentenceDataset, cached_vocabulary, encode, one_at_a_time
from datamodules.errors import UsageError, require
from datamodules.sources import SPLITS, HubSource, read_folder, read_hub, tweet_tokenize
from datamodules.vocabulary import VocabularyConfig, read_vocabulary

MOST_WORKERS = 1024  # more is a slip, which would fill a machine with processes


@dataclass(frozen=True)
class SubsetConfig:
    """How much of a corpus is used.

    Attributes:
        train: Sentences drawn by seed from the training split; all of them where it is null.
        valid: The same of the validation split; where the source has none, this many are cut from its training split.
        test: The same of the test split.
        max_words: Longest sentence.
        overflow: What is done with a longer one.
    """

    train: int | None = None
    valid: int | None = None
    test: int | None = None
    max_words: int | None = None
    overflow: Overflow = "drop"

    def __post_init__(self) -> None:
        for name in (*SPLITS, "max_words"):
            value = getattr(self, name)
            require(value is None or value > 0, f"subset.{name} is {value}: give a positive number, or null for all")
            require(value is None or value < 2**31, f"subset.{name} is {value}: give null for all")


class TextDataModule(LightningDataModule):
    """A corpus of text.

    A corpus is a subclass that names its folder below `DATA_DIR` and its hub source; a built-in one overrides
    `read_split`.

    Args:
        data_dir: Folder with `train.txt`, `valid.txt`, `test.txt`, one sentence of whitespace-separated words a line,
            and `*.labels` if there are labels. Without it `$DATA_DIR/<corpus>` is taken, and without that the hub.
        hub: Where on the hub the corpus lies.
        subset: How much of the corpus is used.
        vocabulary: Which words are kept.
        batching: How sentences are put into batches.
        seed: Decides subsets, cuts and the order of batches; the command line sets it from `seed_everything`.
        num_workers: Processes that read batches; 0 reads them in the training process, which is fast enough for most.
    """

    corpus: ClassVar[str] = "text"
    """Its name, and its folder's below `DATA_DIR`."""
    in_root: ClassVar[bool] = True
    """Whether a folder of that name is looked for in `DATA_DIR`."""
    built_in: ClassVar[bool] = False
    """Made by the project: needs neither the hub nor a folder."""
    label_names: tuple[str, ...] = ()
    """What the labels 0, 1, ... mean."""
    attributes: ClassVar[Mapping[str, tuple[str, str]]] = {"label": ("0", "1")}
    """What the binary digits of the labels, the highest first, stand for, and what their values are called."""

    def __init__(
        self,
        data_dir: str | None = None,
        hub: HubSource = HubSource(),
        subset: SubsetConfig = SubsetConfig(),
        vocabulary: VocabularyConfig = VocabularyConfig(),
        batching: BatchingConfig = BatchingConfig(),
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.hub = hub
        self.subset = subset
        self.vocabulary_config = vocabulary
        self.batching = batching
        self.seed = seed
        self.num_workers = num_workers
        require(0 <= num_workers <= MOST_WORKERS, f"num_workers is {num_workers}: give 0 to {MOST_WORKERS}")
        require(not (self.built_in and data_dir), f"the corpus {self.corpus} is built in: it takes no data_dir")
        own_words = self.built_in and vocabulary != VocabularyConfig()
        require(not own_words, f"the corpus {self.corpus} is built in, with all of its words: leave vocabulary out")
        root = os.environ.get("DATA_DIR")
        if data_dir is None and root and self.in_root and not self.built_in:
            data_dir = str(Path(root) / self.corpus)
            require(
                Path(data_dir).expanduser().is_dir(),
                f"DATA_DIR is {root}, which has no folder {self.corpus}: it is to hold one folder a corpus. Unset it "
                "to take the corpus from the hub; a folder of this corpus alone goes to --data.init_args.data_dir",
            )
        self.data_dir = None if data_dir is None else Path(data_dir).expanduser().absolute()
        self._vocabulary: Tokenizer | None = None
        self._splits: dict[str, SentenceDataset] = {}

    @property
    def splits_words(self) -> bool:
        """Whether NLTK's TweetTokenizer splits the words, rather than the corpus' authors."""
        return self.data_dir is None and bool(self.hub.repository) and self.hub.tweet_tokenize

    @property
    def vocabulary(self) -> Tokenizer:
        """The words of the training split; built or read, by one process at a time, when first asked for."""
        if self._vocabulary is None:
            self._vocabulary = self.make_vocabulary()
        return self._vocabulary

    @property
    def vocabulary_json(self) -> str:
        """The vocabulary as the string that models keep; the command line hands it to the model."""
        return str(self.vocabulary.to_str())

    def make_vocabulary(self) -> Tokenizer:
        """Builds the vocabulary from the training split, or reads it from where an earlier run or rank left it."""
        if self.vocabulary_config.file is not None:
            return read_vocabulary(self.vocabulary_config.file)
        # Every rank comes here, before there is a group in which one could prepare the data for the others.
        with one_at_a_time(self.corpus, self.data_dir, self.hub):
            train = self.read_split("train")
            try:
                return cached_vocabulary(train, self.vocabulary_config)
            except UsageError as error:
                raise UsageError(f"{self._source('train')}: {error}") from error

    def read_split(self, split: str) -> Dataset:
        """The raw text of a split: column `text`, and `label` if the corpus has labels.

        Raises:
            UsageError: The corpus is not to be had.
        """
        if self.data_dir is not None:
            return self.draw(read_folder(self.data_dir, split), split)
        if not self.hub.repository:
            raise UsageError(f"{type(self).__name__} has no hub source: give it a folder of text files as data_dir")
        if split in self.hub.splits and (split != "train" or set(SPLITS) == set(self.hub.splits)):
            return self._tokenize(self.draw(self.clean(read_hub(self.hub, split, self.corpus)), split), split)
        return self._cut_from_train(split)

    def clean(self, dataset: Dataset) -> Dataset:
        """Drops rows of the hub's text that are no sentences; a corpus with such rows overrides it."""
        return dataset

    def draw(self, dataset: Dataset, split: str) -> Dataset:
        """As many rows, by seed, as the subset has of the split."""
        size: int | None = getattr(self.subset, split)
        if size is None or size >= len(dataset):
            return dataset
        return dataset.shuffle(seed=self.seed).select(range(size))

    def prepare_data(self) -> None:
        """Downloads, counts and encodes everything once; a later start finds it in the cache."""
        for split in SPLITS:
            self.split(split)

    def setup(self, stage: str) -> None:
        """Opens the splits that the stage needs."""
        needed = {"fit": ("train", "valid"), "validate": ("valid",)}.get(stage, ("test",))
        for split in needed:
            self.split(split)

    def split(self, split: str) -> SentenceDataset:
        """The encoded sentences of a split, whatever the stage.

        Raises:
            UsageError: None is left.
        """
        if split not in self._splits:
            sentences = SentenceDataset(self._encode(split))
            require(
                len(sentences) > 0,
                f"{self._source(split)} has no sentence that is neither blank nor too long",
            )
            self._splits[split] = sentences
        return self._splits[split]

    def train_dataloader(self) -> DataLoader[TokenBatch]:
        """Bucketed batches, reshuffled every epoch."""
        return self._loader("train", training=True)

    def val_dataloader(self) -> DataLoader[TokenBatch]:
        """The validation split, every sentence once."""
        return self._loader("valid", training=False)

    def test_dataloader(self) -> DataLoader[TokenBatch]:
        """The test split, every sentence once."""
        return self._loader("test", training=False)

    def predict_dataloader(self) -> DataLoader[TokenBatch]:
        """The test split, every sentence once."""
        return self._loader("test", training=False)

    def transfer_batch_to_device(self, batch: TokenBatch, device: torch.device, dataloader_idx: int) -> TokenBatch:
        """The batch on the device, for which a GPU is not waited: Lightning would, for anything but a tensor."""
        return batch.to(device, non_blocking=True)

    def _loader(self, split: str, training: bool) -> DataLoader[TokenBatch]:
        dataset = self.split(split)
        trainer = self.trainer
        ranks = trainer.world_size if trainer else 1
        require(len(dataset) >= ranks, f"the {split} split has {len(dataset)} sentences for {ranks} processes")
        options: dict[str, Any] = {"training": training, "seed": self.seed, "world_size": ranks}
        last = BucketSampler(dataset.lengths, self.batching, rank=ranks - 1, **options)
        size = self.batching.eval_sentences
        require(len(last) > 0, f"batching.eval_sentences is {size} for {ranks} processes: give {ranks} or more")
        rank = trainer.global_rank if trainer else 0
        sampler = BucketSampler(dataset.lengths, self.batching, rank=rank, **options)
        # A state is for training alone: Lightning would save that of an evaluation, too.
        loader = ResumableLoader if training else DataLoader
        return loader(
            dataset,
            sampler=sampler,
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
        )

    def _encode(self, split: str) -> Dataset:
        return encode(
            self.read_split(split),
            self.vocabulary,
            self.subset.max_words,
            self.subset.overflow,
            desc=f"{self.corpus} {split}: words to ids",
        )

    def _source(self, split: str) -> str:
        return f"the {split} split of {self.corpus}" if self.data_dir is None else str(self.data_dir / f"{split}.txt")

    def _tokenize(self, dataset: Dataset, split: str) -> Dataset:
        if not self.hub.tweet_tokenize:
            return dataset
        return tweet_tokenize(dataset, desc=f"{self.corpus} {split}: words")

    def _cut_from_train(self, split: str) -> Dataset:
        """Cuts the splits that the hub lacks, and what remains to train on, from its training split, by seed."""
        whole = self.clean(read_hub(self.hub, "train", self.corpus)).shuffle(seed=self.seed)
        start = 0
        for lacking in (name for name in SPLITS[1:] if name not in self.hub.splits):
            size: int | None = getattr(self.subset, lacking)
            if size is None:
                raise UsageError(
                    f"{self.hub.repository} has no {lacking} split: say how much to cut in subset.{lacking}"
                )
            if lacking == split:
                return self._tokenize(whole.select(range(start, min(start + size, len(whole)))), split)
            start += size
        require(
            start < len(whole), f"{self.hub.repository} has {len(whole)} rows; {start} are cut from it: lower subset"
        )
        remaining = len(whole) - start
        train = whole.select(range(start, start + min(self.subset.train or remaining, remaining)))
        return self._tokenize(train, "train")
