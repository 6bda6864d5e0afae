"""Training steps as the published repositories write them, on this framework's weights: what ours are measured against.

B sentences, T steps, L samples, V words, Z latent size.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, log_softmax
from torch.nn.utils.rnn import pack_padded_sequence

from datamodules.batch import TokenBatch
from datamodules.vocabulary import PAD
from lightning_modules import AdversarialAutoencoder, AveragingVAE, SentenceMIM, TextModel
from lightning_modules.backbone.decoder import Decoder
from lightning_modules.backbone.layers import reverse
from lightning_modules.backbone.posterior import standard_normal_log_prob


class PublishedDAAE(nn.Module):
    """The model and step of text-autoencoders (Shen et al. 2020), with a copy of a DAAE's weights.

    One bidirectional LSTM encodes; words are dropped sentence by sentence in Python, the rest is padded and read with
    its padding, as theirs; the autoencoder and the discriminator take a backward pass each.

    Args:
        model: Whose weights, dropout and weight of the adversary are taken; a bidirectional encoder of one layer, z
            added to the embeddings.
        lr: Of Adam.
    """

    def __init__(self, model: AdversarialAutoencoder, lr: float = 5e-4) -> None:
        super().__init__()
        backbone = model.backbone
        self.embedding = deepcopy(backbone.embedding)
        self.encoder = _bidirectional(backbone.encoder.forwards[0], backbone.encoder.backwards[0])
        self.mean, self.log_variance = deepcopy(backbone.posterior.mean), deepcopy(backbone.posterior.scale)
        assert backbone.decoder.to_embedding is not None, "z is to be added to the embeddings"
        self.to_embedding = deepcopy(backbone.decoder.to_embedding)
        self.decoder, self.output = deepcopy(backbone.decoder.network), _linear(backbone.decoder.output)
        self.discriminator = deepcopy(model.discriminator)
        self.dropout = nn.Dropout(model.decoder_config.output_dropout)
        self.latent_size = model.latent_size
        self.weight, self.drop = model.adversary.weight, model.corruption.drop
        apart = {id(parameter) for parameter in self.discriminator.parameters()}
        autoencoder = [parameter for parameter in self.parameters() if id(parameter) not in apart]
        self.optimizer = torch.optim.Adam(autoencoder, lr=lr, betas=(0.5, 0.999))
        self.of_discriminator = torch.optim.Adam(self.discriminator.parameters(), lr=lr, betas=(0.5, 0.999))

    def step(self, batch: TokenBatch) -> None:
        """One training step on sentences of one length."""
        size = (len(batch), self.latent_size)
        seen_TB = word_by_word_drop(batch.inputs.t().contiguous(), self.drop)
        losses = self.losses(batch, seen_TB, *torch.randn(2, *size, device=batch.inputs.device))
        for optimizer, loss in zip((self.optimizer, self.of_discriminator), losses, strict=True):
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()

    def losses(self, batch: TokenBatch, seen_TB: Tensor, noise_BZ: Tensor, prior_BZ: Tensor) -> tuple[Tensor, Tensor]:
        """The autoencoder's loss and the discriminator's."""
        _, (hidden, _) = self.encoder(self.dropout(self.embedding(seen_TB)))
        summary = torch.cat((hidden[-2], hidden[-1]), dim=1)
        z_BZ = self.mean(summary) + torch.exp(0.5 * self.log_variance(summary)) * noise_BZ
        embedded = self.dropout(self.embedding(batch.inputs)) + self.to_embedding(z_BZ)[:, None]
        states, _ = self.decoder(embedded)
        logits = self.output(self.dropout(states))
        reconstruction = cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), ignore_index=PAD, reduction="none"
        )
        ones, zeros = torch.ones_like(z_BZ[:, :1]), torch.zeros_like(z_BZ[:, :1])
        fooled = binary_cross_entropy_with_logits(self.discriminator(z_BZ), ones)
        told = binary_cross_entropy_with_logits(self.discriminator(z_BZ.detach()), zeros)
        told = told + binary_cross_entropy_with_logits(self.discriminator(prior_BZ), ones)
        return reconstruction.sum() / len(batch) + self.weight * fooled, told


def mim_loss(model: SentenceMIM, batch: TokenBatch) -> Tensor:
    """The loss of SentenceMIM as its repository has it: everything padded, a log-softmax over all of it."""
    backbone = model.backbone
    embedded = reverse(backbone.encoder_embedding(batch.inputs), batch.lengths)
    packed = pack_padded_sequence(embedded, batch.lengths.cpu(), batch_first=True, enforce_sorted=False)
    _, hidden = _pytorchs(backbone.encoder.forwards[0], packed)
    posterior = backbone.posterior(hidden[-1])
    z_BZ = model.sample_latent(batch, posterior)
    log_probs_BTV = log_softmax(plain_logits(model, _plain_states(backbone.decoder, batch.inputs, z_BZ)), dim=2)
    chosen_BT = log_probs_BTV.gather(2, batch.targets[:, :, None]).squeeze(2) * (batch.targets != PAD)
    ratio = posterior.log_prob(z_BZ) + standard_normal_log_prob(z_BZ)
    return (-chosen_BT.sum(1) - 0.5 * ratio).mean()


def averaged_loss(model: AveragingVAE, batch: TokenBatch) -> Tensor:
    """The loss of VAE-AVG with L decoder passes in a Python loop, each over a padded batch."""
    posterior = model.encode(batch)
    states = [model.backbone.decoder(batch.inputs, z_BZ) for z_BZ in model.sample_latents(batch, posterior)]
    logits_BTV = plain_logits(model, torch.stack(states).mean(0))
    nll = cross_entropy(logits_BTV.flatten(0, 1), batch.targets.flatten(), ignore_index=PAD, reduction="sum")
    return nll / len(batch) + posterior.kl_from_standard_normal().sum(1).mean()


def _plain_states(decoder: Decoder, inputs_BT: Tensor, z_BZ: Tensor) -> Tensor:
    """(B, T, H) of a decoder that is told z at each step."""
    embedded = nn.functional.dropout(decoder.embedding(inputs_BT), decoder.dropout.p, decoder.training)
    inputs = torch.cat((embedded, z_BZ[:, None].expand(-1, inputs_BT.shape[1], -1)), dim=2)
    states: Tensor = _pytorchs(decoder.network, inputs, decoder.initial_state(z_BZ))[0]
    return states


def _pytorchs(network: nn.Module, *inputs: Any) -> Any:
    """What PyTorch's GRU makes of them, whose `forward` ours has not."""
    assert isinstance(network, nn.GRU)
    return nn.GRU.forward(network, *inputs)


def plain_logits(model: TextModel, states: Tensor) -> Tensor:
    """(..., H) to (..., V) by PyTorch's linear layer, which the published code has."""
    output = model.backbone.decoder.output
    return nn.functional.linear(states, output.weight, output.bias)


def word_by_word_drop(words_TB: Tensor, drop: float) -> Tensor:
    """(T, B) with words dropped, BOS never, and padded, as text-autoencoders does it: each sentence in Python."""
    rows = []
    for sentence in range(words_TB.shape[1]):
        words = words_TB[:, sentence].tolist()
        kept = np.random.rand(len(words)) > drop
        kept[0] = True
        rest = [word for place, word in enumerate(words) if kept[place]]
        rows.append(rest + [PAD] * (len(words) - len(rest)))
    return torch.tensor(rows).t().contiguous().to(words_TB.device)


def _linear(layer: nn.Linear) -> nn.Linear:
    plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    plain.load_state_dict(layer.state_dict())
    return plain


def _bidirectional(forwards: nn.Module, backwards: nn.Module) -> nn.LSTM:
    assert isinstance(forwards, nn.LSTM) and isinstance(backwards, nn.LSTM)
    both = nn.LSTM(forwards.input_size, forwards.hidden_size, bidirectional=True)
    with torch.no_grad():
        for own, end in ((forwards, ""), (backwards, "_reverse")):
            for name, value in own.named_parameters():
                getattr(both, f"{name}{end}").copy_(value)
    return both
