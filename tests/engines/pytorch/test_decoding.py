"""The kernel of attention of one new token, in Triton's interpreter, which its environment must ask for."""

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from cutaway.engines.pytorch import decoding
from cutaway.engines.pytorch.attention import visible
from cutaway.engines.pytorch.model import GPT2, LayerCache
from tests.tiny import tiny_weights

CONFIG = tiny_weights().config


def test_without_cuda_there_is_no_kernel() -> None:
    assert not decoding.has_kernel(torch.device("cpu"), torch.float32)


def test_a_kernel_that_cannot_be_compiled_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "find_spec", lambda _: True)
    monkeypatch.setattr(torch, "ones", lambda *_, **__: 1 / 0)
    assert not decoding.has_kernel.__wrapped__(torch.device("cuda"), torch.float32)


def test_a_module_with_the_kernel_reads_one_new_token_without_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []

    def attend(
        q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, arrived: Tensor
    ) -> Tensor:
        calls.append(tuple(arrived.shape))
        keys, values = LayerCache(k_cache, v_cache, lengths).write(k, v)
        mask = visible(lengths[:, None, None], k_cache.shape[2], None)
        return torch.nn.functional.scaled_dot_product_attention(q, keys, values, mask)

    monkeypatch.setattr("cutaway.engines.pytorch.model.attend_next", attend)
    model = GPT2(CONFIG).eval()
    model.load(tiny_weights())
    ids = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])
    expected = model(ids)
    monkeypatch.setattr("cutaway.engines.pytorch.model.has_kernel", lambda *_: True)
    cache = model.new_cache(3)
    rows = cache.rows(slice(1, 3))
    steps = [model(ids[:, :3], rows), model(ids[:, 3:4], rows)]
    n_calls = len(calls)
    hidden = model.hidden(ids[:, 4:], rows, despite_overflow=True)
    torch.testing.assert_close(torch.cat([*steps, model.lm_head(hidden)], 1), expected)
    assert calls == [(2, CONFIG.n_head)] * CONFIG.n_layer
    assert len(calls) == n_calls


CODE = """
import torch
from cutaway.engines.pytorch import decoding

def check(batch, n_head, n_slots, d_head, dtype, n_programs):
    decoding.N_PROGRAMS = n_programs
    generator = torch.Generator().manual_seed(batch)
    def normal(*shape):
        return torch.randn(shape, generator=generator).to(dtype)
    parts = normal(batch, 1, 3 * n_head * d_head).chunk(3, 2)
    q, k, v = (x.view(batch, 1, n_head, d_head).transpose(1, 2) for x in parts)
    k_cache, v_cache = normal(2, 2, batch, n_head, n_slots, d_head)
    lengths = torch.tensor([n_slots - 1, 0, n_slots // 2])[:batch]
    is_held = torch.arange(n_slots) < lengths[:, None]
    for x in (k_cache, v_cache):
        x.masked_fill_(~is_held[None, :, None, :, None], torch.nan)  # which must not be read
    rows = torch.arange(batch)
    keys, values = (x[1].nan_to_num() for x in (k_cache, v_cache))
    keys[rows, :, lengths], values[rows, :, lengths] = k[:, :, 0], v[:, :, 0]
    mask = (torch.arange(n_slots) <= lengths[:, None])[:, None, None]
    expected = torch.nn.functional.scaled_dot_product_attention(q.float(), keys.float(), values.float(), attn_mask=mask)
    arrived = torch.zeros(batch, n_head, dtype=torch.int32)
    caches = [(k_cache.clone(), v_cache.clone()) for _ in range(2)]
    with torch.inference_mode():
        found = decoding.attend_next(q, k, v, caches[0][0][1], caches[0][1][1], lengths, arrived)
    addresses = [torch.tensor([x[0, row].data_ptr() for row in range(batch)]) for x in caches[1]]
    at = decoding.attend_next_at(q, k, v, *addresses, lengths, arrived, n_slots, k_cache.stride(0))
    torch.testing.assert_close(found.float(), expected, atol=1e-5 if dtype == torch.float32 else 1e-2, rtol=0)
    assert torch.equal(found, at)
    assert not arrived.any()
    for written in caches:
        assert torch.equal(written[0][1].nan_to_num(), keys) and torch.equal(written[1][1].nan_to_num(), values)
        assert torch.equal(written[0][0].nan_to_num(), k_cache[0].nan_to_num())  # the other layer

check(3, 1, 300, 64, torch.float32, 1024)
check(3, 2, 600, 48, torch.float32, 6)
check(2, 3, 40, 8, torch.bfloat16, 1)
check(1, 2, 200, 256, torch.float16, 1024)

q = torch.ones(2, 1, 1, 16)
cache = torch.ones(2, 1, 4, 16)
cache[0] = torch.inf
lengths = torch.tensor([2, 9])
found = decoding.attend_next(q, q, q, cache, cache.clone(), lengths, torch.zeros(2, 1, dtype=torch.int32))
assert not found[0].isfinite().any() and (found[1] == 1).all()  # a full row overwrites its last
unused = torch.zeros(2, dtype=torch.long)
decoding.attend_next_at(q, q, q, unused, unused, lengths, torch.zeros(2, 1, dtype=torch.int32), 4, 0)
torch.library.opcheck(
    decoding.attend_next, (q, q, q, cache, cache.clone(), lengths, torch.zeros(2, 1, dtype=torch.int32)),
    test_utils=("test_schema", "test_faketensor"),
)
"""


@pytest.mark.slow
def test_the_kernel_attends_to_what_is_held_and_writes_what_is_new() -> None:
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-W", "ignore", "-c", CODE], check=True, env=environment)
