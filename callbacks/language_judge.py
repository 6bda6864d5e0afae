"""Language models of this framework as judges: trained on some sentences, asked about others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from callbacks.judging import judge_trainer, sentence_loader, training_aside
from datamodules.batch import TokenBatch
from datamodules.errors import require, require_positive
from lightning_modules import LanguageModel
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.decoding.search import evaluating
from lightning_modules.metrics.perplexity import exp
from lightning_modules.optimization import OptimizerConfig


@dataclass(frozen=True)
class JudgeConfig:
    """A language model that judges, and how it is trained.

    Attributes:
        embedding_size: Of its words.
        hidden_size: Of its LSTM.
        dropout: On its states, before the output layer.
        epochs: Over the sentences it is trained on.
        sentences: In a batch.
        lr: Adam's learning rate.
    """

    embedding_size: int = 128
    hidden_size: int = 256
    dropout: float = 0.2
    epochs: int = 8
    sentences: int = 64
    lr: float = 2e-3

    def __post_init__(self) -> None:
        for name in ("embedding_size", "hidden_size", "epochs", "sentences"):
            require_positive(f"language_model.{name}", getattr(self, name))
        require_positive("language_model.lr", self.lr)
        require(0 <= self.dropout < 1, f"language_model.dropout is {self.dropout}: give a probability below 1")


def train_judge(
    sentences: Sequence[str], vocabulary: Tokenizer, config: JudgeConfig, device: torch.device, seed: int
) -> LanguageModel:
    """A language model of these whitespace-tokenised sentences, by Lightning, on one device and in this process alone.

    Raises:
        UsageError: No sentence has a word.
    """
    loader = sentence_loader(sentences, vocabulary, config.sentences, training=True, seed=seed)
    with training_aside(seed):
        trainer = judge_trainer(device, config.epochs, limit_val_batches=0, enable_checkpointing=False)
        model = LanguageModel(
            vocabulary.to_str(),
            embedding=EmbeddingConfig(config.embedding_size),
            decoder=DecoderConfig(hidden_size=config.hidden_size, output_dropout=config.dropout),
            optimizer=OptimizerConfig(lr=config.lr),
            seed=seed,
        )
        trainer.fit(model, loader, loader)  # it validates on no batch, but Lightning would warn without a loader
    return model.to(device).eval()


def judged_perplexity(judge: LanguageModel, batches: Iterable[TokenBatch]) -> float:
    """exp(nats / tokens) of all sentences of the batches, EOS counted in both."""
    nats, tokens, _ = _judged(judge, batches)
    return exp(nats / tokens)


def judged_nll(judge: LanguageModel, batches: Iterable[TokenBatch]) -> float:
    """-log p(x), nats a sentence, EOS counted: the mean over all sentences of the batches."""
    nats, _, sentences = _judged(judge, batches)
    return nats / sentences


def _judged(judge: LanguageModel, batches: Iterable[TokenBatch]) -> tuple[float, int, int]:
    """-log p of all sentences in nats, their tokens and their number."""
    nats, tokens, sentences = 0.0, 0, 0
    with evaluating(judge):
        for batch in batches:
            there = batch.to(judge.device)
            nats += float(judge.nll(there)[0].double().sum())
            tokens += int(there.lengths.sum())
            sentences += len(there)
    return nats, tokens, sentences
