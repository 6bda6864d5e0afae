"""The base of every family: what training and evaluation have in common. B sentences, T steps, Z latent size."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any, ClassVar, TypeVar, cast

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR
from torchmetrics import MeanMetric

from datamodules.batch import TokenBatch
from datamodules.errors import UsageError
from datamodules.vocabulary import BOS, UNK, parse_vocabulary
from lightning_modules.backbone.corruption import CorruptionConfig, corrupt
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.initialization import InitializationConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.backbone.model import Backbone
from lightning_modules.backbone.posterior import Gaussian, PosteriorConfig
from lightning_modules.backbone.views import encoder_view, right_to_left, sentence_words
from lightning_modules.optimization import OptimizerConfig, make_optimizer
from lightning_modules.randomness import SentenceRandom

Config = TypeVar("Config")


@dataclass(frozen=True)
class ObjectiveTerms:
    """What a family's objective gives for a batch, sentence by sentence.

    Attributes:
        loss: (B,) what is minimised, in the mean over sentences.
        terms: (B,) each: the named parts that are logged, nats where they are likelihoods.
    """

    loss: Tensor
    terms: dict[str, Tensor]


class TextAutoencoder(LightningModule, ABC):
    """An autoencoder of text; a family is a subclass that writes its `objective`.

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
    """

    monitor: ClassVar[str] = "val/reconstruction"
    """The validation quantity by which checkpoints are chosen; lower is better."""
    terms: ClassVar[tuple[str, ...]] = ("reconstruction",)
    """The names that `objective` gives."""

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
        super().__init__()
        self.save_hyperparameters(logger=False)
        for name, value in self.hparams.items():
            if is_dataclass(value) and not isinstance(value, type):
                self.hparams[name] = asdict(value)  # a checkpoint holds plain values only
        self.vocabulary = parse_vocabulary(vocabulary)
        self.encoder_config = configured(EncoderConfig, encoder)
        self.posterior_config = configured(PosteriorConfig, posterior)
        self.decoder_config = configured(DecoderConfig, decoder)
        self.corruption = configured(CorruptionConfig, corruption)
        self.optimizer_config = configured(OptimizerConfig, optimizer)
        self.seed = seed
        self.backbone = Backbone(
            self.vocabulary.get_vocab_size(),
            configured(EmbeddingConfig, embedding),
            self.encoder_config,
            self.posterior_config,
            self.decoder_config,
            configured(InitializationConfig, initialization),
        )
        # In float64: the sum over a split of float32 values loses digits.
        self.metrics = nn.ModuleDict(
            {
                f"{stage} {term}": MeanMetric(nan_strategy="disable").set_dtype(torch.float64)
                for stage in ("val", "test")
                for term in self.terms
            }
        )

    @abstractmethod
    def objective(self, batch: TokenBatch) -> ObjectiveTerms:
        """The family's loss and its named terms, sentence by sentence."""

    def random(self, batch: TokenBatch) -> SentenceRandom:
        """The batch's random numbers: fresh ones every epoch in training, the same ones whenever it is evaluated."""
        return SentenceRandom(batch.index, self.seed, self.current_epoch if self.training else -1)

    def encode(self, batch: TokenBatch) -> Gaussian:
        """q(z|x), or q(z|C(x)) in training."""
        words_BT, count_B = sentence_words(batch)
        if self.training:
            size = self.vocabulary.get_vocab_size()
            words_BT, count_B = corrupt(words_BT, count_B, self.corruption, self.random(batch), size)
        return self.backbone.encode(*encoder_view(words_BT, count_B, self.encoder_config.view))

    def sample_latent(self, batch: TokenBatch, posterior: Gaussian, sample: int = 0) -> Tensor:
        """(B, Z), drawn from the posterior."""
        noise = self.random(batch).normal("posterior", self.posterior_config.latent_size, sample=sample)
        return posterior.sample(noise)

    def token_nll(self, batch: TokenBatch, z_BZ: Tensor) -> Tensor:
        """-log p(x_t | x_<t, z) in nats, (B, T) in the decoder's order, 0 at padding; word dropout in training only."""
        if self.decoder_config.direction == "right_to_left":
            batch = right_to_left(batch)
        if self.training and self.decoder_config.word_dropout > 0:
            dropped = self.random(batch).uniform("word_dropout", batch.inputs.shape[1])
            dropped = (dropped < self.decoder_config.word_dropout) & (batch.inputs != BOS)
            batch = replace(batch, inputs=batch.inputs.masked_fill(dropped, UNK))
        return self.backbone.token_nll(batch, z_BZ)

    def reconstruction(self, batch: TokenBatch, z_BZ: Tensor) -> Tensor:
        """-log p(x|z), (B,) nats a sentence, EOS counted."""
        return self.token_nll(batch, z_BZ).sum(1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The optimiser's parameter groups."""
        return [{"params": list(self.parameters())}]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser over `parameter_groups`, and its schedule."""
        optimizer = make_optimizer(self.parameter_groups(), self.optimizer_config)
        if self.optimizer_config.schedule == "constant":
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        decay = LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}

    def on_train_batch_start(self, batch: TokenBatch, batch_idx: int) -> None:
        """Seeds what sentences do not draw themselves (dropout) from the step, so that a resume repeats it."""
        step = f"{self.seed} {self.current_epoch} {batch_idx} {self.global_rank}"
        torch.manual_seed(zlib.crc32(step.encode()))

    def training_step(self, batch: TokenBatch, batch_idx: int) -> Tensor:
        """One step of the objective."""
        objective = self.objective(batch)
        loss = objective.loss.mean()
        logged = {f"train/{term}": value.detach().mean() for term, value in objective.terms.items()}
        self.log_dict(logged | {"train/loss": loss.detach()}, batch_size=len(batch))
        return loss * batch.share

    def validation_step(self, batch: TokenBatch, batch_idx: int) -> None:
        """The objective's terms over the validation split."""
        self._evaluate("val", batch)

    def test_step(self, batch: TokenBatch, batch_idx: int) -> None:
        """The objective's terms over the test split."""
        self._evaluate("test", batch)

    def predict_step(self, batch: TokenBatch, batch_idx: int) -> Gaussian:
        """q(z|x) of each sentence."""
        return self.encode(batch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Names the family, so that the checkpoint can be loaded without its YAML."""
        checkpoint["family"] = type(self).__name__

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuses weights of another family or vocabulary.

        Raises:
            UsageError: They would load into the wrong words, or not at all.
        """
        family = checkpoint.get("family")
        if family != type(self).__name__:
            raise UsageError(
                f"the checkpoint is of the family {family}, the configuration asks for {type(self).__name__}"
            )
        shapes = {name: weights.shape for name, weights in checkpoint["state_dict"].items()}
        mine = {name: weights.shape for name, weights in self.state_dict().items()}
        other = sorted(name for name in shapes.keys() | mine.keys() if shapes.get(name) != mine.get(name))
        if checkpoint["hyper_parameters"]["vocabulary"] != self.hparams["vocabulary"]:
            raise UsageError(
                "the checkpoint has another vocabulary than the data: evaluate on the corpus it was trained on, or "
                "give the data its words with --data.init_args.vocabulary.file RUN/vocabulary.json"
            )
        if other:
            raise UsageError(
                f"the checkpoint's weights have other sizes than the configuration asks for ({other[0]}: "
                f"{shapes.get(other[0])}, not {mine.get(other[0])}): use the config.yaml of its run"
            )

    def _evaluate(self, stage: str, batch: TokenBatch) -> None:
        for term, value in self.objective(batch).terms.items():
            metric = cast(MeanMetric, self.metrics[f"{stage} {term}"])
            metric.update(value)
            self.log(f"{stage}/{term}", metric, on_epoch=True, batch_size=len(batch))


def configured(kind: type[Config], value: Config | Mapping[str, Any]) -> Config:
    """The dataclass, also from the mapping that a checkpoint keeps of it."""
    return kind(**value) if isinstance(value, Mapping) else value
