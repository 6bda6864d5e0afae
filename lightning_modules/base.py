"""Every family with a latent: an encoder beside the decoder. B sentences, L latents of each, Z latent size."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from datamodules.batch import TokenBatch
from datamodules.errors import require
from lightning_modules.backbone.corruption import CorruptionConfig, corrupt
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.initialization import InitializationConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.backbone.model import Backbone
from lightning_modules.backbone.posterior import Gaussian, PosteriorConfig
from lightning_modules.backbone.views import encoder_view, sentence_words
from lightning_modules.optimization import OptimizerConfig
from lightning_modules.randomness import SentenceRandom
from lightning_modules.text_model import TextModel, configured


class TextAutoencoder(TextModel):
    """An autoencoder of text: an encoder q(z|x) and a decoder p(x|z).

    Args:
        vocabulary: JSON of the `tokenizers.Tokenizer` whose ids the batches hold; the checkpoint keeps it.
        embedding: The word embeddings.
        encoder: The encoder.
        posterior: The posterior's heads.
        decoder: The decoder.
        corruption: Noise C(x) on what the encoder sees in training.
        initialization: How the parameters start.
        optimizer: The optimiser.
        seed: Decides every random number; the command line sets it from `seed_everything`.

    Attributes:
        stochastic: Whether z is drawn from a posterior that has a density.
        latents_per_sentence: L, independent latents of which the decoder is told for a sentence.
    """

    monitor: ClassVar[str] = "val/reconstruction"
    terms: ClassVar[tuple[str, ...]] = ("reconstruction",)
    draws_latents = True
    stochastic = True
    latents_per_sentence = 1

    def __init__(
        self,
        vocabulary: str,
        embedding: EmbeddingConfig = EmbeddingConfig(),
        encoder: EncoderConfig = EncoderConfig(),
        posterior: PosteriorConfig = PosteriorConfig(),
        decoder: DecoderConfig = DecoderConfig(),
        corruption: CorruptionConfig = CorruptionConfig(),
        initialization: InitializationConfig = InitializationConfig(),
        optimizer: OptimizerConfig = OptimizerConfig(),
        seed: int = 0,
    ) -> None:
        super().__init__(vocabulary, decoder, optimizer, seed)
        require(len(self.decoder_config.latent) > 0, "decoder.latent is empty: give state, concat or add, or several")
        self.encoder_config = configured(EncoderConfig, encoder)
        self.posterior_config = configured(PosteriorConfig, posterior)
        self.latent_size = self.posterior_config.latent_size
        self.corruption = configured(CorruptionConfig, corruption)
        self.initialization = configured(InitializationConfig, initialization)
        self.backbone = Backbone(
            self.vocabulary.get_vocab_size(),
            configured(EmbeddingConfig, embedding),
            self.decoder_config,
            self.initialization,
            self.encoder_config,
            self.posterior_config,
        )

    def encode(self, batch: TokenBatch) -> Gaussian:
        """q(z|x), or q(z|C(x)) in training."""
        words_BT, count_B = sentence_words(batch)
        if self.training:
            size = self.vocabulary.get_vocab_size()
            words_BT, count_B = corrupt(words_BT, count_B, self.corruption, self.random(batch), size)
        return self.backbone.encode(*encoder_view(words_BT, count_B, self.encoder_config.view))

    def sample_latent(self, batch: TokenBatch, posterior: Gaussian, sample: int = 0) -> Tensor:
        """(B, Z), drawn from the posterior."""
        return posterior.sample(self.random(batch).normal("posterior", self.latent_size, sample=sample))

    def draw_latents(self, posterior: Gaussian, random: SentenceRandom, stream: str = "posterior") -> Tensor:
        """What the decoder is told of each sentence in evaluation.

        Args:
            posterior: Of the sentences.
            random: Their random numbers.
            stream: What the draws are for.

        Returns:
            (B, Z) drawn from the posterior, (B, L, Z) where the decoder is told of several latents; of a model without
            a posterior density its mean.
        """
        if not self.stochastic:
            return posterior.mean
        draws = [
            posterior.sample(random.normal(stream, self.latent_size, sample=number))
            for number in range(self.latents_per_sentence)
        ]
        return draws[0] if len(draws) == 1 else torch.stack(draws, dim=1)

    def predict_step(self, batch: TokenBatch, batch_idx: int) -> Gaussian:
        """q(z|x) of each sentence."""
        return self.encode(batch)
