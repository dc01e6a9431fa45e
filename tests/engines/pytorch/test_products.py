"""Products by oneDNN are those of PyTorch, with their gradients, and are used where they pay."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cutaway.engines.pytorch import products
from cutaway.engines.pytorch.products import add_product, linear, onednn_linear

pytestmark = pytest.mark.skipif(not products.HAS_ONEDNN, reason="this PyTorch has no oneDNN")


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), requires_grad=True)


@pytest.mark.parametrize("rows", [(), (1,), (67,), (2, 33)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_product_and_its_gradients_are_those_of_float64(rows: tuple[int, ...], has_bias: bool) -> None:
    given = [numbers(*rows, 96), numbers(40, 96)] + [numbers(40)] * has_bias
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    out = onednn_linear(*given, *[None] * (3 - len(given)))
    expected = F.linear(*exact)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    weights = numbers(*out.shape).detach()
    torch.autograd.backward([out, expected], [weights, weights.double()])
    for tensor, twin in zip(given, exact, strict=True):
        assert tensor.grad is not None
        torch.testing.assert_close(tensor.grad.double(), twin.grad, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_is_frozen_gets_no_gradient(frozen: int) -> None:
    given = [numbers(5, 8), numbers(3, 8), numbers(3)]
    given[frozen].requires_grad_(False)
    torch.autograd.backward(onednn_linear(*given).sum())
    assert [tensor.grad is None for tensor in given] == [number == frozen for number in range(3)]


def test_the_operator_keeps_all_that_pytorch_asks_of_one() -> None:
    torch.library.opcheck(onednn_linear, (numbers(2, 5, 8), numbers(3, 8), numbers(3)))
    torch.library.opcheck(onednn_linear, (numbers(8, 5).detach().t(), numbers(8, 3).detach().t(), None))


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return the shapes of what oneDNN is given from now on, as on a processor by AMD."""
    shapes: list[tuple[int, ...]] = []

    def watched(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        shapes.append(tuple(x.shape))
        out: Tensor = onednn_linear(x, w, bias)
        return out

    monkeypatch.setattr(products, "USES_ONEDNN", True)
    monkeypatch.setattr(products, "onednn_linear", watched)
    return shapes


def test_large_products_in_float32_are_oneDNNs(used: list[tuple[int, ...]]) -> None:
    linear(numbers(2, 128, 256), numbers(256, 256))
    assert used == [(2, 128, 256)]


def test_others_are_not(used: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    linear(numbers(255, 256), numbers(256, 256))  # small
    linear(numbers(256, 256).bfloat16(), numbers(256, 256).bfloat16())
    linear(numbers(256, 256).double(), numbers(256, 256).double())
    monkeypatch.setattr(products, "USES_ONEDNN", False)
    linear(numbers(256, 256), numbers(256, 256))
    assert used == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("has_avx512", [True, False])
def test_a_product_is_added_in_place(dtype: torch.dtype, has_avx512: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "USES_ONEDNN", products.HAS_ONEDNN)
    monkeypatch.setattr(products, "HAS_AVX512", has_avx512)
    total = numbers(256, 256).detach()
    x = numbers(300, 320).detach().to(dtype)
    y = numbers(300, 256).detach().to(dtype)
    expected = total.double() + (x.double().t() @ y.double())[:256]
    add_product(total, x, y)
    torch.testing.assert_close(total.double(), expected, rtol=1e-2, atol=1e-4 if dtype == torch.float32 else 0.1)
