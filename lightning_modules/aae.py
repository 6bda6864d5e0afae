"""The adversarial autoencoder, and its latent-noising (LAAE) and denoising (DAAE) variants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from datamodules.batch import TokenBatch
from datamodules.errors import require_not_negative, require_positive
from lightning_modules.backbone.layers import at_least_float32
from lightning_modules.base import TextAutoencoder
from lightning_modules.optimization import require_betas
from lightning_modules.text_model import ObjectiveTerms, configured


@dataclass(frozen=True)
class AdversaryConfig:
    """The discriminator and what it adds to the loss.

    Attributes:
        weight: Of the adversarial term in the autoencoder's loss (lambda_adv).
        log_variance_weight: Of the penalty on |log-variance| that keeps the encoder's noise from vanishing (lambda_1 of
            the LAAE, Rubenstein et al. 2018).
        hidden_size: Of the discriminator's hidden layer.
        lr: The discriminator's learning rate; the autoencoder's where it is null.
        betas: The discriminator's Adam decay rates; the autoencoder's where they are null.
    """

    weight: float = 10.0
    log_variance_weight: float = 0.0
    hidden_size: int = 512
    lr: float | None = None
    betas: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("weight", "log_variance_weight"):
            require_not_negative(f"adversary.{name}", getattr(self, name))
        require_positive("adversary.hidden_size", self.hidden_size)
        if self.lr is not None:
            require_positive("adversary.lr", self.lr)
        if self.betas is not None:
            require_betas("adversary.betas", self.betas)


class AdversarialAutoencoder(TextAutoencoder):
    """Matches the aggregate posterior to N(0, I) with a discriminator D (Makhzani et al. 2015; Shen et al. 2020).

    The encoder and decoder minimise -log p(x|z) + weight * -log D(z) + log_variance_weight * sum |log sigma^2|, the
    discriminator -log(1 - D(z)) - log D(z'), z' ~ N(0, I). One backward pass serves both: the discriminator sees z
    detached, and the encoder sees the discriminator with its weights held fixed, which gives the gradients of the usual
    two passes.

    With a corruption C(x) it is the DAAE, with a log-variance weight the LAAE, with neither the AAE.

    Args:
        adversary: The discriminator.
        kwargs: The backbone and the optimiser; see `TextAutoencoder`.
    """

    terms = ("reconstruction", "adversarial", "discriminator", "log_variance")

    def __init__(self, adversary: AdversaryConfig = AdversaryConfig(), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.adversary = configured(AdversaryConfig, adversary)
        self.discriminator = nn.Sequential(
            nn.Linear(self.posterior_config.latent_size, self.adversary.hidden_size),
            nn.ReLU(),
            nn.Linear(self.adversary.hidden_size, 1),
        )

    def objective(self, batch: TokenBatch) -> ObjectiveTerms:
        """Reconstruction, adversarial term, discriminator loss and the size of the log-variance."""
        posterior = self.encode(batch)
        z_BZ = self.sample_latent(batch, posterior)
        # Lower than the latents' where the precision is a true one.
        weights_dtype = next(self.discriminator.parameters()).dtype
        seen_BZ = z_BZ.to(weights_dtype)
        prior_BZ = self.random(batch).normal("prior", z_BZ.shape[1]).to(weights_dtype)
        fixed = {name: weights.detach() for name, weights in self.discriminator.named_parameters()}
        reconstruction, ends = self.sentence_nll(batch, z_BZ)
        terms = {
            "reconstruction": reconstruction,
            "adversarial": softplus(-_logit(functional_call(self.discriminator, fixed, seen_BZ))),
            "discriminator": softplus(_logit(self.discriminator(seen_BZ.detach())))
            + softplus(-_logit(self.discriminator(prior_BZ))),
            "log_variance": posterior.log_variance.abs().sum(1),
        }
        loss = (
            terms["reconstruction"]
            + self.adversary.weight * terms["adversarial"]
            + self.adversary.log_variance_weight * terms["log_variance"]
            + terms["discriminator"]
        )
        return ObjectiveTerms(loss, terms, ends)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The autoencoder's parameters and, with options of their own, the discriminator's."""
        options = {"lr": self.adversary.lr, "betas": self.adversary.betas}
        discriminator: dict[str, Any] = {"params": list(self.discriminator.parameters())}
        discriminator |= {name: value for name, value in options.items() if value is not None}
        return [{"params": list(self.backbone.parameters())}, discriminator]


def _logit(output_B1: Tensor) -> Tensor:
    return at_least_float32(output_B1).squeeze(1)
