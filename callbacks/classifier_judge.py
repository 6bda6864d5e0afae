"""Classifiers of sentences as judges: of an attribute, or of what is real. B sentences, T steps, C classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from callbacks.judging import judge_trainer, sentence_loader, training_aside
from datamodules.batch import TokenBatch
from datamodules.errors import require, require_positive
from lightning_modules.backbone.layers import last_step
from lightning_modules.decoding.text import text_batch

CHUNK = 512


@dataclass(frozen=True)
class Labelled:
    """Sentences of whitespace-separated words, and the class of each, from 0."""

    sentences: Sequence[str]
    labels: Sequence[int]

    def __post_init__(self) -> None:
        counts = len(self.sentences), len(self.labels)
        require(counts[0] == counts[1], f"there are {counts[0]} sentences and {counts[1]} labels")


@dataclass(frozen=True)
class ClassifierConfig:
    """A classifier, and how it is trained.

    Attributes:
        kind: `unigram`, a logistic regression on the words' counts, or `lstm`, one on the last state of an LSTM that
            has read the sentence and its EOS (Bowman et al. 2016, section 5).
        embedding_size: Of the LSTM's words.
        hidden_size: Of the LSTM.
        dropout: On the LSTM's words and its last state.
        epochs: At most.
        patience: Validations without an improvement after which training stops.
        sentences: In a batch.
        lr: Adam's learning rate.
    """

    kind: Literal["unigram", "lstm"] = "lstm"
    embedding_size: int = 64
    hidden_size: int = 128
    dropout: float = 0.3
    epochs: int = 20
    patience: int = 2
    sentences: int = 64
    lr: float = 2e-3

    def __post_init__(self) -> None:
        for name in ("embedding_size", "hidden_size", "epochs", "patience", "sentences", "lr"):
            require_positive(f"{name} of the {self.kind} classifier", getattr(self, name))
        require(
            0 <= self.dropout < 1,
            f"dropout of the {self.kind} classifier is {self.dropout}: give a probability below 1",
        )


class TextClassifier(LightningModule):
    """Tells classes of sentences apart.

    Args:
        config: Its kind and sizes.
        vocabulary: Of the sentences.
        classes: C.
    """

    def __init__(self, config: ClassifierConfig, vocabulary: Tokenizer, classes: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        words = vocabulary.get_vocab_size()
        unigram = config.kind == "unigram"
        self.embedding = None if unigram else nn.Embedding(words, config.embedding_size)
        self.network = None if unigram else nn.LSTM(config.embedding_size, config.hidden_size, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(words if unigram else config.hidden_size, classes)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Logits (B, C)."""
        if self.embedding is None or self.network is None:
            counts_BV = torch.zeros(len(batch), self.output.in_features, device=self.device)
            features = counts_BV.scatter_add(1, batch.targets, batch.mask.to(counts_BV.dtype))
        else:
            states_BTH, _ = self.network(self.dropout(self.embedding(batch.targets)))
            features = self.dropout(last_step(states_BTH, batch.lengths))
        logits: Tensor = self.output(features)
        return logits

    def training_step(self, batch: TokenBatch, batch_idx: int) -> Tensor:
        """The cross-entropy, nats a sentence."""
        assert batch.labels is not None
        return cross_entropy(self(batch), batch.labels)

    def validation_step(self, batch: TokenBatch, batch_idx: int) -> None:
        """The same over the sentences by which training is stopped."""
        assert batch.labels is not None
        self.log("val/loss", cross_entropy(self(batch), batch.labels), batch_size=len(batch), on_epoch=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.config.lr)

    def classify(self, sentences: Sequence[str]) -> list[int]:
        """The most probable class of each sentence."""
        found: list[int] = []
        self.eval()
        with torch.inference_mode():
            for start in range(0, len(sentences), CHUNK):
                batch = text_batch(self.vocabulary, sentences[start : start + CHUNK]).to(self.device)
                found += self(batch).argmax(1).tolist()
        return found


def train_classifier(
    train: Labelled, valid: Labelled, vocabulary: Tokenizer, config: ClassifierConfig, device: torch.device, seed: int
) -> TextClassifier:
    """A classifier with the weights that were best on `valid`, by Lightning, on one device and in this process alone.

    Raises:
        UsageError: The training sentences are of one class, or none has a word.
    """
    classes = max(train.labels, default=0) + 1
    present = sorted(set(train.labels))
    require(len(present) > 1, f"a classifier needs sentences of two classes or more, and there are those of {present}")
    size = config.sentences
    shown = sentence_loader(train.sentences, vocabulary, size, training=True, seed=seed, labels=train.labels)
    held_out = sentence_loader(valid.sentences, vocabulary, size, training=False, labels=valid.labels)
    with TemporaryDirectory() as folder, training_aside(seed):
        best = ModelCheckpoint(folder, "best", monitor="val/loss", enable_version_counter=False)
        stop = EarlyStopping("val/loss", patience=config.patience)
        model = TextClassifier(config, vocabulary, classes)
        judge_trainer(device, config.epochs, [best, stop]).fit(model, shown, held_out)
        weights = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
        model.load_state_dict(weights)
    return model.to(device).eval()


def accuracy(classifier: TextClassifier, data: Labelled) -> float:
    """Share of the sentences of which the classifier names the class; 0 of none."""
    found = classifier.classify(data.sentences)
    return sum(mine == true for mine, true in zip(found, data.labels, strict=True)) / max(1, len(found))
