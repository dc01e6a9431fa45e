"""N-gram floors."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.music.ngram import NGram, voice_loss

DOCUMENTS = st.lists(st.lists(st.integers(0, 4), max_size=12), max_size=4)


@given(documents=DOCUMENTS, order=st.integers(1, 4), context=st.lists(st.integers(0, 4), max_size=3))
def test_probabilities_sum_to_one(documents: list[list[int]], order: int, context: list[int]) -> None:
    model = NGram(order, n_vocab=5)
    model.fit(documents)
    chances = [model.probability(token, tuple(context[: order - 1])) for token in range(5)]
    assert sum(chances) == pytest.approx(1)
    assert min(chances) > 0


def test_the_rule_of_witten_and_bell_by_hand() -> None:
    model = NGram(2, n_vocab=4)
    model.fit([[0, 1, 0, 2, 0, 1]])
    empty = {0: (3 + 3 / 4) / 9, 1: (2 + 3 / 4) / 9, 2: (1 + 3 / 4) / 9, 3: (0 + 3 / 4) / 9}
    assert {token: model.probability(token, ()) for token in range(4)} == pytest.approx(empty)
    assert model.probability(1, (0,)) == pytest.approx((2 + 2 * empty[1]) / 5)
    assert model.probability(3, (0,)) == pytest.approx((0 + 2 * empty[3]) / 5)
    assert model.probability(2, (3,)) == pytest.approx(empty[2])  # a context that never came


def test_a_context_that_never_came_counts_as_the_shorter_one() -> None:
    model = NGram(3, n_vocab=3)
    model.fit([[0, 1, 2]])
    assert model.probability(2, (2, 1)) == model.probability(2, (1,))


def test_losses_are_the_logarithms_in_their_contexts() -> None:
    model = NGram(2, n_vocab=3)
    model.fit([[0, 1], [0, 2]])
    expected = [-math.log(model.probability(0, ())), -math.log(model.probability(1, (0,)))]
    assert model.losses([0, 1]).tolist() == pytest.approx(expected)


def test_a_context_is_shorter_at_the_beginning() -> None:
    ids = [0, 1, 2, 3, 4, 5, 6]
    assert NGram(3, n_vocab=7).context(ids, 6) == (4, 5)
    assert NGram(3, n_vocab=7).context(ids, 1) == (0,)
    assert NGram(3, n_vocab=7).context(ids, 0) == ()
    assert NGram(1, n_vocab=7).context(ids, 6) == ()


def test_voices_have_counts_of_their_own() -> None:
    train = [[0, 2, 1, 3] * 5]
    separate = [NGram(2, n_vocab=4), NGram(2, n_vocab=4)]
    for voice, model in enumerate(separate):
        model.fit([train[0][voice::2]])
    by_hand = np.concatenate([separate[0].losses([0, 1]), separate[1].losses([2, 3])]).mean()
    assert voice_loss(train, [[0, 2, 1, 3]], order=2, n_vocab=4, voices=2) == pytest.approx(by_hand)


def test_more_context_helps_where_there_is_order() -> None:
    rng = np.random.default_rng(1)
    documents = [np.cumsum(rng.choice([0, 1], 100)) % 5 for _ in range(6)]
    losses = []
    for order in (1, 2):
        model = NGram(order, n_vocab=5)
        model.fit([document.tolist() for document in documents[:5]])
        losses.append(model.losses(documents[5].tolist()).mean())
    assert losses[1] < 0.6 * losses[0]
