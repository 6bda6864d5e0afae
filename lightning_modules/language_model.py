"""The recurrent language model: the papers' baseline (RNNLM, LSTM-LM)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from datamodules.batch import TokenBatch
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.initialization import InitializationConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.backbone.model import Backbone
from lightning_modules.optimization import OptimizerConfig
from lightning_modules.text_model import ObjectiveTerms, TextModel, configured


class LanguageModel(TextModel):
    """The autoencoders' decoder without a latent; its -log p(x) is exact (Bowman et al. 2016, Kruengkrai 2019).

    Args:
        vocabulary: JSON of the `tokenizers.Tokenizer` whose ids the batches hold; the checkpoint keeps it.
        embedding: The word embeddings.
        decoder: The network; what its settings say of a latent has no effect.
        initialization: How the parameters start.
        optimizer: The optimiser.
        seed: Decides every random number; the command line sets it from `seed_everything`.
    """

    monitor = "val/nll"
    terms = ("nll",)
    perplexities: ClassVar[Mapping[str, str]] = {"perplexity": "nll"}

    def __init__(
        self,
        vocabulary: str,
        embedding: EmbeddingConfig = EmbeddingConfig(),
        decoder: DecoderConfig = DecoderConfig(),
        initialization: InitializationConfig = InitializationConfig(),
        optimizer: OptimizerConfig = OptimizerConfig(),
        seed: int = 0,
    ) -> None:
        super().__init__(vocabulary, decoder, optimizer, seed)
        self.decoder_config = replace(self.decoder_config, latent=(), latent_highway=None, concat_size=None)
        self.backbone = Backbone(
            self.vocabulary.get_vocab_size(),
            configured(EmbeddingConfig, embedding),
            self.decoder_config,
            configured(InitializationConfig, initialization),
        )

    def objective(self, batch: TokenBatch) -> ObjectiveTerms:
        """-log p(x), without word dropout in evaluation."""
        nll, ends = self.nll(batch)
        return ObjectiveTerms(nll, {"nll": nll}, ends)

    def nll(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """-log p(x), (B,) nats a sentence, EOS counted, exact; and EOS's part of it."""
        nothing = self.backbone.embedding.weight.new_zeros(len(batch), 0)
        return self.sentence_nll(batch, nothing)

    def predict_step(self, batch: TokenBatch, batch_idx: int) -> Tensor:
        """-log p(x) of each sentence, (B,) nats."""
        return self.nll(batch)[0]
