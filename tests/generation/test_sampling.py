"""The choice of the next token: each step against its definition, and against transformers' own."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from cutaway.errors import UsageError
from cutaway.generation.config import GenerationConfig
from cutaway.generation.sampling import (
    apply_mask,
    choose,
    distribution,
    top_k_ids,
    top_p_keep,
)
from cutaway.numerics import FloatArray, softmax

ARTICLE = np.log(np.array([0.50, 0.30, 0.19, 0.01], dtype=np.float32))  # its example: 50 %, 30 %, 19 %


def logits_of(seed: int, size: int = 50) -> FloatArray:
    return np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)


def peer_distribution(logits: FloatArray, config: GenerationConfig, seen: list[int]) -> NDArray[np.float64]:
    """transformers' processors in our documented order."""
    scores = torch.from_numpy(logits.copy())[None]
    ids = torch.tensor([seen])
    for processor in (
        RepetitionPenaltyLogitsProcessor(config.repetition_penalty),
        TemperatureLogitsWarper(config.temperature),
        TopKLogitsWarper(config.top_k),
        TopPLogitsWarper(config.top_p),
    ):
        scores = processor(ids, scores)
    probabilities: NDArray[np.float64] = torch.softmax(scores[0].double(), -1).numpy()
    return probabilities


@settings(max_examples=50)
@given(
    seed=st.integers(0, 1000),
    temperature=st.floats(0.2, 3),
    top_k=st.integers(1, 49),
    top_p=st.floats(0.05, 0.99),
    penalty=st.floats(0.5, 2),
)
def test_the_distribution_equals_the_peers(
    seed: int, temperature: float, top_k: int, top_p: float, penalty: float
) -> None:
    config = GenerationConfig(temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=penalty)
    seen = [3, 7, 7]
    ids, probabilities = distribution(logits_of(seed), config, seen)
    ours = np.zeros(50)
    ours[ids] = probabilities
    np.testing.assert_allclose(ours, peer_distribution(logits_of(seed), config, seen), atol=1e-5)


def test_greedy_takes_the_lowest_id_among_equals() -> None:
    logits = np.array([0, 5, 5, 1], dtype=np.float32)
    assert choose(logits, GenerationConfig(temperature=0), np.random.default_rng()) == 1


def test_top_k_keeps_ties_at_the_border() -> None:
    """As OpenAI's `logits < kth value` does: three tokens survive k = 2."""
    assert top_k_ids(np.array([1, 3, 2, 2, 0], dtype=np.float32), 2).tolist() == [1, 2, 3]


def test_top_p_keeps_the_token_that_crosses() -> None:
    """0.5 + 0.3 reaches 0.6 with the second token, which stays; OpenAI's `cumulative <= p` would drop it."""
    probabilities = np.array([0.1, 0.5, 0.3, 0.1])
    assert top_p_keep(probabilities, 0.6).tolist() == [1, 2]
    assert (np.cumsum(np.sort(probabilities)[::-1]) <= 0.6).sum() == 1


def test_top_p_keeps_the_lowest_ids_among_equals() -> None:
    probabilities = np.full(64, 1 / 64)
    assert top_p_keep(probabilities, 0.25).tolist() == list(range(16))


def test_top_p_keeps_at_least_one_and_at_most_all() -> None:
    probabilities = np.array([0.2, 0.8])
    assert top_p_keep(probabilities, 1e-9).tolist() == [1]
    assert top_p_keep(probabilities, 0.999999999).tolist() == [1, 0]


@pytest.mark.slow
def test_the_articles_example_is_drawn_at_its_rates() -> None:
    rng = np.random.default_rng(0)
    drawn = np.bincount([choose(ARTICLE, GenerationConfig(top_k=3), rng) for _ in range(20_000)], minlength=4) / 20_000
    np.testing.assert_allclose(drawn, np.array([0.50, 0.30, 0.19, 0]) / 0.99, atol=0.015)


def test_the_repetition_penalty_lowers_positive_and_negative_logits() -> None:
    logits = np.array([2.0, -2.0, 0.0], dtype=np.float32)
    before = distribution(logits, GenerationConfig(top_k=0), [0, 1])[1]
    after = distribution(logits, GenerationConfig(top_k=0, repetition_penalty=1.5), [0, 1])[1]
    assert after[0] < before[0]
    assert after[1] < before[1]
    assert after[2] > before[2]


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-4])
def test_a_tiny_temperature_is_greedy_not_nan(temperature: float) -> None:
    logits = logits_of(1)
    config = GenerationConfig(temperature=temperature, top_k=0)
    with np.errstate(all="raise", under="ignore"):
        assert choose(logits, config, np.random.default_rng(0)) == logits.argmax()


def test_the_order_is_temperature_before_top_p() -> None:
    """At temperature 5 the example is nearly flat, so p = 0.6 needs three tokens where it needed two."""
    assert len(distribution(ARTICLE, GenerationConfig(top_k=0, top_p=0.6))[0]) == 2
    assert len(distribution(ARTICLE, GenerationConfig(temperature=5, top_k=0, top_p=0.6))[0]) == 3


@given(
    st.lists(st.floats(0, 30), min_size=1, max_size=60),
    st.floats(0.01, 0.999),
)
def test_top_p_sorts_only_candidates_and_keeps_the_same(logits: list[float], p: float) -> None:
    probabilities = softmax(np.array(logits))
    order = np.argsort(-probabilities, kind="stable")
    n_kept = int(np.searchsorted(np.cumsum(probabilities[order]), p, side="left")) + 1
    assert top_p_keep(probabilities, p).tolist() == order[:n_kept].tolist()


def test_a_mask_removes_tokens_at_any_temperature_and_top_k() -> None:
    logits = np.array([3, 2, 1, 0], np.float32)
    masked = apply_mask(logits, np.array([False, True, False, True]))
    for config in (GenerationConfig(temperature=0), GenerationConfig(top_k=0), GenerationConfig(top_k=3, top_p=0.9)):
        drawn = {choose(masked, config, np.random.default_rng(seed), [1, 3]) for seed in range(50)}
        assert drawn <= {1, 3}
    ids, probabilities = distribution(masked, GenerationConfig(top_k=0))
    assert probabilities[np.isin(ids, [1, 3])].sum() == pytest.approx(1)


def test_a_mask_that_allows_nothing_is_an_error() -> None:
    with pytest.raises(UsageError, match="the mask allows no token to come next"):
        apply_mask(np.zeros(3, np.float32), np.array([False, False, False, True]))


@pytest.mark.parametrize("ids", [[0, 2], np.array([0, 2]), {2}])
def test_a_mask_of_ids_is_an_error_and_not_taken_for_booleans(ids: Any) -> None:
    with pytest.raises(UsageError, match="a mask must be an array of booleans, one for each token, not"):
        apply_mask(np.zeros(3, np.float32), ids)
