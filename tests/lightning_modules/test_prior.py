"""The map that stretches draws of the prior."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datamodules.errors import UsageError
from lightning_modules.decoding.prior import stretched


def the_map(size: int, factor: float, seed: int = 0) -> torch.Tensor:
    """Its matrix, from what it makes of the axes."""
    return stretched(torch.eye(size).double(), factor, seed).T


@pytest.mark.parametrize(("size", "factor"), [(3, 4.0), (32, 4.0), (111, 2.5), (1, 0.5)])
def test_no_direction_is_stretched_more_and_one_is_stretched_as_much(size: int, factor: float) -> None:
    z = torch.randn(500, size, generator=torch.Generator().manual_seed(0)).double()
    assert float((stretched(z, factor).norm(dim=1) / z.norm(dim=1)).max()) <= factor * (1 + 1e-5)
    singular = np.linalg.svd(the_map(size, factor).numpy(), compute_uv=False)
    assert singular.max() == pytest.approx(factor, rel=1e-5)


def test_its_elements_are_uniform_around_zero() -> None:
    elements = the_map(200, 4.0).flatten().numpy()
    unit = np.sort(elements / np.abs(elements).max())
    assert np.abs((unit + 1) / 2 - np.linspace(0, 1, len(unit))).max() < 1.63 / np.sqrt(len(unit))  # Kolmogorov, 1%


def test_at_the_papers_latent_size_the_elements_are_within_a_tenth() -> None:
    """The paper's c = 0.1 and factor 4 go together at Z = 1200."""
    assert float(the_map(1200, 4.0).abs().max()) == pytest.approx(0.1, rel=0.03)


def test_it_is_linear_and_a_function_of_the_seed() -> None:
    z = torch.randn(2, 5, 3, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(stretched(z[0] + 2 * z[1], 4.0), stretched(z[0], 4.0) + 2 * stretched(z[1], 4.0))
    torch.testing.assert_close(stretched(z[0], 4.0), z[0] @ the_map(8, 4.0).T.float())
    assert torch.equal(the_map(8, 4.0, 3), the_map(8, 4.0, 3)) and not torch.equal(the_map(8, 4.0, 3), the_map(8, 4.0))


def test_a_factor_that_is_not_positive_is_refused() -> None:
    with pytest.raises(UsageError, match="stretch is 0"):
        stretched(torch.zeros(1, 2), 0.0)
