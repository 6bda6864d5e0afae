"""The families: one LightningModule each, on a shared backbone."""

from lightning_modules.aae import AdversarialAutoencoder
from lightning_modules.autoencoder import Autoencoder
from lightning_modules.base import TextAutoencoder

__all__ = ["AdversarialAutoencoder", "Autoencoder", "TextAutoencoder"]
