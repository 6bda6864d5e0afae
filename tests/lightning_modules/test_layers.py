"""Dropout by its definition."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_modules.backbone.layers import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_share_is_dropped_and_the_rest_keeps_the_expectation(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.full((500, 400), 3.0, dtype=dtype, requires_grad=True)
    out = Dropout(p)(x)
    assert out.dtype == dtype
    kept = out != 0
    count = x.numel()
    assert abs(int(kept.sum()) - count * (1 - p)) < 4 * math.sqrt(count * p * (1 - p))
    torch.testing.assert_close(out[kept].double(), torch.full_like(out[kept].double(), 3 / (1 - p)), rtol=0.01, atol=0)
    out.sum().backward()
    torch.testing.assert_close(x.grad, out / 3, rtol=0.01, atol=0)
    # Neither rows nor columns go together.
    for axis in (0, 1):
        shares = kept.double().mean(axis)
        assert float(shares.std()) == pytest.approx(math.sqrt(p * (1 - p) / x.shape[axis]), rel=0.2)


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    p, count = 0.3, 400_000
    kept = (Dropout(p)(torch.ones(count)) != 0).double()
    for apart in (1, 2, 3, 4, 8):
        both = float((kept[:-apart] * kept[apart:]).mean())
        assert both == pytest.approx((1 - p) ** 2, abs=5 * math.sqrt(0.25 / count)), apart


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2), (1,), (5, 7)])
def test_any_shape_keeps_its_own(shape: tuple[int, ...]) -> None:
    assert Dropout(0.5)(torch.ones(shape)).shape == shape
    assert Dropout(0.5)(torch.ones(shape).transpose(0, -1)).shape == torch.ones(shape).transpose(0, -1).shape


def test_the_share_does_not_depend_on_the_default_precision() -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, 1000, dtype=torch.bfloat16)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        dropped = int((Dropout(0.01)(x) == 0).sum())
    finally:
        torch.set_default_dtype(before)
    assert abs(dropped - 10_000) < 4 * math.sqrt(10_000)


def test_it_follows_torchs_seed_and_only_trains() -> None:
    x, layer = torch.randn(9, 7), Dropout(0.5)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first) and not torch.equal(first, second)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros_like(x))
