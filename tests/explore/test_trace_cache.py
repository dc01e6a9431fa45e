import numpy as np
import pytest

from cutaway.engines.reference import ReferenceEngine
from cutaway.explore.trace_cache import TraceCache, UnknownTrace, fingerprint, trace_name
from cutaway.model import Model
from cutaway.trace import Intervention, Trace
from tests.explore.served import mute
from tests.tiny import tiny_weights

WEIGHTS = tiny_weights()


def trace_of(*ids: int) -> Trace:
    return Trace(WEIGHTS.config, WEIGHTS.arrays, None, ids)


def test_evicts_the_least_recently_used() -> None:
    size = trace_of(1, 2).n_bytes
    cache = TraceCache(2 * size)
    for name in "ab":
        cache.put(name, trace_of(1, 2))
    assert cache.find("a")  # which makes "b" the one that was used longest ago
    cache.put("c", trace_of(3, 4))
    assert [name for name in "abc" if cache.find(name)] == ["a", "c"]
    cache.put("d", trace_of(1, 2, 3, 4, 5))
    assert [name for name in "abcd" if cache.find(name)] == ["c", "d"]


def test_the_growth_of_traces_counts() -> None:
    cache = TraceCache(4 * trace_of(1, 2).n_bytes)
    for name in "abc":
        cache.put(name, trace_of(1, 2))
    while cache["c"].n_bytes < 3 * trace_of(1, 2).n_bytes:
        for tensor in cache["c"].shapes():
            cache["c"][tensor]
    assert cache.find("c")
    assert [name for name in "abc" if cache.find(name)] == ["b", "c"]


def test_the_last_two_used_traces_stay() -> None:
    cache = TraceCache(1)
    for name in "abc":
        cache.put(name, trace_of(1, 2))
    assert [name for name in "abc" if cache.find(name)] == ["b", "c"]
    assert len(cache) == 2


def test_an_unknown_trace_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(UnknownTrace, match="unknown trace 'a'; it may have been evicted: post its token ids again"):
        TraceCache()["a"]


def test_trace_names_depend_on_model_tokens_and_interventions() -> None:
    model = fingerprint(mute())
    change = Intervention("zero_ablate_mlp", layer=0)
    names = {
        trace_name(*content)
        for content in (
            (model, [1, 2], []),
            (model, [1, 3], []),
            (model, [12], []),
            (model, [1, 2], [change]),
            (model, [1, 2], [change, change]),
            (model, [1, 2], [Intervention("zero_ablate_mlp", layer=1)]),
            (fingerprint(mute(seed=1)), [1, 2], []),
        )
    }
    assert len(names) == 7
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)
    assert trace_name(fingerprint(mute()), [1, 2], []) == trace_name(model, (1, 2), ())


@pytest.mark.parametrize("tensor", ["h.1.ln_2.bias", "wte.weight", "ln_f.weight"])
def test_different_models_have_different_fingerprints(tensor: str) -> None:
    weights = tiny_weights()
    weights.arrays[tensor].reshape(-1)[-1] += np.float32(0.001)
    assert fingerprint(Model(ReferenceEngine(weights), weights, None, "mute")) != fingerprint(mute())


def test_the_same_weights_under_another_name_are_the_same_model() -> None:
    weights = tiny_weights()
    assert fingerprint(Model(ReferenceEngine(weights), weights, None, "other")) == fingerprint(mute())
