"""Prompts one after another over one cache: what they share is read once, and changes nothing."""

from collections.abc import Iterator
from typing import Any

import pytest

from cutaway.engines.cpu.engine import CpuEngine
from cutaway.engines.protocol import Engine
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.generation.batch import generate
from cutaway.generation.config import GenerationConfig
from cutaway.generation.prompt_cache import PromptCache
from cutaway.generation.stream import Chunk
from tests.tiny import tiny_weights

WEIGHTS = tiny_weights(n_ctx=16, n_layer=2, n_embd=8, n_head=2)
CONFIG = GenerationConfig(max_new_tokens=8, ignore_eos=True, logprobs=True)
PROMPT = [1, 2, 3, 4]


def record_reads(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The sequences that an engine reads from now on."""
    read: list[list[int]] = []
    forward = engine.forward

    def recorded(sequences: list[list[int]], *args: Any, **more: Any) -> Any:
        read.extend(map(list, sequences))
        return forward(sequences, *args, **more)

    monkeypatch.setattr(engine, "forward", recorded)
    return read


@pytest.mark.parametrize("engine_type", [CpuEngine, ReferenceEngine])
def test_what_a_prompt_shares_with_the_one_before_is_not_read_again(
    engine_type: type[CpuEngine | ReferenceEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_type(WEIGHTS)
    cache = PromptCache(engine, None)
    read = record_reads(engine, monkeypatch)
    for prompt, unread in ((PROMPT, PROMPT), (PROMPT, [4]), ([1, 2, 7, 4], [7, 4]), ([1, 2, 7, 4, 5], [5]), ([9], [9])):
        read.clear()
        list(cache.stream(prompt, CONFIG.replace(max_new_tokens=1)))
        assert read == [unread if engine.is_split_invariant else prompt]


def test_prompts_that_are_left_or_come_side_by_side_do_not_disturb_others(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = CpuEngine(WEIGHTS)
    cache = PromptCache(engine, None)

    def stream(seed: int) -> Iterator[Chunk]:
        return cache.stream(PROMPT, CONFIG.replace(seed=seed))

    expected = [[chunk for _, chunk in generate(engine, None, [PROMPT], CONFIG, [seed])] for seed in range(3)]
    for _ in range(2):  # over no cache, and over one
        side_by_side = zip(*map(stream, range(3)), strict=True)
        assert [*side_by_side] == [*zip(*expected, strict=True)]
    left = stream(0)
    next(left)
    del left
    read = record_reads(engine, monkeypatch)
    assert [*stream(1)] == expected[1]
    assert read[0] == [4]


def test_a_prompt_that_is_refused_is_no_hindrance() -> None:
    cache = PromptCache(CpuEngine(WEIGHTS), None)
    before = [*cache.stream(PROMPT, CONFIG.replace(seed=0))]
    with pytest.raises(UsageError, match="the context holds 16"):
        next(cache.stream([1] * 17, CONFIG))
    assert [*cache.stream(PROMPT, CONFIG.replace(seed=0))] == before
