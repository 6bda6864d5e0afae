"""Linear layers by either of a CPU's two libraries."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.backbone import products
from lightning_modules.backbone.products import LaidOut, Projection, linear


def by_definition(layer: nn.Linear, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs, the inputs' gradient and the weights', in double precision."""
    x, weight, gradient = x.double(), layer.weight.detach().double(), gradient.double()
    out = torch.einsum("...i,oi->...o", x, weight)
    if layer.bias is not None:
        out = out + layer.bias.detach().double()
    to_x = torch.einsum("...o,oi->...i", gradient, weight)
    return out, to_x, torch.einsum("...o,...i->oi", gradient, x)


@pytest.fixture(params=[False, True], ids=["by MKL", "by oneDNN"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both of the libraries, whichever the processor has better; few weights are many."""
    monkeypatch.setattr(products, "MANY", 0)
    monkeypatch.setattr(products, "onednn_is_faster", lambda device, dtype: request.param)
    return bool(request.param)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(150,), (50, 3), (2, 1), ()])
def test_a_projection_is_a_linear_layer(bias: bool, shape: tuple[int, ...], either: bool) -> None:
    torch.manual_seed(0)
    layer = Projection(37, 91, bias=bias)
    x = torch.randn(*shape, 37, requires_grad=True)
    out = layer(x)
    gradient = torch.randn_like(out)
    found = torch.autograd.grad(out, (x, *layer.parameters()), gradient)
    assert out.shape == (*shape, 91) and out.is_contiguous() and found[1].is_contiguous()
    assert ("_Product" in str(out.grad_fn.next_functions)) == (either and shape != ())
    true = by_definition(layer, x.detach(), gradient)
    for value, expected in zip((out, *found), (*true, gradient.double().reshape(-1, 91).sum(0)), strict=False):
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("part", [slice(0, 37), slice(3, 40)])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_part_of_a_matrix_is_multiplied_as_a_matrix(part: slice, transposed: bool, either: bool) -> None:
    """With what it and its gradient's gradient are by the definition."""
    torch.manual_seed(0)
    weights = torch.randn(91, 40, requires_grad=True)
    whole = torch.randn(23, 50, requires_grad=True)
    x, weight = whole[:, 5:42], weights[:, part]
    if transposed:
        x, weight = x.t().contiguous().t(), weight.t().contiguous().t()
    out, true = linear(x, weight), torch.einsum("ni,oi->no", x, weight)
    torch.testing.assert_close(out, true, rtol=1e-5, atol=1e-5)
    gradients = [
        torch.autograd.grad(product.square().sum(), (whole, weights), create_graph=True) for product in (out, true)
    ]
    twice = [torch.autograd.grad(sum(each.sin().sum() for each in found), (whole, weights)) for found in gradients]
    for found, expected in (*zip(*gradients, strict=True), *zip(*twice, strict=True)):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)


def test_what_needs_no_gradient_has_none(either: bool) -> None:
    x, weight, bias = torch.randn(3, 7), torch.randn(5, 7, requires_grad=True), torch.randn(5)
    linear(x, weight, bias).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(0).expand(5, 7))
    weight.requires_grad_(False)
    x.requires_grad_()
    linear(x, weight, bias).sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).expand(3, 7))
    assert linear(x[:0], weight, bias).shape == (0, 5)


def test_what_does_not_fit_is_said_to_by_pytorch(either: bool) -> None:
    with pytest.raises(RuntimeError, match=r"mat1 and mat2 shapes cannot be multiplied \(3x8 and 7x5\)"):
        linear(torch.randn(3, 8), torch.randn(5, 7))
    torch.testing.assert_close(linear(torch.ones(3, 7), torch.ones(5, 7), torch.ones(1)), torch.full((3, 5), 8.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_laid_out_make_the_same_products(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(20, 37).to(dtype), torch.randn(91, 37).to(dtype)
    ways = [(False, weight), (True, weight), (True, weight.t().contiguous().t())]
    if dtype == torch.bfloat16 and not products.bfloat16_is_fast():
        del ways[1:]  # oneDNN refuses it there, and is not asked
    for faster, view in ways:
        monkeypatch.setattr(products, "onednn_is_faster", lambda *given, faster=faster: faster)
        found = LaidOut(view, None, 20)(x)
        assert found.dtype == dtype
        rounding = 1e-5 if dtype == torch.float32 else 0.03
        torch.testing.assert_close(found.double(), x.double() @ weight.double().t(), rtol=rounding, atol=rounding)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "mixed"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_projection_of_many_is_a_linear_layer(bias: bool, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_has_mkls_best", lambda: False)
    torch.manual_seed(0)
    layer, x = Projection(37, 91, bias=bias), torch.randn(50, 37)
    true = by_definition(layer, x, torch.zeros(50, 91))[0]
    if precision == "bfloat16":
        layer, x = layer.bfloat16(), x.bfloat16()
    weight = layer.weight.detach().clone()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "mixed"):
        with torch.no_grad(), layer.for_many(20):
            parts = [layer(part) for part in x.split(20)]  # the last one has 10 rows
        with torch.no_grad():
            plain = layer(x)
    out = torch.cat(parts)
    assert out.dtype == plain.dtype == (torch.float32 if precision == "float32" else torch.bfloat16)
    rounding = 1e-5 if precision == "float32" else 0.03
    torch.testing.assert_close(out.double(), true, rtol=rounding, atol=rounding)
    torch.testing.assert_close(plain.double(), true, rtol=rounding, atol=rounding)
    assert torch.equal(layer.weight, weight) and layer._laid_out is None


def test_when_weights_are_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Projection(37, 91)
    for faster in (False, True):
        monkeypatch.setattr(products, "onednn_is_faster", lambda *given, faster=faster: faster)
        with layer.for_many(20):
            assert layer._laid_out is None  # the weights need their gradient
        with torch.no_grad(), layer.for_many(20):
            assert (layer._laid_out is not None) == faster
    with pytest.raises(KeyError), torch.no_grad(), layer.for_many(20):
        raise KeyError
    assert layer._laid_out is None
    with torch.no_grad(), layer.for_many(20):
        outer = layer._laid_out
        with layer.for_many(5):
            assert layer._laid_out is not outer
        assert layer._laid_out is outer is not None


def test_double_precision_is_left_alone() -> None:
    layer = Projection(7, 5).double()
    x = torch.randn(9, 7, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad(), layer.for_many(9):
        out = layer(x)
    assert out.dtype == torch.float64
    torch.testing.assert_close(out, x @ layer.weight.T + layer.bias)


@pytest.mark.parametrize(
    ("capability", "intel", "faster"), [("AVX512", False, True), ("AVX512", True, False), ("AVX2", False, False)]
)
def test_onednn_has_the_products_in_float32_where_mkl_has_not_its_best(
    capability: str, intel: bool, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(products, "_has_mkls_best", lambda: intel)
    cpu = torch.device("cpu")
    assert products.onednn_is_faster(cpu, torch.float32) == faster
    assert not products.onednn_is_faster(cpu, torch.float64)  # exact checks of gradients
    assert not products.onednn_is_faster(torch.device("cuda"), torch.float32)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not products.onednn_is_faster(cpu, torch.float32)


@pytest.mark.parametrize("fast", [False, True])
def test_onednn_has_the_products_in_bfloat16_where_the_processor_has(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(products, "bfloat16_is_fast", lambda: fast)
    assert products.onednn_is_faster(torch.device("cpu"), torch.bfloat16) == fast
    assert not products.onednn_is_faster(torch.device("cpu"), torch.float16)
    assert not products.onednn_is_faster(torch.device("cuda"), torch.bfloat16)


@pytest.mark.parametrize(
    ("content", "best"),
    [("vendor_id\t: GenuineIntel", True), ("vendor_id\t: AuthenticAMD", False), ("BogoMIPS", True), (None, True)],
)
def test_whose_processor_it_is(content: str | None, best: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_text(file: Path, encoding: str) -> str:
        if content is None:
            raise FileNotFoundError(file)
        return content

    monkeypatch.setattr(Path, "read_text", read_text)
    assert products._has_mkls_best.__wrapped__() == best
