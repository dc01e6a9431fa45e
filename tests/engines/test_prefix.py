"""Prefix attention in every engine, against a plain float64 GPT-2 with a mask."""

import numpy as np
import pytest

from cutaway.checkpoints import ArrayWeights
from cutaway.engines.cpu.engine import ISAS, CpuEngine
from cutaway.engines.cpu.library import library
from cutaway.engines.protocol import Engine
from cutaway.errors import UsageError
from tests.engines.plain import plain_logits
from tests.engines.test_engines import Make, every_engine
from tests.tiny import assert_logits_close, random_ids, tiny_weights


@every_engine
@pytest.mark.parametrize("n_prefix", [0, 1, 2, 15, 16, 17, 33, 47, 48, 49, 64])
def test_logits_equal_the_plain_mask(make: Make, n_prefix: int) -> None:
    weights = tiny_weights(n_ctx=64, n_embd=36, n_head=3)
    ids = random_ids(weights.config, 64)
    engine = make(weights)
    expected = plain_logits(weights, ids, n_prefix).astype(np.float32)
    assert_logits_close(engine.forward([ids], logits="all", n_prefix=[n_prefix]), expected)
    assert_logits_close(engine.forward([ids], n_prefix=[n_prefix]), expected[-1:])


@every_engine
def test_decoding_after_a_prefix_is_causal(make: Make) -> None:
    weights = tiny_weights()
    ids = random_ids(weights.config, 30)
    engine = make(weights)
    cache = engine.new_cache(1)
    parts = [engine.forward([ids[:20]], cache, logits="all", n_prefix=[13])]
    parts += [engine.forward([[token]], cache) for token in ids[20:]]
    assert_logits_close(np.concatenate(parts), plain_logits(weights, ids, 13).astype(np.float32))


@every_engine
@pytest.mark.parametrize("cached", [False, True])
def test_a_token_that_overflows_harms_no_prefix(make: Make, cached: bool) -> None:
    weights = tiny_weights(n_layer=1)
    arrays = {**weights.arrays, "wte.weight": weights.arrays["wte.weight"].copy()}
    arrays["wte.weight"][60] = 3e38
    ids = [5, 6, 7, 8, 60, 9]
    engine = make(ArrayWeights(weights.config, arrays))
    with np.errstate(all="ignore"):
        logits = engine.forward([ids], engine.new_cache(1) if cached else None, logits="all", n_prefix=[3])
    assert_logits_close(logits[:4, :60], plain_logits(weights, ids, 3)[:4, :60].astype(np.float32))


@every_engine
def test_ragged_prefixes_equal_one_by_one(make: Make) -> None:
    engine = make(tiny_weights())
    lengths = [1, 30, 7, 16, 17]
    prefixes = [1, 30, 0, 9, 2]
    sequences = [random_ids(engine.config, length, seed=length) for length in lengths]
    alone = [
        engine.forward([ids], logits="all", n_prefix=[count]) for ids, count in zip(sequences, prefixes, strict=True)
    ]
    np.testing.assert_array_equal(engine.forward(sequences, logits="all", n_prefix=prefixes), np.concatenate(alone))


@pytest.mark.parametrize("isa", [isa for isa in ISAS if library().cutaway_isa(isa.encode())])
@pytest.mark.parametrize("n_prefix", [3, 17, 40])
def test_every_instruction_set_and_format_has_prefixes(isa: str, n_prefix: int) -> None:
    weights = tiny_weights(n_ctx=64, n_embd=96, n_head=3)
    ids = random_ids(weights.config, 41)
    expected = plain_logits(weights, ids, n_prefix).astype(np.float32)
    engine = CpuEngine(weights, "float32", 2, isa=isa)
    assert_logits_close(engine.forward([ids], logits="all", n_prefix=[n_prefix]), expected)
    int8 = CpuEngine(weights, "int8", 2, isa=isa)
    causal = int8.forward([ids], n_prefix=[0])
    assert not np.array_equal(int8.forward([ids], n_prefix=[n_prefix]), causal)
    if n_prefix == 3:  # decoding one by one after it
        cache = int8.new_cache(1)
        parts = [int8.forward([ids[:3]], cache, n_prefix=[3]), *(int8.forward([[token]], cache) for token in ids[3:])]
        np.testing.assert_array_equal(
            np.concatenate(parts[1:]), int8.forward([ids], logits="all", cache=int8.new_cache(1), n_prefix=[3])[3:]
        )


def test_a_prefix_longer_than_a_micro_batch_is_not_divided() -> None:
    weights = tiny_weights(n_ctx=1024, n_embd=12, n_layer=2)
    engine: Engine = CpuEngine(weights, "float32", threads=2)
    ids = random_ids(weights.config, 900)
    short = random_ids(weights.config, 400, seed=2)
    found = engine.forward([short, ids], logits="all", n_prefix=[0, 700])
    assert_logits_close(found[400:], plain_logits(weights, ids, 700).astype(np.float32))
    assert_logits_close(found[:400], plain_logits(weights, short, 0).astype(np.float32))


@every_engine
@pytest.mark.parametrize(
    ("n_prefix", "message"),
    [
        ([1], "n_prefix: 1 numbers for 2 sequences"),
        ([0, 4], "the prefix of sequence 1 must be from 0 to 3, not 4"),
        ([-1, 0], "the prefix of sequence 0 must be from 0 to 2, not -1"),
        ([1.5, 0], "n_prefix must be whole numbers"),
    ],
)
def test_invalid_prefixes_are_refused(make: Make, n_prefix: list[int], message: str) -> None:
    engine = make(tiny_weights())
    for cache in (None, engine.new_cache(2)):
        with pytest.raises(UsageError, match=message):
            engine.forward([[1, 2], [1, 2, 3]], cache, n_prefix=n_prefix)


@every_engine
def test_a_prefix_must_begin_its_row(make: Make) -> None:
    engine = make(tiny_weights())
    cache = engine.new_cache(1)
    engine.forward([[1, 2]], cache)
    with pytest.raises(UsageError, match="the prefix of the sequence must begin its row, which holds 2 tokens already"):
        engine.forward([[1, 2]], cache, n_prefix=[2])
    assert cache.lengths == (2,)
