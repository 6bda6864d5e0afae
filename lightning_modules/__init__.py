"""The families: one LightningModule each, on a shared backbone."""

from lightning_modules.aae import AdversarialAutoencoder
from lightning_modules.arae import AdversariallyRegularizedAutoencoder
from lightning_modules.autoencoder import Autoencoder
from lightning_modules.base import TextAutoencoder
from lightning_modules.lagging_svae import LaggingVAE
from lightning_modules.language_model import LanguageModel
from lightning_modules.mi_vae import MutualInformationVAE
from lightning_modules.smim import SentenceMIM
from lightning_modules.svae import SentenceVAE
from lightning_modules.text_model import TextModel
from lightning_modules.vae_avg import AveragingVAE

__all__ = [
    "AdversarialAutoencoder",
    "AdversariallyRegularizedAutoencoder",
    "Autoencoder",
    "AveragingVAE",
    "LaggingVAE",
    "LanguageModel",
    "MutualInformationVAE",
    "SentenceMIM",
    "SentenceVAE",
    "TextAutoencoder",
    "TextModel",
]
