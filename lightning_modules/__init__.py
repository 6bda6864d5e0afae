"""The families: one LightningModule each, on a shared backbone."""

from lightning_modules.aae import AdversarialAutoencoder
from lightning_modules.autoencoder import Autoencoder
from lightning_modules.base import TextAutoencoder
from lightning_modules.language_model import LanguageModel
from lightning_modules.text_model import TextModel

__all__ = ["AdversarialAutoencoder", "Autoencoder", "LanguageModel", "TextAutoencoder", "TextModel"]
