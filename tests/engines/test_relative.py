"""Relative attention in every engine, against a plain float64 GPT-2 that holds an embedding for each pair of tokens."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cutaway.checkpoints import ArrayWeights
from cutaway.engines.cpu.engine import ISAS, CpuEngine
from cutaway.engines.cpu.library import library
from cutaway.engines.pytorch import attention
from cutaway.engines.pytorch.attention import LONG, QUERIES, causal_attention, gathered_scores, skewed_scores
from cutaway.engines.pytorch.model import GPT2
from cutaway.engines.reference import relative_scores
from cutaway.errors import UsageError
from tests.engines.plain import Float64, naive_relative_scores, plain_logits
from tests.engines.test_engines import Make, every_engine
from tests.tiny import assert_logits_close, random_ids, tiny_weights

SHAPES: dict[str, dict[str, Any]] = {
    "every distance": {"relative_positions": 48},
    "fewer distances": {"relative_positions": 7},
    "the token itself": {"relative_positions": 1},
    "heads of odd width": {"relative_positions": 17, "n_embd": 21, "n_ctx": 40},
    "heads of 64": {"relative_positions": 33, "n_embd": 192, "n_ctx": 80},
    "heads of one": {"relative_positions": 5, "n_embd": 2, "n_head": 2, "n_layer": 1, "n_ctx": 20},
    "long": {"relative_positions": 600, "n_embd": 12, "n_layer": 1, "n_ctx": 1024},
}

every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def random_heads(*shape: int, seed: int = 0) -> Float64:
    return np.random.default_rng(seed).standard_normal(shape)


def naive_heads(q: Float64, table: Float64) -> Float64:
    """Scores (H, T, T) of the queries (H, T, dh) of each head."""
    return np.stack([naive_relative_scores(*head) for head in zip(q, table, strict=True)])


@pytest.mark.parametrize(("n_all", "n_new"), [(1, 1), (9, 9), (9, 4), (20, 1), (20, 20)])
@pytest.mark.parametrize("distances", [1, 5, 20])
def test_the_reference_equals_the_naive_form(n_all: int, n_new: int, distances: int) -> None:
    q = random_heads(3, n_all, 4)
    table = random_heads(3, distances, 4, seed=1)
    expected = naive_heads(q, table)[:, n_all - n_new :]
    found = relative_scores(q[:, n_all - n_new :], table, n_all)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("n_all", "n_new"), [(1, 1), (9, 9), (9, 4), (20, 1), (20, 20)])
@pytest.mark.parametrize("distances", [1, 5, 20])
def test_skewing_and_gathering_equal_the_naive_form_with_its_gradients(n_all: int, n_new: int, distances: int) -> None:
    q = torch.from_numpy(random_heads(2, 3, n_all, 4))[:, :, n_all - n_new :].clone().requires_grad_()
    table = torch.from_numpy(random_heads(3, distances, 4, seed=1)).requires_grad_()
    positions = torch.arange(n_all - n_new, n_all)
    seen = torch.arange(n_all) <= positions[:, None]
    pairs = naive_pairs(table, n_all)[:, n_all - n_new :]
    expected = torch.einsum("bhid,hijd->bhij", q, pairs)
    slope = torch.from_numpy(random_heads(2, 3, n_new, n_all, seed=2))
    wanted = torch.autograd.grad((expected * slope * seen).sum(), (q, table))
    for found in (skewed_scores(q, table, n_all), gathered_scores(q, table, positions, n_all)):
        torch.testing.assert_close(found * seen, expected, rtol=0, atol=1e-10)
        grads = torch.autograd.grad((found * slope * seen).sum(), (q, table))
        torch.testing.assert_close(grads, wanted, rtol=0, atol=1e-10)


def naive_pairs(table: torch.Tensor, n: int) -> torch.Tensor:
    """The embedding of each pair of tokens, (H, T, T, dh), 0 where the distance has none."""
    distances = torch.arange(n)[:, None] - torch.arange(n)
    known = (distances >= 0) & (distances < table.shape[1])
    return table[:, distances.clamp(0, table.shape[1] - 1)] * known[..., None]


@pytest.mark.parametrize("n_tokens", [1, 5, QUERIES, 2 * QUERIES + 3])
@pytest.mark.parametrize("distances", [3, QUERIES + 9, 3 * QUERIES])
@pytest.mark.parametrize("long", [0, LONG])
@pytest.mark.slow
def test_attention_equals_the_naive_form_with_its_gradients(
    n_tokens: int, distances: int, long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "LONG", long)  # with 0 all rows are computed again in the backward pass
    q, k, v = (torch.from_numpy(random_heads(2, 3, n_tokens, 8, seed=seed)).requires_grad_() for seed in range(3))
    table = torch.from_numpy(random_heads(3, distances, 8, seed=3)).requires_grad_()
    found = causal_attention(q, k, v, relative=table)
    bias = torch.einsum("bhid,hijd->bhij", q, naive_pairs(table, n_tokens)) / 8**0.5
    bias = bias.masked_fill(~torch.ones(n_tokens, n_tokens).tril().bool(), -torch.inf)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    torch.testing.assert_close(found, expected)
    slope = torch.from_numpy(random_heads(*found.shape, seed=4))
    grads = torch.autograd.grad((found * slope).sum(), (q, k, v, table))
    wanted = torch.autograd.grad((expected * slope).sum(), (q, k, v, table))
    torch.testing.assert_close(grads, wanted)


@every_engine
@every_shape
def test_logits_equal_the_naive_form(make: Make, shape: dict[str, Any]) -> None:
    weights = tiny_weights(**shape)
    ids = random_ids(weights.config, min(weights.config.n_ctx, 700))
    expected = plain_logits(weights, ids).astype(np.float32)
    engine = make(weights)
    assert_logits_close(engine.forward([ids], logits="all"), expected)
    assert_logits_close(engine.forward([ids]), expected[-1:])


@every_engine
@pytest.mark.parametrize(
    "mathematics", [{"scale_attn_weights": False}, {"scale_attn_by_inverse_layer_idx": True, "n_layer": 3}]
)
def test_the_sum_is_divided(make: Make, mathematics: dict[str, Any]) -> None:
    """Of q · k and q · E, by whatever the config divides by: the same as queries that are divided."""
    weights = tiny_weights(relative_positions=9, **mathematics)
    config = weights.config
    arrays = dict(weights.arrays)
    for layer in range(config.n_layer):
        factor = np.float32(config.d_head**0.5 / config.attention_divisor(layer))
        for name in ("weight", "bias"):
            array = arrays[f"h.{layer}.attn.c_attn.{name}"].copy()
            array[..., : config.n_embd] *= factor
            arrays[f"h.{layer}.attn.c_attn.{name}"] = array
    plain = replace(config, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False)
    ids = random_ids(config, 30)
    expected = plain_logits(ArrayWeights(plain, arrays), ids).astype(np.float32)
    assert_logits_close(make(weights).forward([ids], logits="all"), expected)


@every_engine
@every_shape
def test_cached_equals_the_naive_form_at_every_position(make: Make, shape: dict[str, Any]) -> None:
    weights = tiny_weights(**shape)
    engine = make(weights)
    ids = random_ids(weights.config, min(weights.config.n_ctx, 45))
    cache = engine.new_cache(1)
    one_by_one = np.concatenate([engine.forward([[token]], cache) for token in ids])
    assert_logits_close(one_by_one, plain_logits(weights, ids).astype(np.float32))


@every_engine
def test_prefill_in_parts_equals_prefill_at_once(make: Make) -> None:
    weights = tiny_weights(relative_positions=11)
    engine = make(weights)
    ids = random_ids(weights.config, 40)
    cache = engine.new_cache(1)
    parts = [engine.forward([ids[start:stop]], cache, logits="all") for start, stop in ((0, 17), (17, 18), (18, 40))]
    assert_logits_close(np.concatenate(parts), plain_logits(weights, ids).astype(np.float32))


@every_engine
def test_a_ragged_batch_gives_the_same_bits_as_one_by_one(make: Make) -> None:
    engine = make(tiny_weights(relative_positions=11))
    prompts = [random_ids(engine.config, length, seed=length) for length in (1, 30, 7, 16, 17, 2, 3, 4, 5, 6)]
    together = engine.new_cache(len(prompts))
    alone = [engine.new_cache(1) for _ in prompts]
    inputs = prompts
    for _ in range(4):
        logits = engine.forward(inputs, together)
        each = [engine.forward([ids], cache) for ids, cache in zip(inputs, alone, strict=True)]
        np.testing.assert_array_equal(logits, np.concatenate(each))
        inputs = [[int(token)] for token in logits.argmax(axis=-1)]


@every_engine
def test_rows_are_copied_and_truncated(make: Make) -> None:
    engine = make(tiny_weights(relative_positions=5))
    cache = engine.new_cache(3)
    ids = random_ids(engine.config, 20)
    engine.forward([ids, [4, 5], [6]], cache)
    cache.copy_row(0, 2)
    cache.truncate([20, 1, 9])
    logits = engine.forward([[7], [8], [9]], cache)
    assert_logits_close(logits, np.concatenate([engine.forward([i]) for i in ([*ids, 7], [4, 8], [*ids[:9], 9])]))


@every_engine
def test_a_token_never_sees_the_future(make: Make) -> None:
    weights = tiny_weights(relative_positions=48)
    arrays = {name: a * 60 if "relative" in name else a for name, a in weights.arrays.items()}
    engine = make(ArrayWeights(weights.config, arrays))
    ids = random_ids(weights.config, 20)
    changed = [*ids[:10], *random_ids(weights.config, 10, seed=9)]
    before, after = (engine.forward([i], logits="all")[:10] for i in (ids, changed))
    np.testing.assert_array_equal(before, after)


@every_engine
def test_each_distance_counts_and_none_beyond(make: Make) -> None:
    """The last token's logits follow from each row of the tables that its text is long enough for."""
    weights = tiny_weights(relative_positions=6, n_layer=1)
    name = "h.0.attn.relative.weight"
    ids = random_ids(weights.config, 4)
    plain = make(weights).forward([ids])
    for distance in range(6):
        table = weights.arrays[name].copy()
        table[:, distance] += 1
        changed = make(ArrayWeights(weights.config, {**weights.arrays, name: table})).forward([ids])
        assert np.array_equal(changed, plain) == (distance >= 4)


@every_engine
def test_tables_of_zeros_are_gpt2(make: Make) -> None:
    weights = tiny_weights()
    config = replace(weights.config, relative_positions=20)
    zeros = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items() if "relative" in name}
    ids = random_ids(config, 40)
    with_zeros = make(ArrayWeights(config, {**weights.arrays, **zeros})).forward([ids], logits="all")
    assert_logits_close(with_zeros, make(weights).forward([ids], logits="all"))


@every_engine
def test_a_token_that_overflows_harms_no_earlier_one(make: Make) -> None:
    weights = tiny_weights(relative_positions=9, n_layer=1)
    arrays = dict(weights.arrays)
    arrays["wte.weight"] = arrays["wte.weight"].copy()
    arrays["wte.weight"][60] = 3e38
    ids = [5, 6, 60, 7]
    engine = make(ArrayWeights(weights.config, arrays))
    with np.errstate(all="ignore"):
        logits = engine.forward([ids], logits="all")
    assert_logits_close(logits[:2, :60], plain_logits(weights, ids)[:2, :60].astype(np.float32))


@every_engine
def test_prefix_attention_is_refused(make: Make) -> None:
    engine = make(tiny_weights(relative_positions=9))
    with pytest.raises(UsageError, match="a model with relative positions has only causal attention"):
        engine.forward([[1, 2, 3]], n_prefix=[2])
    assert_logits_close(engine.forward([[1, 2, 3]], n_prefix=[0]), engine.forward([[1, 2, 3]]))


@pytest.mark.parametrize("isa", [isa for isa in ISAS if library().cutaway_isa(isa.encode())])
def test_every_instruction_set_and_format_has_relative_positions(isa: str) -> None:
    weights = tiny_weights(n_ctx=64, n_embd=96, relative_positions=21)
    ids = random_ids(weights.config, 60)
    engine = CpuEngine(weights, "float32", 2, isa=isa)
    assert_logits_close(engine.forward([ids], logits="all"), plain_logits(weights, ids).astype(np.float32))
    int8 = CpuEngine(weights, "int8", 2, isa=isa)
    cache = int8.new_cache(1)
    decoded = np.concatenate([int8.forward([[token]], cache) for token in ids])
    np.testing.assert_array_equal(decoded, int8.forward([ids], logits="all"))
    exact = int8.forward([ids], logits="all", exact=True)
    assert np.abs(exact - engine.forward([ids], logits="all")).max() < 0.1 * np.abs(exact).max()


def test_loss_and_gradients_equal_those_of_the_naive_form() -> None:
    """Through the whole module, and against numeric derivatives of the plain GPT-2 for the tables."""
    weights = tiny_weights(relative_positions=6, n_embd=6, n_head=2, n_layer=1)
    model = GPT2(weights.config).double()
    model.load(weights)
    ids = random_ids(weights.config, 12)
    loss = model.loss(torch.tensor([ids[:-1]]), torch.tensor([ids[1:]]))
    loss.backward()  # type: ignore[no-untyped-call]
    name = "h.0.attn.relative.weight"
    slope = dict(model.named_parameters())[name].grad
    assert slope is not None
    for place in ((0, 0, 0), (1, 3, 2), (0, 5, 1)):
        moved = []
        for step in (1e-3, -1e-3):
            table = weights.arrays[name].astype(np.float64)
            table[place] += step
            changed = ArrayWeights(weights.config, {**weights.arrays, name: table})  # type: ignore[dict-item]
            logits = torch.from_numpy(plain_logits(changed, ids[:-1]))
            moved.append(F.cross_entropy(logits, torch.tensor(ids[1:])).item())
        assert slope[place].item() == pytest.approx((moved[0] - moved[1]) / 2e-3, abs=1e-5)


# Each mode in a forked process of its own, for the peak is a process's.
MEASURE = """
import os, re, sys, torch
from pathlib import Path
from cutaway.engines.pytorch.attention import causal_attention

def memory(field):
    return int(re.search(field + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
q, k, v = (torch.randn(1, 2, 4096, 64) for _ in range(3))
table = torch.randn(2, 4096, 64)
causal_attention(q[:, :, :128], k[:, :, :128], v[:, :, :128], relative=table)
for trains in (False, True):
    child = os.fork()
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        continue
    if trains:
        import torch._dynamo  # which the first checkpoint imports, and with it Triton where that is installed
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = memory("VmRSS")
    with torch.set_grad_enabled(trains):
        out = causal_attention(
            q.requires_grad_(), k.requires_grad_(), v.requires_grad_(), relative=table.requires_grad_()
        )
    if trains:
        out.sum().backward()
    print(memory("VmHWM") - before, flush=True)
    os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_4096_tokens() -> None:
    """Of two heads of 64, in MiB: an embedding for each pair of tokens would take 8,192, all scores 128."""
    found = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    infers, trains = (int(kib) / 1024 for kib in found.stdout.split())
    assert 0 < infers < 128
    assert infers < trains < 256
