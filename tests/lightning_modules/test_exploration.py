"""What a page shows of a latent space, against its definition."""

from __future__ import annotations

import pytest
import torch
from models import enlarge, small

from lightning_modules import Autoencoder, SentenceVAE, TextAutoencoder
from lightning_modules.decoding.decode import decode
from lightning_modules.decoding.encoding import encode_text
from lightning_modules.decoding.exploration import Explorer, principal_axes

TEXTS = ["w1 w2 w3", "w4", "w5 w5 w19 w0 w1", "w2 w9", "w7 w8"]


@pytest.fixture(params=[SentenceVAE, Autoencoder])
def explorer(request: pytest.FixtureRequest) -> Explorer:
    model: TextAutoencoder = small(request.param).eval()
    enlarge(model, 3.0)
    return Explorer(model, TEXTS, {"shorter": encode_text(model, ["w4"]).mean[0].clone()})


def test_a_path_goes_from_one_reconstruction_to_the_other(explorer: Explorer) -> None:
    z = encode_text(explorer.model, TEXTS).mean
    written = decode(explorer.model, torch.stack([z[0], 0.75 * z[0] + 0.25 * z[2], z[2]]))
    assert [explorer.between(TEXTS[0], TEXTS[2], share) for share in (0, 0.25, 1)] == written


def test_an_attribute_moves_along_its_vector(explorer: Explorer) -> None:
    z = encode_text(explorer.model, TEXTS[:1]).mean + 1.5 * explorer.attributes["shorter"]
    assert explorer.changed(TEXTS[0], "shorter", 1.5) == decode(explorer.model, z)[0]


def test_samples_are_around_the_sentence(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[torch.Tensor] = []
    monkeypatch.setattr(
        "lightning_modules.decoding.exploration.decode", lambda model, z: drawn.append(z) or [""] * len(z)
    )
    explorer.around(TEXTS[1], 2.0, 4000, seed=3)
    posterior = encode_text(explorer.model, [TEXTS[1]])
    scale = posterior.std[0] if explorer.model.stochastic else encode_text(explorer.model, TEXTS).mean.std(0)
    error = 5 * 2 * float(scale.max()) / 4000**0.5
    torch.testing.assert_close(drawn[0].mean(0), posterior.mean[0], rtol=0, atol=error)
    torch.testing.assert_close(drawn[0].std(0), 2 * scale, rtol=0.07, atol=1e-6)
    explorer.around(TEXTS[1], 2.0, 5, seed=3)
    assert torch.equal(drawn[1], drawn[0][:5])


def test_neighbours_are_the_nearest_in_order(explorer: Explorer) -> None:
    z = encode_text(explorer.model, TEXTS).mean
    distances = [float((z[3] - other).square().sum().sqrt()) for other in z]
    expected = sorted(zip(TEXTS, distances, strict=True), key=lambda pair: pair[1])[:3]
    found = explorer.neighbors("w2 w9", 3)
    assert [text for text, _ in found] == [text for text, _ in expected] and found[0][0] == "w2 w9"
    assert [distance for _, distance in found] == pytest.approx([distance for _, distance in expected], abs=1e-4)


def test_a_sentence_lies_where_it_is_on_the_map(explorer: Explorer) -> None:
    assert explorer.map.shape == (5, 2)
    torch.testing.assert_close(explorer.places([TEXTS[3]]), explorer.map[3:4], rtol=1e-4, atol=1e-4)


def test_principal_axes_are_the_covariances_first_eigenvectors() -> None:
    z = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 0.5, 3.0, 0.1]) + 7
    center, axes = principal_axes(z)
    values, vectors = torch.linalg.eigh(torch.cov(z.T))
    torch.testing.assert_close(center, z.mean(0))
    for column, eigenvector in ((0, vectors[:, 4]), (1, vectors[:, 3])):
        assert abs(float(axes[:, column] @ eigenvector)) == pytest.approx(1, abs=1e-4)
    assert values[4] > values[3]


def test_one_dimension_lies_on_one_axis() -> None:
    _, axes = principal_axes(torch.tensor([[1.0], [2.0], [4.0]]))
    assert axes.abs().tolist() == [[1.0, 0.0]]
