"""The settings of a request: ranges, overrides and what is drawn."""

import pytest

from cutaway.errors import UsageError
from cutaway.generation.config import GenerationConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": 2.5},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": "1"},
        {"top_k": -1},
        {"top_k": 40.0},
        {"top_k": True},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": float("nan")},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": float("inf")},
        {"repetition_penalty": 1e-300},
        {"seed": -1},
        {"seed": 1.5},
        {"stop": ""},
        {"stop": ("",)},
        {"stop": [3]},
        {"stop": 3},
        {"ignore_eos": 1},
        {"context_shift": "yes"},
        {"logprobs": 5},
        {"top_logprobs": -1},
        {"bos_token_id": -1},
        {"eos_token_id": [1, -1]},
        {"eos_token_id": "50256"},
    ],
)
def test_rejects_values_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))) as caught:
        GenerationConfig().replace(**wrong)
    assert "\n" not in str(caught.value)


def test_a_single_stop_string_and_end_token_become_tuples() -> None:
    assert GenerationConfig(stop="END", eos_token_id=7) == GenerationConfig(stop=["END"], eos_token_id=[7])


def test_overrides_keep_the_other_settings() -> None:
    config = GenerationConfig(top_k=5, stop=["a"], seed=3)
    assert config.replace(top_k=6) == GenerationConfig(top_k=6, stop=["a"], seed=3)


def test_random_seeds_differ() -> None:
    assert GenerationConfig().pick_seed() != GenerationConfig().pick_seed()
    assert GenerationConfig(seed=0).pick_seed() == 0


def test_end_tokens() -> None:
    assert GenerationConfig().end_tokens(9) == {9}
    assert GenerationConfig().end_tokens(None) == set()
    assert GenerationConfig(eos_token_id=[3, 4]).end_tokens(9) == {3, 4}
    assert GenerationConfig(eos_token_id=3, ignore_eos=True).end_tokens(9) == set()
