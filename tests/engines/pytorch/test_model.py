"""The PyTorch module: its weights in and out, its loss and its first weights. Logits: test_engines.py."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional as F
from transformers import GPT2LMHeadModel

from cutaway.checkpoints import ArrayWeights
from cutaway.engines.pytorch import attention, products
from cutaway.engines.pytorch.attention import causal_attention
from cutaway.engines.pytorch.engine import PyTorchEngine
from cutaway.engines.pytorch.model import GPT2, FusedGelu, NoInit
from cutaway.training.config import TrainingConfig
from cutaway.training.model import make_model
from tests.tiny import peer_model, random_ids, tiny_weights


@pytest.mark.parametrize("tied", [True, False])
def test_export_gives_back_what_was_loaded(tied: bool) -> None:
    weights = tiny_weights(tie_word_embeddings=tied)
    model = GPT2(weights.config)
    model.load(weights)
    exported = ArrayWeights(weights.config, model.export())
    for name, array in weights.arrays.items():
        np.testing.assert_array_equal(exported.arrays[name], array)


@pytest.mark.parametrize(
    "mathematics",
    [
        {},
        {"activation_function": "gelu", "scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
        {"activation_function": "silu", "scale_attn_weights": False},
    ],
)
def test_loss_and_gradients_equal_the_peers(mathematics: dict[str, Any]) -> None:
    weights = tiny_weights(**mathematics)
    model = GPT2(weights.config)
    peer = peer_model(weights)
    model.load(weights)
    ids = torch.tensor([random_ids(weights.config, 21, seed) for seed in (1, 2)])
    loss = model.loss(ids[:, :-1], ids[:, 1:])
    peer_loss = peer(ids, labels=ids).loss
    assert loss.item() == pytest.approx(peer_loss.item(), abs=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    peer_loss.backward()
    assert_gradients_equal(model, peer)


@pytest.mark.slow
def test_a_module_in_double_precision_computes_in_it() -> None:
    """All of it, so that gradients can be checked by finite differences, those of gradients too."""
    weights = tiny_weights(n_embd=6)
    model = GPT2(weights.config)
    model.load(weights)
    model.double().requires_grad_(False)
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    expected = peer_model(weights).double()(ids).logits
    torch.testing.assert_close(model(ids), expected, rtol=0, atol=1e-11)
    torch.testing.assert_close(model.loss(ids, ids), F.cross_entropy(expected[0], ids[0]), rtol=0, atol=1e-11)

    def residual(x: torch.Tensor) -> torch.Tensor:
        for block in model.h:
            x = block(x, None, None)
        return x

    x = model.wte(ids).requires_grad_()
    assert torch.autograd.gradcheck(residual, x)
    assert torch.autograd.gradgradcheck(residual, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_weights_leave_the_number_of_a_layer_whole(dtype: torch.dtype) -> None:
    model = GPT2(tiny_weights(n_layer=3, scale_attn_by_inverse_layer_idx=True).config).to(dtype)
    assert [str(dict(block.named_buffers())["attn.number"]) for block in model.h] == [
        "tensor(1)",
        "tensor(2)",
        "tensor(3)",
    ]
    assert "number" not in " ".join(model.state_dict())


def assert_gradients_equal(model: GPT2, peer: GPT2LMHeadModel) -> None:
    """Of every parameter; transformers' linear layers are (in, out)."""
    theirs = {name.removeprefix("transformer."): p.grad for name, p in peer.named_parameters()}
    for name, p in model.named_parameters():
        expected = theirs[name].T if model.config.tensors[name].transposed else theirs[name]
        torch.testing.assert_close(p.grad, expected, atol=1e-5, rtol=1e-4)


def test_a_late_source_token_changes_the_first_state_and_no_target_token_does() -> None:
    weights = tiny_weights()
    model = GPT2(weights.config)
    model.load(weights)
    ids = torch.tensor([random_ids(weights.config, 9)])
    changed = {place: ids.clone() for place in (4, 7)}
    for place, other in changed.items():
        other[0, place] = (other[0, place] + 1) % weights.config.n_vocab
    n_prefix = torch.tensor([5])
    hidden = model.hidden(ids, n_prefix=n_prefix)
    assert not torch.equal(model.hidden(changed[4], n_prefix=n_prefix)[0, 0], hidden[0, 0])
    torch.testing.assert_close(model.hidden(changed[7], n_prefix=n_prefix)[0, :7], hidden[0, :7])
    torch.testing.assert_close(model.hidden(changed[4])[0, :4], model.hidden(ids)[0, :4])


def test_dropout_is_of_training_only_and_follows_the_seed() -> None:
    weights = tiny_weights()
    model = GPT2(weights.config, dropout=0.3)
    plain = GPT2(weights.config)
    model.load(weights)
    plain.load(weights)
    ids = torch.tensor([random_ids(weights.config, 21)])

    def seeded(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        hidden: torch.Tensor = model.hidden(ids)
        return hidden

    torch.testing.assert_close(seeded(1), seeded(1), rtol=0, atol=0)
    assert not torch.allclose(seeded(1), seeded(2))
    ones = torch.ones(1, 1, 4, 1)
    mean = torch.stack([causal_attention(ones, ones, ones, 0.3) for _ in range(300)]).mean(0)
    torch.testing.assert_close(mean, torch.ones(1, 1, 4, 1), rtol=0.15, atol=0)  # what stays is scaled up
    torch.testing.assert_close(model.eval().hidden(ids), plain.hidden(ids), rtol=0, atol=0)


def test_dropout_falls_where_transformers_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the embeddings, and in each block on attention weights, on attention's output and on the MLP's."""
    weights = tiny_weights()
    model = GPT2(weights.config, dropout=0.1)
    shapes = []
    dropout = F.dropout

    def recording(x: torch.Tensor, p: float = 0.5, training: bool = True) -> torch.Tensor:
        shapes.append(tuple(x.shape) if p and training else None)
        return dropout(x, p, training)

    monkeypatch.setattr(F, "dropout", recording)
    model.hidden(torch.tensor([random_ids(weights.config, 7)]))
    stream = (1, 7, 24)
    assert shapes == [stream, *[(1, 3, 7, 7), stream, stream] * 2]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_activation_checkpointing_changes_no_gradient(dropout: float) -> None:
    weights = tiny_weights()
    ids = torch.tensor([random_ids(weights.config, 22, seed) for seed in (1, 2)])
    gradients = []
    for checkpointing in (False, True):
        model = GPT2(weights.config, dropout=dropout, activation_checkpointing=checkpointing)
        model.load(weights)
        torch.manual_seed(3)
        gradients.append(torch.autograd.grad(model.loss(ids[:, :-1], ids[:, 1:]), list(model.parameters())))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)


@pytest.mark.parametrize(("checkpointing", "times"), [(False, 1), (True, 2)])
def test_activation_checkpointing_computes_each_block_again_for_the_gradients(checkpointing: bool, times: int) -> None:
    model = GPT2(tiny_weights().config, activation_checkpointing=checkpointing)
    computed: list[int] = []
    for layer, block in enumerate(model.h):
        block.register_forward_pre_hook(lambda *arguments, layer=layer: computed.append(layer))
    ids = torch.tensor([random_ids(model.config, 9)])
    model.loss(ids[:, :-1], ids[:, 1:]).backward()  # type: ignore[no-untyped-call]
    assert sorted(computed) == sorted([0, 1] * times)


def test_matrices_are_multiplied_in_the_compute_dtype_only() -> None:
    weights = tiny_weights()
    model = GPT2(weights.config, compute_dtype=torch.bfloat16)
    plain = GPT2(weights.config)
    model.load(weights)
    plain.load(weights)
    ids = torch.tensor([random_ids(weights.config, 21)])
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    hidden = model.hidden(ids)
    assert hidden.dtype == torch.bfloat16
    exact = plain.hidden(ids)
    error = float((hidden.float() - exact).detach().abs().max() / exact.detach().abs().max())
    assert 1e-5 < error < 0.05
    model.loss(ids[:, :-1], ids[:, 1:]).backward()  # type: ignore[no-untyped-call]
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}


def test_a_cache_holds_the_compute_dtype() -> None:
    weights = tiny_weights()
    model = GPT2(weights.config, compute_dtype=torch.bfloat16).eval()
    model.load(weights)
    ids = torch.tensor([random_ids(weights.config, 9)])
    cache = model.new_cache(1)
    assert cache.k.dtype == torch.bfloat16
    parts = [model.hidden(ids[:, :5], cache), model.hidden(ids[:, 5:], cache)]
    torch.testing.assert_close(torch.cat(parts, 1), model.hidden(ids), rtol=0.05, atol=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fused_gelu_is_pytorchs_with_its_gradient(dtype: torch.dtype) -> None:
    ends = torch.tensor([-1e4, -30.0, 0.0, 30.0, 1e4])
    x = torch.cat([torch.linspace(-12, 12, 999), ends]).to(dtype).requires_grad_()
    exact = x.detach().double().requires_grad_()
    out: torch.Tensor = FusedGelu.apply(x)  # type: ignore[no-untyped-call]
    expected = F.gelu(exact, approximate="tanh")
    torch.autograd.backward([out.sum(), expected.sum()])
    tolerance = 1e-6 if dtype == torch.float32 else 1e-2
    assert out.dtype == dtype
    assert x.grad is not None
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=["float32 as on AMD", "bfloat16 as with AMX"])
def by_hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """Return a dtype in which all that can has gradients of its own, whatever the processor, as in a compiled block."""
    is_float32 = request.param.startswith("float32")
    monkeypatch.setattr(products, "WORTH", 0)
    monkeypatch.setattr(products, "USES_ONEDNN", products.HAS_ONEDNN and is_float32)
    monkeypatch.setattr(products, "HAS_AMX", not is_float32)
    monkeypatch.setattr(attention, "LONG", 4)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    return torch.float32 if is_float32 else torch.bfloat16


# PyTorch's own jvp says so of itself.
FUTURE = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


class Differentiated:
    """A model, and its loss for one text as a function of its parameters."""

    def __init__(self, compute_dtype: torch.dtype) -> None:
        weights = tiny_weights()
        self.model = GPT2(weights.config, compute_dtype=compute_dtype)
        self.model.load(weights)
        self.texts = torch.tensor([random_ids(weights.config, 9, seed) for seed in (1, 2)])
        self.parameters = {name: p.detach() for name, p in self.model.named_parameters()}
        generator = torch.Generator().manual_seed(1)
        self.tangents = {name: torch.randn(p.shape, generator=generator) for name, p in self.parameters.items()}
        self.tolerance = 1e-4 if compute_dtype == torch.float32 else 0.1

    def loss(self, parameters: Mapping[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
        logits = functional_call(self.model, dict(parameters), (ids[None],)).float()
        return F.cross_entropy(logits[0, :-1], ids[1:])

    def first_loss(self, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return self.loss(parameters, self.texts[0])

    def gradients(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute them without torch.func, to be differentiated again."""
        own = dict(self.model.named_parameters())
        return dict(zip(own, torch.autograd.grad(self.loss(own, ids), [*own.values()], create_graph=True), strict=True))

    def slope(self) -> torch.Tensor:
        """Compute by how much the first text's loss grows along the tangents."""
        gradients = self.gradients(self.texts[0])
        return torch.stack([(gradients[name] * tangent).sum() for name, tangent in self.tangents.items()]).sum()

    def assert_close(self, found: torch.Tensor, expected: torch.Tensor) -> None:
        torch.testing.assert_close(found, expected.detach(), rtol=self.tolerance, atol=self.tolerance)


def test_torch_func_gives_the_gradients_of_each_text(by_hand: torch.dtype) -> None:
    case = Differentiated(by_hand)
    of_each = vmap(grad(case.loss), (None, 0))(case.parameters, case.texts)
    for number, ids in enumerate(case.texts):
        for name, gradient in case.gradients(ids).items():
            case.assert_close(of_each[name][number], gradient)


def test_torch_func_leaves_out_fused_kernels() -> None:
    case = Differentiated(torch.bfloat16)
    expected = grad(case.first_loss)(case.parameters)
    case.model.is_fused = True
    for name, gradient in grad(case.first_loss)(case.parameters).items():
        assert torch.equal(gradient, expected[name])


@FUTURE
def test_torch_func_differentiates_forwards(by_hand: torch.dtype) -> None:
    case = Differentiated(by_hand)
    slope = jvp(case.first_loss, (case.parameters,), (case.tangents,))[1]
    case.assert_close(slope, case.slope())


@FUTURE
def test_torch_func_differentiates_twice() -> None:
    case = Differentiated(torch.float32)
    curvature = jvp(grad(case.first_loss), (case.parameters,), (case.tangents,))[1]
    expected = torch.autograd.grad(case.slope(), [*case.model.parameters()])
    for name, twice in zip(case.parameters, expected, strict=True):
        torch.testing.assert_close(curvature[name], twice, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tied", [True, False])
def test_without_init_no_number_is_drawn_and_all_are_written(tied: bool) -> None:
    weights = tiny_weights(relative_positions=5, tie_word_embeddings=tied)
    state = torch.get_rng_state()
    with NoInit():
        models = [GPT2(weights.config) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    for model in models:
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, math.nan)
    models[0].load(weights)
    models[1].initialise(seed=1)
    assert all(parameter.isfinite().all() for model in models for parameter in model.parameters())
    assert torch.nn.Linear(2, 2).weight.abs().sum() > 0  # as ever


@pytest.mark.parametrize("init", [None, tiny_weights()])
def test_engines_and_runs_make_their_models_so(init: ArrayWeights | None) -> None:
    weights = tiny_weights()
    state = torch.get_rng_state()
    PyTorchEngine(weights)
    make_model(TrainingConfig(), weights.config, torch.device("cpu"), init)
    assert torch.equal(torch.get_rng_state(), state)


def test_first_weights_are_gpt2s() -> None:
    config = tiny_weights(n_embd=96, n_layer=8, n_vocab=500).config
    model = GPT2(config)
    model.initialise(seed=1)
    spread = {name: float(array.std()) for name, array in model.export().items()}
    assert spread["wte.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["wpe.weight"] == pytest.approx(0.01, rel=0.05)
    assert spread["h.3.mlp.c_fc.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["h.3.mlp.c_proj.weight"] == pytest.approx(0.02 / math.sqrt(16), rel=0.05)
    assert spread["h.3.attn.c_attn.bias"] == 0
    again = GPT2(config)
    again.initialise(seed=1)
    np.testing.assert_array_equal(again.export()["wte.weight"], model.export()["wte.weight"])
