"""The fused pass through the blocks and the loss beside their modules, on a CPU, by Triton's interpreter."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cutaway.config import GPT2Config
from cutaway.engines.pytorch import fused
from cutaway.engines.pytorch import model as modules
from cutaway.engines.pytorch.model import GPT2
from cutaway.training import losses
from cutaway.training.finite import first_not_finite
from cutaway.training.lora import add_lora
from cutaway.training.losses import CrossEntropy, Objective, cross_entropy_slope

pytest.importorskip("triton")

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp2")  # to infinity, which is what is wanted

CONFIG = GPT2Config(n_vocab=50, n_ctx=40, n_embd=24, n_head=3, n_layer=3)


def make_model(config: GPT2Config = CONFIG, **settings: Any) -> GPT2:
    model = GPT2(config, **({"compute_dtype": torch.bfloat16} | settings))
    model.initialise(seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in model.parameters():  # no bias is zero and no gain is one
            p.add_(torch.empty(p.shape).normal_(0, 0.05, generator=generator))
    return model


def gradients(model: GPT2, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the output and the gradients of some sum of it, in float32."""
    model.zero_grad()
    hidden = model.hidden(ids).float()
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(3))
    (hidden * weights).sum().backward()  # type: ignore[no-untyped-call]
    return hidden.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


# Programs that share the rows of a kernel, and the shape of ids.
@pytest.mark.parametrize(
    ("programs", "shape"), [(1056, (2, 9)), pytest.param(4, (3, 37), marks=pytest.mark.slow), (4, (1, 1))]
)
def test_output_and_gradients_are_as_near_float32_as_those_of_modules(
    programs: int, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "PROGRAMS", programs)
    ids = torch.randint(CONFIG.n_vocab, shape, generator=torch.Generator().manual_seed(4))
    exact, exact_gradients = gradients(make_model(compute_dtype=None), ids)
    plain, plain_gradients = gradients(make_model(), ids)
    model = make_model()
    model.is_fused = True
    hidden, found = gradients(model, ids)
    assert distance(hidden, exact) < 2 * distance(plain, exact)
    assert found.keys() == exact_gradients.keys()
    for name, gradient in found.items():
        assert gradient.dtype == torch.float32
        others = distance(plain_gradients[name], exact_gradients[name])
        assert distance(gradient, exact_gradients[name]) < 0.005 + 2 * others


def test_fused_are_the_blocks_of_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    model.is_fused = True
    monkeypatch.setattr(model, "read_fused", lambda x: torch.zeros(x.shape))
    ids = torch.tensor([[1, 2, 3]])
    assert not model.hidden(ids).any()
    assert model.hidden(ids, model.new_cache(1)).any()
    assert model.hidden(ids, n_prefix=torch.tensor([2])).any()
    assert model.hidden(ids, despite_overflow=True).any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_model(compute_dtype=None),
        lambda: make_model(compute_dtype=torch.float16),
        lambda: make_model(dropout=0.1),
        lambda: make_model(activation_checkpointing=True),
        lambda: make_model(replace(CONFIG, relative_positions=4)),
        lambda: make_model(replace(CONFIG, activation_function="relu")),
        lambda: make_model(replace(CONFIG, scale_attn_weights=False)),
        lambda: make_model(replace(CONFIG, scale_attn_by_inverse_layer_idx=True)),
        lambda: make_model().bfloat16(),
        lambda: with_lora(make_model()),
    ],
)
def test_other_models_are_read_by_their_modules(make: Callable[[], GPT2], monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_model().is_standard()
    assert not make().is_standard()
    model = make_model()
    model.fuse_blocks()
    assert not model.is_fused  # without a GPU


CPU = torch.device("cpu")


@pytest.fixture
def _trials_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(modules, "TRIAL", 9)
    monkeypatch.setattr(fused, "PROGRAMS", 4)
    modules.fused_agrees.cache_clear()
    losses.kernel_agrees.cache_clear()
    yield
    modules.fused_agrees.cache_clear()
    losses.kernel_agrees.cache_clear()


@pytest.mark.usefixtures("_trials_anew")
@pytest.mark.slow
def test_a_trial_agrees_with_kernels_that_are_right() -> None:
    assert modules.fused_agrees(CONFIG, CPU)
    assert losses.kernel_agrees(CPU, torch.bfloat16)
    assert losses.kernel_agrees(CPU, torch.float32)


@pytest.mark.parametrize("name", ["AddNorm", "GeluOfSum", "SplitHeads", "Product"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.usefixtures("_trials_anew")
@pytest.mark.slow
def test_a_trial_finds_a_kernel_that_is_wrong(name: str, direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function = getattr(fused, name)
    right = getattr(function, direction)

    def wrong(ctx: Any, *given: Any) -> Any:
        found = right(ctx, *given)
        each = found if isinstance(found, tuple) else (found,)
        changed = [part if part is None else 1.1 * part for part in each]
        return tuple(changed) if isinstance(found, tuple) else changed[0]

    monkeypatch.setattr(function, direction, staticmethod(wrong))
    assert not modules.fused_agrees(CONFIG, CPU)


@pytest.mark.parametrize("factors", [(1.1, 1.0), (1.0, 1.1)])
@pytest.mark.usefixtures("_trials_anew")
def test_a_trial_finds_a_loss_or_a_slope_that_is_wrong(
    factors: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = fused.cross_entropy_slope

    def wrong(*given: Any, **settings: Any) -> tuple[Tensor, ...]:
        return tuple(factor * part for factor, part in zip(factors, right(*given, **settings), strict=True))

    monkeypatch.setattr(fused, "cross_entropy_slope", wrong)
    assert not losses.kernel_agrees(CPU, torch.bfloat16)


@pytest.mark.usefixtures("_trials_anew")
def test_a_kernel_that_fails_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("cutaway.engines.pytorch.kernels.gelu_backward")
    assert not modules.fused_agrees(CONFIG, CPU)
    monkeypatch.setattr(fused, "cross_entropy_slope", None)
    losses.kernel_agrees.cache_clear()
    assert not losses.kernel_agrees(CPU, torch.bfloat16)
    monkeypatch.setattr(fused, "HAS_TRITON", False)
    losses.kernel_agrees.cache_clear()
    assert not losses.kernel_agrees(CPU, torch.bfloat16)


def with_lora(model: GPT2) -> GPT2:
    add_lora(model, r=1, alpha=1, targets=["c_fc"], seed=1)
    return model


def test_what_is_not_finite_is_found_in_the_modules() -> None:
    model = make_model()
    model.is_fused = True
    with torch.no_grad():
        model.get_parameter("h.1.mlp.c_fc.weight").fill_(3e38)
    ids = torch.tensor([[1, 2, 3]])
    assert first_not_finite(model, lambda: model.hidden(ids)) == "the output of h.1.mlp.c_fc"
    assert model.is_fused


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("is_sampled", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("columns", [16, 64])
@pytest.mark.slow
def test_cross_entropy_is_the_one_that_is_compiled(
    columns: int, dtype: torch.dtype, is_sampled: bool, smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "LOGITS", columns)
    generator = torch.Generator().manual_seed(1)
    logits = torch.empty(7, 64).normal_(0, 3, generator=generator).to(dtype)
    logits[6, 49] = 300  # which overflows the sum relative to the first columns
    offset = torch.full((64,), -torch.inf)
    offset[:50] = torch.empty(50).normal_(generator=generator) if is_sampled else 0
    targets = torch.tensor([3, -1, 49, 0, 17, -1, 7])
    expected_loss, expected = cross_entropy_slope(logits, offset, targets, smoothing)
    loss, slope = fused.cross_entropy_slope(
        logits.clone(), offset, targets, n_vocab=50, is_sampled=is_sampled, smoothing=smoothing
    )
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(slope, expected)
    assert not slope[1].any()
    assert not slope[:, 50:].any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("is_sampled", [False, True])
def test_a_loss_and_its_gradients_are_the_same_with_the_kernel(
    is_sampled: bool, smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(1)
    w = torch.empty(1500, 24).normal_(generator=generator)
    h = torch.empty(9, 24).normal_(generator=generator)
    targets = torch.tensor([3, -1, 1499, 0, 17, -1, 7, 8, 9])
    sample = losses.SampledVocabulary(1500, targets.clamp(min=0), targets[3:4], 1024, generator)
    found: list[list[Tensor]] = []
    for has_kernel in (False, True):
        monkeypatch.setattr(losses, "has_kernel", lambda *_, has_kernel=has_kernel: has_kernel)
        cross_entropy = CrossEntropy(4, compiled=False, smoothing=smoothing)
        x = h.clone().requires_grad_()
        y = w.clone().requires_grad_()
        loss = cross_entropy.sampled(x, y, targets, sample) if is_sampled else cross_entropy(x, y, targets)
        found.append([loss, *torch.autograd.grad(loss, [x, y])])
        with torch.no_grad():
            found[-1].append(cross_entropy(h, w, targets))
    torch.testing.assert_close(found[1], found[0])


def test_a_logit_that_is_not_a_number_spoils_the_loss() -> None:
    logits = torch.zeros(2, 64)
    logits[1, 60] = torch.nan
    targets = torch.tensor([1, 2])
    loss, _ = fused.cross_entropy_slope(logits, torch.zeros(64), targets, n_vocab=64, is_sampled=False, smoothing=0.0)
    assert loss.isnan()


def test_the_constants_of_gelu_are_those_of_the_module() -> None:
    from cutaway.engines.pytorch import kernels

    assert (kernels.GELU_A.value, kernels.GELU_B.value) == (modules.GELU_A, modules.GELU_B)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_and_its_gradient_hold_at_the_ends(dtype: torch.dtype) -> None:
    ends = torch.tensor([-1e4, -30.0, 0.0, 30.0, 1e4])
    x = torch.cat([torch.linspace(-12, 12, 995), ends]).to(dtype).view(10, 100).requires_grad_()
    bias = torch.linspace(-1, 1, 100).requires_grad_()
    exact = (x.detach().double() + bias.detach().double()).requires_grad_()
    out = fused.gelu_of_sum(x, bias)
    expected = F.gelu(exact, approximate="tanh")
    torch.autograd.backward([out.sum(), expected.sum()])
    assert x.grad is not None
    assert exact.grad is not None
    assert bias.grad is not None
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(bias.grad.double(), exact.grad.sum(0), rtol=1e-2, atol=1e-2)


@pytest.mark.slow
def test_an_objective_learns_the_same_by_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "PROGRAMS", 4)
    ids = torch.randint(CONFIG.n_vocab, (2, 11), generator=torch.Generator().manual_seed(4))
    found = []
    for is_fused in (False, True):
        model = make_model()
        model.is_fused = is_fused
        objective = Objective(model, CrossEntropy(compiled=False))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for _ in range(5):
            loss = objective(ids[:, :-1], ids[:, 1:]) / 20
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        found.append(float(loss.detach()))
    assert found[1] == pytest.approx(found[0], abs=0.02)
    assert found[1] < 3.6
