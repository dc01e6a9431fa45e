"""Products in another way than PyTorch's are the same, with their gradients, and are used where they pay."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cutaway.engines.pytorch import products
from cutaway.engines.pytorch.products import AmxLinear, add_product, columns_of, linear, onednn_linear

pytestmark = pytest.mark.skipif(not products.HAS_ONEDNN, reason="this PyTorch has no oneDNN")


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), requires_grad=True)


def amx_linear(x: Tensor, w: Tensor) -> Tensor:
    out: Tensor = AmxLinear.apply(x, w)  # type: ignore[no-untyped-call]
    return out


Multiply = Callable[..., Tensor]


@pytest.mark.parametrize("rows", [(), (1,), (67,), (2, 33)])
@pytest.mark.parametrize(("multiply", "has_bias"), [(onednn_linear, True), (onednn_linear, False), (amx_linear, False)])
def test_a_product_and_its_gradients_are_those_of_float64(
    rows: tuple[int, ...], multiply: Multiply, has_bias: bool
) -> None:
    given = [numbers(*rows, 96), numbers(40, 96)] + [numbers(40)] * has_bias
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    out = multiply(*given, *[None] * (multiply is onednn_linear and not has_bias))
    expected = F.linear(*exact)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    weights = numbers(*out.shape).detach()
    torch.autograd.backward([out, expected], [weights, weights.double()])
    for tensor, twin in zip(given, exact, strict=True):
        assert tensor.grad is not None
        torch.testing.assert_close(tensor.grad.double(), twin.grad, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("multiply", "frozen"),
    [(onednn_linear, 0), (onednn_linear, 1), (onednn_linear, 2), (amx_linear, 0), (amx_linear, 1)],
)
def test_what_is_frozen_gets_no_gradient(multiply: Multiply, frozen: int) -> None:
    given = [numbers(5, 8), numbers(3, 8), numbers(3)][: 3 if multiply is onednn_linear else 2]
    given[frozen].requires_grad_(False)
    torch.autograd.backward(multiply(*given).sum())
    assert [tensor.grad is None for tensor in given] == [number == frozen for number in range(len(given))]


def test_of_frozen_weights_nothing_is_copied_or_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "product", None)
    x = numbers(5, 8)
    torch.autograd.backward(amx_linear(x, numbers(3, 8).detach()).sum())
    assert x.grad is not None


@pytest.mark.slow
def test_the_operator_keeps_all_that_pytorch_asks_of_one() -> None:
    ours = torch.ops.cutaway
    torch.library.opcheck(ours.onednn_linear.default, (numbers(2, 5, 8), numbers(3, 8), numbers(3)))
    torch.library.opcheck(ours.onednn_linear.default, (numbers(8, 5).detach().t(), numbers(8, 3).detach().t(), None))
    torch.library.opcheck(ours.product.default, (numbers(3, 5).detach(), numbers(5, 8).detach()))


@pytest.mark.slow
def test_no_operator_imports_the_compiler() -> None:
    """Run another process, since something in this one may have imported it."""
    program = """
import sys
import torch
from cutaway.engines.pytorch.products import onednn_linear, product
w = torch.ones(3, 2, requires_grad=True)
onednn_linear(product(torch.ones(4, 2), torch.ones(2, 2)), w, None).sum().backward()
print("torch._dynamo" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


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


@pytest.mark.parametrize("has_amx", [True, False])
def test_columns_are_copied_where_that_makes_products_faster(has_amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "HAS_AMX", has_amx)
    for dtype in (torch.float32, torch.bfloat16):
        w = numbers(300, 256).detach().to(dtype)
        columns = columns_of(w)
        assert columns.equal(w.t())
        assert columns.is_contiguous() == (not has_amx or dtype == torch.float32)
        slope = numbers(256, 300).detach().to(dtype)
        torch.testing.assert_close(linear(slope, columns).double(), slope.double() @ w.double(), rtol=2e-2, atol=0.2)


def test_large_products_in_bfloat16_are_made_for_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "USES_ONEDNN", False)
    large = numbers(256, 256)
    small = numbers(255, 256)
    for has_amx in (True, False):
        monkeypatch.setattr(products, "HAS_AMX", has_amx)
        made = [linear(x, large.to(x.dtype)).grad_fn for x in (large.bfloat16(), small.bfloat16(), large)]
        assert [type(each).__name__ == "AmxLinearBackward" for each in made] == [has_amx, False, False]


@pytest.mark.slow  # torch.compile runs a C++ compiler
@pytest.mark.filterwarnings("ignore")  # of PyTorch itself while it compiles
def test_a_compiled_block_copies_what_lies_transposed(monkeypatch: pytest.MonkeyPatch) -> None:
    strides: list[tuple[int, ...]] = []

    @torch.library.custom_op("cutaway_tests::watched", mutates_args=())
    def watched(x: Tensor, y: Tensor) -> Tensor:
        strides.append(x.stride())
        return x @ y

    watched.register_fake(lambda x, y: x.new_empty(len(x), y.shape[1]))
    monkeypatch.setattr(products, "product", watched)
    compiled = torch.compile(lambda x, w: amx_linear(x.exp(), w).sin())
    torch.autograd.backward(compiled(numbers(48, 32), numbers(64, 32)).sum())
    assert strides == [(48, 1)]


@pytest.mark.parametrize("n", [1, 63, 64, 65])
def test_an_output_matrix_with_room_behind_it_gives_the_same_logits(n: int) -> None:
    w = torch.randn(n, 8)
    x = torch.randn(3, 8)
    padded = products.pad_rows(w)
    assert len(products.aligned(padded)) % products.ALIGNMENT == 0
    assert not products.aligned(padded)[n:].any()
    torch.testing.assert_close(products.output_product(x, padded), x @ w.T)
    torch.testing.assert_close(products.output_product(x, w), x @ w.T)


def test_a_part_of_a_matrix_is_aligned_within_its_memory() -> None:
    w = torch.randn(66, 8)
    for part in (w[63:], w[:3], w[:, :4]):
        torch.testing.assert_close(
            products.output_product(w[:2, : part.shape[1]], part), w[:2, : part.shape[1]] @ part.T
        )
