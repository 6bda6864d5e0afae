"""The base of every family, with a latent or without: what training and evaluation have in common.

B sentences, T steps, Z latent size.
"""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any, ClassVar, TypeVar, cast

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from datamodules.batch import TokenBatch
from datamodules.errors import UsageError, require
from datamodules.vocabulary import BOS, UNK, parse_vocabulary
from lightning_modules.backbone.decoder import DecoderConfig, State
from lightning_modules.backbone.model import Backbone
from lightning_modules.backbone.views import right_to_left
from lightning_modules.metrics.figures import Figures
from lightning_modules.optimization import OptimizerConfig, make_optimizer
from lightning_modules.randomness import SentenceRandom

Config = TypeVar("Config")


@dataclass(frozen=True)
class ObjectiveTerms:
    """What a family's objective gives for a batch, sentence by sentence.

    Attributes:
        loss: (B,) what is minimised, in the mean over sentences.
        terms: (B,) each: the named parts that are logged, nats where they are likelihoods.
        ends: (B,) EOS's part of the likelihoods among them; none of a family without a posterior density or likelihood.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    ends: Tensor | None = None


class TextModel(LightningModule, ABC):
    """A model that writes sentences; a family is a subclass that writes its `objective`.

    Args:
        vocabulary: JSON of the `tokenizers.Tokenizer` whose ids the batches hold; the checkpoint keeps it.
        decoder: The decoder.
        optimizer: The optimiser.
        seed: Decides every random number; the command line sets it from `seed_everything`.

    Attributes:
        weights: What a schedule may drive, by name; at first the final values, which the constructor was given.
    """

    monitor: ClassVar[str]
    """The validation quantity by which checkpoints are chosen, at final weights; lower is better."""
    terms: ClassVar[tuple[str, ...]]
    """The names that `objective` gives."""
    perplexities: ClassVar[Mapping[str, str]] = {}
    """Perplexities that evaluation reports, and the term, in nats a sentence, of which each is made."""
    draws_latents: bool = False
    """Whether an evaluation's terms depend on random draws."""
    latent_size: int = 0
    backbone: Backbone

    def __init__(self, vocabulary: str, decoder: DecoderConfig, optimizer: OptimizerConfig, seed: int) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        for name, value in self.hparams.items():
            if is_dataclass(value) and not isinstance(value, type):
                self.hparams[name] = asdict(value)  # a checkpoint holds plain values only
        self.vocabulary = parse_vocabulary(vocabulary)
        self.decoder_config = configured(DecoderConfig, decoder)
        self.optimizer_config = configured(OptimizerConfig, optimizer)
        self.seed = seed
        self.weights = {"word_dropout": self.decoder_config.word_dropout}
        self.second_draw = False
        self.last_loss: Tensor | None = None
        self.figures = nn.ModuleDict(
            {
                "val": Figures(self.terms, self.perplexities),
                "test": Figures(self.terms, self.perplexities, errors=True, sampled=self.draws_latents),
            }
        )

    @abstractmethod
    def objective(self, batch: TokenBatch) -> ObjectiveTerms:
        """The family's loss and its named terms, sentence by sentence."""

    def random(self, batch: TokenBatch) -> SentenceRandom:
        """The batch's random numbers: fresh ones every epoch in training, the same ones whenever it is evaluated."""
        evaluation = -2 if self.second_draw else -1
        return SentenceRandom(batch.index, self.seed, self.current_epoch if self.training else evaluation)

    def decoder_batch(self, batch: TokenBatch) -> TokenBatch:
        """What the decoder reads and writes: in its own order, and in training with its word dropout."""
        if self.decoder_config.direction == "right_to_left":
            batch = right_to_left(batch)
        if self.training and self.weights["word_dropout"] > 0:
            rate, steps = self.weights["word_dropout"], batch.inputs.shape[1]
            dropped = self.random(batch).bernoulli("word_dropout", rate, steps) & (batch.inputs != BOS)
            batch = replace(batch, inputs=batch.inputs.masked_fill(dropped, UNK))
        return batch

    def token_nll(self, batch: TokenBatch, z_BZ: Tensor) -> Tensor:
        """-log p(x_t | x_<t, z) in nats, (B, T) in the decoder's order, 0 at padding; word dropout in training only."""
        batch = self.decoder_batch(batch)
        return self.backbone.token_nll(batch, self.backbone.decoder(batch.inputs, z_BZ))

    def reconstruction(self, batch: TokenBatch, z_BZ: Tensor) -> Tensor:
        """-log p(x|z), (B,) nats a sentence, EOS counted."""
        return self.sentence_nll(batch, z_BZ)[0]

    def sentence_nll(self, batch: TokenBatch, z_BZ: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x|z), (B,) nats a sentence, EOS counted, and EOS's part of it."""
        nll_BT = self.token_nll(batch, z_BZ)
        return nll_BT.sum(1), nll_BT.gather(1, batch.lengths[:, None] - 1).squeeze(1)

    def step(self, words_B: Tensor, z_BZ: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Writes one word: from the word before, z and the state before (none at first) to logits (B, V), new state."""
        decoder = self.backbone.decoder
        hidden_BH, state = decoder.step(words_B, z_BZ, state)
        return decoder.logits(hidden_BH), state

    def prior_latents(self, random: SentenceRandom) -> Tensor:
        """(B, Z) draws from the prior N(0, I), from which the decoder writes new sentences."""
        return random.normal("prior samples", self.latent_size)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The optimiser's parameter groups."""
        return [{"params": list(self.parameters())}]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser over `parameter_groups`, and its schedule."""
        optimizer = make_optimizer(self.parameter_groups(), self.optimizer_config, self.fuses_steps())
        if self.optimizer_config.schedule == "constant":
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        endless = "optimizer.schedule linear falls to 0 at the last step: give --trainer.max_epochs or max_steps"
        require(math.isfinite(steps), endless)
        # Not LinearLR, which a resume gives the number of steps of before, after which it would train at rate 0.
        decay = LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}

    def fuses_steps(self) -> bool:
        """Whether optimisers take fused steps: on a CPU, unless Lightning clips in mixed precision, which forbids them.

        It takes a fused step for one that also unscales the gradients.
        """
        trainer = self._trainer  # none where a user takes the optimisers alone
        mixed = trainer is not None and isinstance(trainer.precision_plugin, MixedPrecision)
        return self.device.type == "cpu" and not (mixed and self.trainer.gradient_clip_val)

    def on_train_start(self) -> None:
        """Sets a falling rate to what it is with the steps that are left, also after a resume with more of them."""
        decay = self.lr_schedulers()
        if isinstance(decay, LambdaLR):
            for group, rate, factor in zip(decay.optimizer.param_groups, decay.base_lrs, decay.lr_lambdas, strict=True):
                group["lr"] = rate * factor(decay.last_epoch)

    def on_train_batch_start(self, batch: TokenBatch, batch_idx: int) -> None:
        """Seeds what sentences do not draw themselves (dropout) from the step, so that a resume repeats it."""
        step = f"{self.seed} {self.current_epoch} {batch_idx} {self.global_rank}"
        seed = zlib.crc32(step.encode())
        # Not torch.manual_seed, which keeps a stack trace of every call for each device that is not there.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def training_step(self, batch: TokenBatch, batch_idx: int) -> Tensor | None:
        """One step of the objective."""
        objective = self.objective(batch)
        self.log_objective(batch, objective)
        return objective.loss.mean() * batch.share

    def log_objective(self, batch: TokenBatch, objective: ObjectiveTerms) -> None:
        """Notes the loss of a training step, and logs it with its terms and the learning rate at which it is taken.

        At the steps that the trainer's `log_every_n_steps` chooses: at the others nobody would see them.
        """
        self.last_loss = objective.loss.detach().mean()
        # Lightning's own monitors ask so; it logs, too, where a fit is about to stop.
        if not self.trainer._logger_connector.should_update_logs:
            return
        logged = {f"train/{term}": value.detach().mean() for term, value in objective.terms.items()}
        logged["train/loss"] = self.last_loss
        self.log_dict(logged, batch_size=len(batch))
        self.log("train/lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def validation_step(self, batch: TokenBatch, batch_idx: int) -> dict[str, Tensor] | None:
        """The objective's terms over the validation split."""
        return self._evaluate("val", batch)

    def test_step(self, batch: TokenBatch, batch_idx: int) -> dict[str, Tensor]:
        """The objective's terms over the test split, which callbacks get.

        With them come EOS's part of the likelihoods as `end` and, where latents are drawn, all of it of another draw,
        as `second_reconstruction` and so on.
        """
        return self._evaluate("test", batch)

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
        if checkpoint["hyper_parameters"].get("vocabulary") != self.hparams["vocabulary"]:
            raise UsageError(
                "the checkpoint has another vocabulary than the data: evaluate on the corpus it was trained on, or "
                "give the data its words with --data.init_args.vocabulary.file RUN/vocabulary.json"
            )
        if other:
            raise UsageError(
                f"the checkpoint's weights have other sizes than the configuration asks for ({other[0]}: "
                f"{shapes.get(other[0])}, not {mine.get(other[0])}): use the config.yaml of its run"
            )

    def _evaluate(self, stage: str, batch: TokenBatch) -> dict[str, Tensor]:
        objective = self.objective(batch)
        if self.perplexities and objective.ends is None:
            raise TypeError(
                f"{type(self).__name__}.objective says nothing of EOS's part, `ends`, which perplexities need"
            )
        given, again = _by_sentence(objective), None
        if stage == "test" and self.draws_latents:
            self.second_draw = True
            again = _by_sentence(self.objective(batch))
            self.second_draw = False
        figures = cast(Figures, self.figures[stage])
        figures.update(given, batch.lengths, again)
        for name, metric in figures.items():
            self.log(f"{stage}/{name}", metric, on_epoch=True, batch_size=len(batch))
        return given | {f"second_{name}": value for name, value in (again or {}).items()}


def _by_sentence(objective: ObjectiveTerms) -> dict[str, Tensor]:
    return dict(objective.terms) | ({} if objective.ends is None else {"end": objective.ends})


def configured(kind: type[Config], value: Config | Mapping[str, Any]) -> Config:
    """The dataclass, also from the mapping that a checkpoint keeps of it."""
    return kind(**value) if isinstance(value, Mapping) else value
