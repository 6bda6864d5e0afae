"""The families: one LightningModule each, on a shared backbone."""

from lightning_modules.aae import AdversarialAutoencoder
from lightning_modules.autoencoder import Autoencoder

__all__ = ["AdversarialAutoencoder", "Autoencoder"]
