"""The same cases through all three forward passes, with transformers as the peer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cutaway.checkpoints import ArrayWeights, Weights
from cutaway.config import ACTIVATIONS
from cutaway.engines.cpu.engine import CpuEngine
from cutaway.engines.protocol import Engine
from cutaway.engines.pytorch.engine import PyTorchEngine
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from tests.tiny import MATHEMATICS, assert_logits_close, peer_logits, peer_model, random_ids, tiny_weights

Make = Callable[[Weights], Engine]

ENGINES: dict[str, Make] = {
    "reference": ReferenceEngine,
    "pytorch": lambda weights: PyTorchEngine(weights, "float32"),
    "cpu": lambda weights: CpuEngine(weights, "float32", threads=2),
}

SHAPES: dict[str, dict[str, int | bool]] = {
    "one head": {"n_embd": 20, "n_head": 1, "n_ctx": 8},
    "three heads of odd width": {"n_embd": 21, "n_head": 3, "n_ctx": 40},
    "twelve heads": {"n_embd": 48, "n_head": 12, "n_layer": 3, "n_ctx": 128},
    "heads of 64": {"n_embd": 192, "n_head": 3, "n_ctx": 80},
    "one layer, width one": {"n_embd": 1, "n_head": 1, "n_layer": 1, "n_ctx": 16},
    "untied": {"tie_word_embeddings": False},
    "narrow mlp": {"n_inner": 10},
    "full vocabulary": {"n_vocab": 50257, "n_embd": 16, "n_head": 2, "n_layer": 1},
    "context of 1024": {"n_ctx": 1024, "n_embd": 12, "n_layer": 1},
}

every_engine = pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)


@every_engine
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_logits_equal_the_peers(make: Make, shape: dict[str, int | bool]) -> None:
    weights = tiny_weights(**shape)
    ids = random_ids(weights.config, weights.config.n_ctx)
    assert_logits_close(make(weights).forward([ids], logits="all"), peer_logits(peer_model(weights), ids))


@pytest.mark.slow
@every_engine
@pytest.mark.parametrize("mathematics", MATHEMATICS.values(), ids=MATHEMATICS)
def test_logits_and_greedy_tokens_of_other_mathematics_equal_the_peers(make: Make, mathematics: dict[str, Any]) -> None:
    weights = tiny_weights(n_layer=3, **mathematics)
    peer = peer_model(weights)
    engine = make(weights)
    ids = random_ids(weights.config, 20)
    assert_logits_close(engine.forward([ids], logits="all"), peer_logits(peer, ids))
    cache = engine.new_cache(1)
    logits = engine.forward([ids], cache)
    for _ in range(8):
        expected = peer_logits(peer, ids)[-1:]
        assert_logits_close(logits, expected)
        ids.append(int(expected.argmax()))
        assert logits.argmax() == ids[-1]
        logits = engine.forward([ids[-1:]], cache)


@pytest.mark.parametrize("setting", ["activation_function", "scale_attn_weights", "scale_attn_by_inverse_layer_idx"])
def test_each_setting_of_the_mathematics_changes_the_logits(setting: str) -> None:
    """With the same weights: else the tests above would compare nothing."""
    weights = tiny_weights()
    plain = ReferenceEngine(weights).forward([[1, 2, 3]])
    values = ACTIVATIONS if setting == "activation_function" else (True, False)
    for value in set(values) - {getattr(weights.config, setting)}:
        other: dict[str, Any] = {setting: value}
        changed = ArrayWeights(replace(weights.config, **other), weights.arrays)
        assert np.abs(ReferenceEngine(changed).forward([[1, 2, 3]]) - plain).max() > 1e-4


@every_engine
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_cached_equals_uncached_at_every_position(make: Make, shape: dict[str, int | bool]) -> None:
    engine = make(tiny_weights(**shape))
    ids = random_ids(engine.config, min(engine.config.n_ctx, 40))
    cache = engine.new_cache(1)
    one_by_one = np.concatenate([engine.forward([[token]], cache) for token in ids])
    assert cache.lengths == (len(ids),)
    assert_logits_close(one_by_one, engine.forward([ids], logits="all"))


@every_engine
def test_greedy_tokens_equal_the_peers(make: Make) -> None:
    weights = tiny_weights(seed=3)
    peer = peer_model(weights)
    engine = make(weights)
    ids = random_ids(weights.config, 5)
    cache = engine.new_cache(1)
    new = list(ids)
    theirs = list(ids)
    while len(ids) < 40:
        new = [int(engine.forward([new], cache)[0].argmax())]
        ids.append(new[0])
        theirs.append(int(peer_logits(peer, theirs)[-1].argmax()))
    assert ids == theirs


@every_engine
def test_prefill_in_parts_equals_prefill_at_once(make: Make) -> None:
    engine = make(tiny_weights())
    ids = random_ids(engine.config, 40)
    cache = engine.new_cache(1)
    pieces = [engine.forward([ids[start:stop]], cache, logits="all") for start, stop in ((0, 17), (17, 18), (18, 40))]
    assert_logits_close(np.concatenate(pieces), engine.forward([ids], logits="all"))


@pytest.mark.slow
@every_engine
def test_prefill_in_parts_gives_the_same_bits_if_the_engine_says_so(make: Make) -> None:
    engine = make(tiny_weights(n_embd=768, n_head=12, n_ctx=256))
    ids = random_ids(engine.config, 200)
    cache = engine.new_cache(1)
    engine.forward([ids[:150]], cache)
    cache.truncate([137])
    parts = [engine.forward([ids[start:stop]], cache) for start, stop in ((137, 138), (138, 141), (141, 200))]
    at_once = engine.forward([ids], engine.new_cache(1))
    assert_logits_close(parts[-1], at_once)
    assert np.array_equal(parts[-1], at_once) or not engine.is_split_invariant


@every_engine
def test_a_ragged_batch_equals_one_by_one(make: Make) -> None:
    engine = make(tiny_weights())
    prompts = [random_ids(engine.config, length, seed=length) for length in (1, 30, 7, 16, 17)]
    together = engine.forward(prompts, logits="all")
    assert_logits_close(together, np.concatenate([engine.forward([ids], logits="all") for ids in prompts]))


@every_engine
def test_decoding_gives_the_same_bits_in_any_batch(make: Make) -> None:
    engine = make(tiny_weights(seed=1))
    prompts = [random_ids(engine.config, length, seed=length) for length in (1, 30, 7, 16, 17, 3, 3, 9, 10, 11, 12)]
    together = engine.new_cache(len(prompts))
    alone = [engine.new_cache(1) for _ in prompts]
    inputs = prompts
    inputs_alone = prompts
    for _ in range(8):
        logits = engine.forward(inputs, together)
        logits_alone = np.concatenate([engine.forward([ids], c) for ids, c in zip(inputs_alone, alone, strict=True)])
        np.testing.assert_array_equal(logits, logits_alone)
        inputs = inputs_alone = [[int(token)] for token in logits.argmax(axis=-1)]


@every_engine
def test_prefill_and_decode_share_a_step(make: Make) -> None:
    engine = make(tiny_weights())
    cache = engine.new_cache(3)
    engine.forward([[1, 2], [3], [4, 5, 6]], cache)
    mixed = engine.forward([[7], [8, 9, 10], [11]], cache)
    after = engine.forward([[12], [13], [14]], cache)
    rows = ([1, 2, 7, 12], [3, 8, 9, 10, 13], [4, 5, 6, 11, 14])
    assert_logits_close(mixed, np.concatenate([engine.forward([ids[:-1]]) for ids in rows]))
    assert_logits_close(after, np.concatenate([engine.forward([ids]) for ids in rows]))


@every_engine
def test_a_copied_row_is_independent(make: Make) -> None:
    engine = make(tiny_weights())
    cache = engine.new_cache(3)
    engine.forward([[1, 2, 3], [4, 5], [6]], cache)
    cache.copy_row(0, 2)
    assert cache.lengths == (3, 2, 3)
    logits = engine.forward([[7], [8], [9]], cache)
    assert_logits_close(logits, np.concatenate([engine.forward([i]) for i in ([1, 2, 3, 7], [4, 5, 8], [1, 2, 3, 9])]))


@every_engine
def test_added_rows_are_empty(make: Make) -> None:
    engine = make(tiny_weights())
    cache = engine.new_cache(1)
    engine.forward([[1, 2, 3]], cache)
    cache.add_rows(9)
    assert cache.lengths == (3, *[0] * 9)
    logits = engine.forward([[4]] * 10, cache)
    assert_logits_close(logits, np.concatenate([engine.forward([i]) for i in ([1, 2, 3, 4], *[[4]] * 9)]))


@every_engine
def test_rows_that_are_not_read_are_unchanged(make: Make) -> None:
    engine = make(tiny_weights())
    cache = engine.new_cache(11)
    engine.forward([[1, 2], [3], [4, 5]], cache, rows=[1, 0, 9])
    assert cache.lengths == (1, 2, *[0] * 7, 2, 0)
    logits = engine.forward([[6], [7, 8], [9]], cache, rows=[9, 0, 10])
    assert cache.lengths == (3, 2, *[0] * 7, 3, 1)
    assert_logits_close(logits, np.concatenate([engine.forward([i]) for i in ([4, 5, 6], [3, 7, 8], [9])]))
    after = engine.forward([[10], [11]], cache, rows=[1, 0])
    assert_logits_close(after, np.concatenate([engine.forward([i]) for i in ([1, 2, 10], [3, 7, 8, 11])]))


@every_engine
def test_a_full_row_is_unchanged_while_others_are_read(make: Make) -> None:
    engine = make(tiny_weights())
    full = random_ids(engine.config, 48)
    cache = engine.new_cache(2)
    engine.forward([full], cache, rows=[1])
    engine.forward([[8]], cache, rows=[0])
    engine.forward([[9]], cache, rows=[0])
    assert cache.lengths == (2, 48)
    cache.truncate([2, 47])
    logits = engine.forward([[10], full[47:]], cache)
    assert_logits_close(logits, np.concatenate([engine.forward([[8, 9, 10]]), engine.forward([full])]))


@every_engine
def test_truncating_forgets(make: Make) -> None:
    engine = make(tiny_weights())
    cache = engine.new_cache(2)
    engine.forward([[1, 2, 3, 4], [5, 6]], cache)
    cache.truncate([2, 0])
    assert cache.lengths == (2, 0)
    assert_logits_close(
        engine.forward([[7], [8]], cache), np.concatenate([engine.forward([[1, 2, 7]]), engine.forward([[8]])])
    )


@every_engine
def test_truncating_never_lengthens(make: Make) -> None:
    engine = make(tiny_weights())
    cache = engine.new_cache(1)
    engine.forward([[1, 2]], cache)
    cache.truncate([9])
    assert cache.lengths == (2,)


@every_engine
@pytest.mark.parametrize(
    ("sequences", "complaint"),
    [
        ([[]], "empty"),
        ([[61]], "outside 0 to 60"),
        ([[-1]], "outside 0 to 60"),
        ([[0] * 49], "^the sequence would be 49 tokens long; the context holds 48"),
        ([[1], [2]], "2 sequences for 1 rows of the cache"),
        ([[True]], "^the sequence must be whole numbers"),
        ([[1.5]], "^the sequence must be whole numbers"),
    ],
)
def test_rejects_invalid_input_in_one_line(make: Make, sequences: list[list[int]], complaint: str) -> None:
    engine = make(tiny_weights())
    with pytest.raises(UsageError, match=complaint) as caught:
        engine.forward(sequences, engine.new_cache(1))
    assert "\n" not in str(caught.value)


@every_engine
def test_a_cache_rejects_invalid_rows_and_lengths(make: Make) -> None:
    engine = make(tiny_weights())
    cache = engine.new_cache(2)
    engine.forward([[1, 2], [3]], cache)
    for count in (0, -1, 1.5):
        with pytest.raises(UsageError, match="rows of a cache"):
            engine.new_cache(count)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="rows to add"):
            cache.add_rows(count)  # type: ignore[arg-type]
    for row in (2, -1, 2**32, 0.5):
        for source, target in ((row, 0), (0, row)):
            with pytest.raises(UsageError, match="a row of the cache"):
                cache.copy_row(source, target)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="row"):
            engine.forward([[1]], cache, rows=[row])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="rows must differ"):
        engine.forward([[1], [2]], cache, rows=[1, 1])
    with pytest.raises(UsageError, match="2 sequences for 1 rows of the cache"):
        engine.forward([[1], [2]], cache, rows=[1])
    for lengths in ([1], [-1, 1], [1.5, 1]):
        with pytest.raises(UsageError, match="truncate"):
            cache.truncate(lengths)  # type: ignore[arg-type]
    cache.truncate([2**32, 2**40])
    assert cache.lengths == (2, 1)
    with pytest.raises(UsageError, match="the engine that made it"):
        make(tiny_weights()).forward([[1], [1]], Foreign())
    with pytest.raises(UsageError, match="logits must be"):
        engine.forward([[1]], logits="some")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least one sequence"):
        engine.forward([])


class Foreign:
    """No engine's cache."""

    lengths = (0, 0)

    def add_rows(self, count: int) -> None:
        return None

    def copy_row(self, source: int, target: int) -> None:
        return None

    def truncate(self, lengths: Sequence[int]) -> None:
        return None


@every_engine
def test_a_full_context_can_be_read_but_not_exceeded(make: Make) -> None:
    engine = make(tiny_weights())
    cache = engine.new_cache(1)
    engine.forward([random_ids(engine.config, 48)], cache)
    with pytest.raises(UsageError, match="the context holds 48"):
        engine.forward([[1]], cache)


# The traps: what GPT-2s that are nearly right get wrong.


@every_engine
def test_gelu_is_the_tanh_one(make: Make) -> None:
    """With the exact GELU in the peer instead, the logits differ by more than the bar."""
    weights = tiny_weights(n_layer=4)
    ids = random_ids(weights.config, 40)
    peer = peer_model(weights)
    for block in peer.transformer.h:
        block.mlp.act = __import__("torch").nn.GELU()
    with pytest.raises(AssertionError):
        assert_logits_close(make(weights).forward([ids], logits="all"), peer_logits(peer, ids))


@every_engine
def test_epsilon_is_the_configurations(make: Make) -> None:
    weights = tiny_weights()
    weights = ArrayWeights(replace(weights.config, layer_norm_epsilon=0.1), weights.arrays)
    ids = random_ids(weights.config, 40)
    assert_logits_close(make(weights).forward([ids], logits="all"), peer_logits(peer_model(weights), ids))


@every_engine
def test_linear_weights_are_in_out(make: Make) -> None:
    """A square c_proj read the wrong way round has the right shape and the wrong logits."""
    weights = tiny_weights()
    name = "h.0.attn.c_proj.weight"
    turned = ArrayWeights(weights.config, {**weights.arrays, name: weights.arrays[name].T})
    right = make(weights).forward([[1, 2, 3]])
    wrong = make(turned).forward([[1, 2, 3]])
    assert np.abs(right - wrong).max() > 1e-2


@every_engine
def test_a_token_never_sees_the_future(make: Make) -> None:
    """Large scores for later tokens leak through a mask that is not negative enough."""
    weights = tiny_weights()
    arrays = dict(weights.arrays)
    arrays["h.0.attn.c_attn.weight"] = arrays["h.0.attn.c_attn.weight"] * 60  # scores in the tens of thousands
    engine = make(ArrayWeights(weights.config, arrays))
    ids = random_ids(weights.config, 20)
    changed = [*ids[:10], *random_ids(weights.config, 10, seed=9)]
    before, after = (engine.forward([i], logits="all")[:10] for i in (ids, changed))
    np.testing.assert_array_equal(before, after)


@every_engine
def test_positions_in_a_ragged_batch_start_at_zero(make: Make) -> None:
    """A short row beside a long one still stands at positions 0, 1, 2, ..."""
    engine = make(tiny_weights())
    logits = engine.forward([random_ids(engine.config, 30), [5, 6]])
    assert_logits_close(logits[1:], engine.forward([[5, 6]]))
