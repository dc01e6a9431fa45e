"""Beam search: exact where it keeps everything, equal to one without a cache, the same in any batch."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.engines.cpu.engine import CpuEngine
from cutaway.engines.protocol import Engine
from cutaway.engines.pytorch.engine import PyTorchEngine
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.generation.beam import BeamConfig, BeamPrompt, Hypothesis, beam_search, length_penalty
from cutaway.numerics import log_softmax
from tests.tiny import random_ids, tiny_weights

TOY = ReferenceEngine(tiny_weights(n_vocab=4, n_ctx=8, n_embd=6, n_head=2, n_layer=1))
END = 3
SMALL = tiny_weights(n_ctx=16, n_layer=1, n_embd=8, n_head=2)
ENGINES: dict[str, Engine] = {
    "reference": ReferenceEngine(SMALL),
    "pytorch": PyTorchEngine(SMALL, "float32"),
    "cpu": CpuEngine(SMALL, "float32", threads=2),
}


def logprob(engine: Engine, prompt: BeamPrompt, ids: tuple[int, ...]) -> float:
    """The log-probability of a continuation, without a cache."""
    logits = engine.forward([[*prompt.ids, *ids]], logits="all", n_prefix=[prompt.n_prefix])
    nats = log_softmax(logits[len(prompt.ids) - 1 : -1])
    return float(nats[np.arange(len(ids)), list(ids)].sum())


def search(engine: Engine, prompt: BeamPrompt, *, end: int = END, **settings: float) -> list[Hypothesis]:
    [found] = beam_search(engine, [prompt], BeamConfig(**settings), frozenset({end}))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_prefix", [0, 2])
def test_equals_brute_force_where_nothing_is_pruned(alpha: float, seed: int, n_prefix: int) -> None:
    prompt = BeamPrompt(random_ids(TOY.config, 2, seed), 4, n_prefix)
    everything = [(*ids, END) for length in range(4) for ids in product(range(3), repeat=length)]
    scores = {ids[:-1]: logprob(TOY, prompt, ids) / length_penalty(len(ids), alpha) for ids in everything}
    expected = sorted(scores.items(), key=lambda entry: -entry[1])[:5]
    found = search(TOY, prompt, beams=108, alpha=alpha, n_best=5)
    assert [each.ids for each in found] == [ids for ids, _ in expected]
    assert [each.score for each in found] == pytest.approx([score for _, score in expected], abs=1e-4)
    assert all(each.is_finished for each in found)


def plain_beam(engine: Engine, prompt: BeamPrompt, beams: int, alpha: float, end: int) -> list[tuple[int, ...]]:
    """A beam search to be read: no cache, every sequence is scored from its beginning, to the very end."""
    alive: list[tuple[int, ...]] = [()]
    finished: list[tuple[float, tuple[int, ...]]] = []
    for _ in range(prompt.max_new_tokens):
        extended = [(*ids, token) for ids in alive for token in range(engine.config.n_vocab)]
        scored = sorted(((logprob(engine, prompt, ids), ids) for ids in extended), key=lambda entry: -entry[0])
        ended = [(nats, ids) for nats, ids in scored[:beams] if ids[-1] == end]
        finished += [(nats / length_penalty(len(ids), alpha), ids[:-1]) for nats, ids in ended]
        alive = [ids for _, ids in scored if ids[-1] != end][:beams]
    return [ids for _, ids in sorted(finished, key=lambda entry: -entry[0])][:beams]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("beams", [1, 2, 4])
def test_equals_a_search_without_a_cache(engine: Engine, beams: int) -> None:
    prompt = BeamPrompt(random_ids(SMALL.config, 5, seed=beams), 5, n_prefix=4)
    end = int(engine.forward([list(prompt.ids)], n_prefix=[4])[0].argsort()[-2])
    expected = plain_beam(engine, prompt, beams, 0.6, end)
    found = search(engine, prompt, end=end, beams=beams, n_best=beams)
    assert [each.ids for each in found if each.is_finished] == expected
    assert expected or beams == 1


@pytest.mark.parametrize("seed", range(6))
def test_the_search_ends_only_where_no_longer_sequence_can_score_higher(seed: int) -> None:
    prompt = BeamPrompt(random_ids(TOY.config, 2, seed), 6)
    found = search(TOY, prompt, beams=2, alpha=4, n_best=2)
    assert [each.ids for each in found if each.is_finished] == plain_beam(TOY, prompt, 2, 4, END)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_prompts_side_by_side_equal_one_by_one(engine: Engine) -> None:
    prompts = [BeamPrompt(random_ids(SMALL.config, n, n), 3 + n % 4, n_prefix=n % 3) for n in (1, 5, 9, 3)]
    config = BeamConfig(beams=3, n_best=3)
    together = beam_search(engine, prompts, config, frozenset({7, 8}))
    assert together == [beam_search(engine, [prompt], config, frozenset({7, 8}))[0] for prompt in prompts]


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 6), st.floats(0, 2))
def test_scores_fall_and_are_of_the_log_probability(seed: int, beams: int, alpha: float) -> None:
    prompt = BeamPrompt(random_ids(TOY.config, 3, seed), 5)
    found = search(TOY, prompt, beams=beams, alpha=alpha, n_best=beams)
    finished = [each for each in found if each.is_finished]
    assert finished == sorted(finished, key=lambda each: -each.score)
    assert len({each.ids for each in finished}) == len(finished)
    for each in found:
        ids = (*each.ids, END) if each.is_finished else each.ids
        assert each.logprob == pytest.approx(logprob(TOY, prompt, ids), abs=1e-4)
        assert each.score == pytest.approx(each.logprob / length_penalty(len(ids), alpha))


def test_one_beam_is_greedy() -> None:
    prompt = BeamPrompt(random_ids(SMALL.config, 4), 6)
    ids = list(prompt.ids)
    engine = ENGINES["reference"]
    for _ in range(6):
        ids.append(int(engine.forward([ids])[0].argmax()))
    [found] = beam_search(engine, [prompt], BeamConfig(beams=1, alpha=0), frozenset())[0]
    assert (found.ids, found.is_finished) == (tuple(ids[4:]), False)


def test_the_context_limits_the_length() -> None:
    [found] = beam_search(ENGINES["reference"], [BeamPrompt([1] * 14, 99)], BeamConfig(beams=2), frozenset())[0]
    assert len(found.ids) == 3


@pytest.mark.parametrize("ids", [[], [1] * 17])
def test_prompts_without_room_are_refused(ids: list[int]) -> None:
    with pytest.raises(UsageError, match=f"the prompt is {len(ids)} tokens long; it must have 1 to 16"):
        beam_search(ENGINES["reference"], [BeamPrompt(ids, 5)], BeamConfig(), frozenset())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beams": 0}, "beams must be from 1 to 128"),
        ({"n_best": 0}, "n_best must be from 1 to 128"),
        ({"beams": 2, "n_best": 3}, r"n_best \(3\) must be at most beams \(2\)"),
        ({"alpha": -1}, "alpha must be from 0 to 10"),
    ],
)
def test_invalid_settings_are_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BeamConfig(**values)


def test_a_beam_ends_with_the_likeliest_of_several_end_tokens() -> None:
    prompt = BeamPrompt([1], 5)
    [found] = beam_search(TOY, [prompt], BeamConfig(beams=4, n_best=4), frozenset(range(4)))
    assert [each.ids for each in found] == [()]
    assert found[0].logprob == pytest.approx(max(logprob(TOY, prompt, (token,)) for token in range(4)), abs=1e-4)


def test_no_prompts_are_no_work() -> None:
    assert beam_search(TOY, [], BeamConfig(), frozenset()) == []


def test_a_check_stops_the_search_between_steps() -> None:
    calls: list[None] = []

    def check() -> None:
        calls.append(None)
        if len(calls) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        beam_search(TOY, [BeamPrompt([0], 5)], BeamConfig(2), frozenset({END}), check)
    assert len(calls) == 2
