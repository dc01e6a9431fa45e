from dataclasses import replace

import pytest

from bench.agreement import END_OF_TEXT, Continuations, check, random_prompts
from bench.engines import ENGINES
from bench.process import PeerFailedError

EXACT = next(engine for engine in ENGINES if engine.exact)
ROUNDED = replace(EXACT, exact=False)
TRUTH = Continuations([1, 2, 3, 4], [[5, 6, 7], [8, 9, 10]])


def test_a_continuation_counts_as_far_as_it_is_the_same() -> None:
    found = Continuations([1, 2, 9, 4], [[5, 0, 7], [8, 9, 10]]).agreement(TRUTH)
    assert found == {"next_same": 3, "next": 4, "greedy_same": 4, "greedy": 6}


def test_accepts_equal_tokens_and_rejects_those_of_another_model() -> None:
    check(EXACT, TRUTH.agreement(TRUTH))
    other = Continuations([0] * 4, [[0] * 3] * 2)
    for engine in (EXACT, ROUNDED):
        with pytest.raises(PeerFailedError, match="computes another model: 0 of 4 next tokens and 0 of 6 greedy"):
            check(engine, other.agreement(TRUTH))


def test_greedy_tokens_of_rounded_weights_mostly_agree() -> None:
    found = Continuations([1, 2, 3, 0], [[5, 6, 0], [0, 9, 10]]).agreement(TRUTH)
    check(ROUNDED, found)
    with pytest.raises(PeerFailedError):
        check(EXACT, found)


def test_prompts_are_equal_for_all_engines_and_differ_between_runs() -> None:
    assert random_prompts(1, 2, 8) == random_prompts(1, 2, 8) != random_prompts(2, 2, 8)
    assert all(0 <= token < END_OF_TEXT for prompt in random_prompts(3, 16, 64) for token in prompt)
