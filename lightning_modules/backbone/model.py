"""The backbone in plain PyTorch: embeddings, encoder, posterior heads and decoder, which every family shares.

B sentences, T steps, N real tokens, H decoder state, Z latent size, V words.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from datamodules.batch import TokenBatch
from lightning_modules.backbone.decoder import Decoder, DecoderConfig
from lightning_modules.backbone.encoder import Encoder, EncoderConfig
from lightning_modules.backbone.initialization import InitializationConfig, initialize
from lightning_modules.backbone.layers import EmbeddingConfig, at_least_float32
from lightning_modules.backbone.posterior import Gaussian, PosteriorConfig, PosteriorHeads

# Logits that are made at a time where no gradient needs all of them: as many as stay in a CPU's cache.
LOGITS_AT_ONCE = {"cpu": 4_000_000, "cuda": 100_000_000}
# And of those that are made, what is normalised at a time on a CPU: as many as stay in one core's cache; with gradients
# more, but in memory that is not asked of the system anew in each step, as that of a large tensor is.
NORMALIZED_AT_ONCE, NORMALIZED_WITH_GRADIENTS = 400_000, 1_000_000
# Logits that a training step keeps for its backward pass, a gigabyte of float32; of more, parts are made twice, each of
# so many that their memory, which is asked of the system anew each time, does not take longer than the logits.
LOGITS_KEPT, LOGITS_AGAIN = 250_000_000, 50_000_000


class Backbone(nn.Module):
    """A decoder p(x|z) and, in families with a latent, an encoder q(z|x).

    Args:
        vocabulary_size: V.
        embedding: The word embeddings.
        decoder: The decoder.
        initialization: How the parameters start.
        encoder: The encoder.
        posterior: The posterior's heads.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding: EmbeddingConfig,
        decoder: DecoderConfig,
        initialization: InitializationConfig,
        encoder: EncoderConfig | None = None,
        posterior: PosteriorConfig | None = None,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding.size)
        latent_size = 0
        if encoder is not None and posterior is not None:
            own = None if embedding.shared else nn.Embedding(vocabulary_size, embedding.size)
            self.encoder_embedding = own or self.embedding
            self.encoder = Encoder(encoder, embedding.size)
            self.posterior = PosteriorHeads(posterior, self.encoder.summary_size)
            latent_size = posterior.latent_size
        self.decoder = Decoder(decoder, self.embedding, latent_size)
        initialize(self, self.decoder.output, initialization)

    def encode(self, ids_BT: Tensor, lengths_B: Tensor) -> Gaussian:
        """q(z|x) of sentences (B, T), padded at the end, of which `lengths` (B,) steps are real."""
        posterior: Gaussian = self.posterior(self.encoder(self.encoder_embedding(ids_BT), lengths_B))
        return posterior

    def token_nll(self, batch: TokenBatch, states_BTH: Tensor) -> Tensor:
        """-log p(x_t | x_<t, z) of a decoder's states, in nats, (B, T) float32 or better, 0 at padding.

        Logits are computed for real tokens alone, and without gradients a part of them at a time. With gradients, those
        of a very large vocabulary are made in parts, too, again in the backward pass: a third more of their arithmetic
        for a memory that does not grow with tokens times words.
        """
        states_NH = states_BTH.flatten(0, 1).index_select(0, batch.positions)
        targets_N = batch.targets.flatten().index_select(0, batch.positions)
        gradients = torch.is_grad_enabled()
        words = self.decoder.output.out_features
        whole = gradients and len(targets_N) * words <= LOGITS_KEPT
        tokens = max(1, LOGITS_AGAIN // words) if gradients else self.tokens_at_once(targets_N.device)
        parts = zip(torch.split(states_NH, tokens), torch.split(targets_N, tokens), strict=True)
        if whole or len(targets_N) <= tokens:
            nll_N = self._nll(states_NH, targets_N)
        elif gradients:
            with _without_cache(targets_N.device):
                nll_N = torch.cat([checkpoint(self._nll, *part, use_reentrant=False) for part in parts])
        else:
            with self.decoder.output.for_many(tokens):
                nll_N = torch.cat([self._nll(*part) for part in parts])
        nll = torch.zeros(batch.targets.numel(), dtype=nll_N.dtype, device=nll_N.device)
        return nll.index_copy(0, batch.positions, nll_N).view(batch.targets.shape)

    def tokens_at_once(self, device: torch.device) -> int:
        """Tokens whose logits are made at a time where there are no gradients."""
        return max(1, LOGITS_AT_ONCE.get(device.type, LOGITS_AT_ONCE["cuda"]) // self.decoder.output.out_features)

    def _nll(self, states_NH: Tensor, targets_N: Tensor) -> Tensor:
        logits_NV = self.decoder.logits(states_NH)
        rows = len(logits_NV)
        if logits_NV.device.type == "cpu":
            most = NORMALIZED_WITH_GRADIENTS if torch.is_grad_enabled() else NORMALIZED_AT_ONCE
            rows = most // logits_NV.shape[1]
        parts = zip(*(torch.split(tensor, max(1, rows)) for tensor in (logits_NV, targets_N)), strict=True)
        return torch.cat([cross_entropy(at_least_float32(part), own, reduction="none") for part, own in parts])


def _without_cache(device: torch.device) -> torch.autocast:
    """Autocast as it is, but that parts' gradients of a weight are summed in its precision, not in the products'."""
    kind, enabled = device.type, torch.is_autocast_enabled(device.type)
    return torch.autocast(kind, torch.get_autocast_dtype(kind), enabled=enabled, cache_enabled=False)
