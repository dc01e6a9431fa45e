import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.training import copy_rate as module
from cutaway.training.copy_rate import copy_rate

few_tokens = st.lists(st.integers(0, 1), max_size=60)


def brute_force(sample: list[int], training: list[list[int]]) -> float | None:
    grams = [sample[i : i + 8] for i in range(len(sample) - 7)]
    there = [text[i : i + 8] for text in training for i in range(len(text) - 7)]
    return sum(gram in there for gram in grams) / len(grams) if grams else None


@given(sample=few_tokens, training=st.lists(few_tokens, max_size=3))
def test_equals_a_brute_force_search(sample: list[int], training: list[list[int]]) -> None:
    assert copy_rate(sample, training) == brute_force(sample, training)


def test_texts_longer_than_a_part_are_searched_across_its_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    text = np.random.default_rng(0).integers(0, 50257, 1000)
    monkeypatch.setattr(module, "_CHUNK", 64)
    assert copy_rate(text[100:900], [text.astype(np.uint16)]) == 1
    assert copy_rate(text[::-1], [text]) == 0


def test_equal_hashes_are_not_equal_8_grams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BASE", 0)
    assert copy_rate([1, 2, 3, 4, 5, 6, 7, 8], [[8, 7, 6, 5, 4, 3, 2, 8]]) == 0


def test_an_8_gram_may_occur_in_any_of_the_texts() -> None:
    sample = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert copy_rate(sample, [sample[:8], [0] * 9, sample[1:], [0] * 9]) == 1


def test_no_8_gram_crosses_from_one_text_to_the_next() -> None:
    sample = [1, 2, 3, 4, 5, 6, 7, 8]
    assert copy_rate(sample, [sample[:4], sample[4:]]) == 0
    assert copy_rate(sample[:7], [sample]) is None
