import numpy as np
import pytest

from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import NonFiniteError, UsageError
from cutaway.evaluation.cloze import common_prefix, continuation_logits, continuation_losses
from tests.evaluation.scored import MODEL, PEER, peer_losses
from tests.tiny import peer_logits, random_ids, tiny_weights

CONTINUATIONS = [[5], [7, 8, 9], [7, 8], [100]]


def test_losses_are_those_of_each_text_on_its_own() -> None:
    context = random_ids(MODEL.config, 20)
    losses = continuation_losses(MODEL.engine, context, CONTINUATIONS)
    for continuation, found in zip(CONTINUATIONS, losses, strict=True):
        np.testing.assert_allclose(found, peer_losses([*context, *continuation])[19:], atol=1e-4)


def test_single_tokens_need_no_second_pass() -> None:
    context = random_ids(MODEL.config, 3)
    [five, six] = continuation_logits(MODEL.engine, context, [[5], [6]])
    np.testing.assert_array_equal(five, six)
    np.testing.assert_allclose(five[0], peer_logits(PEER, context)[-1], atol=1e-4)


def test_of_a_long_context_the_end_is_read() -> None:
    context = random_ids(MODEL.config, 100)
    losses = continuation_losses(MODEL.engine, context, CONTINUATIONS)
    for continuation, found in zip(CONTINUATIONS, losses, strict=True):
        np.testing.assert_allclose(found, peer_losses([*context[-62:], *continuation])[61:], atol=1e-4)


def test_refuses_a_continuation_longer_than_the_context() -> None:
    with pytest.raises(UsageError, match="a continuation of 65 tokens is too long for a context of 64"):
        continuation_losses(MODEL.engine, [1], [[5] * 65])
    [losses] = continuation_losses(MODEL.engine, [1, 2], [[5] * 64])
    np.testing.assert_allclose(losses, peer_losses([2, *[5] * 64]), atol=1e-4)


@pytest.mark.parametrize("overflowing", [3, 7])
def test_logits_that_are_not_finite_are_refused(overflowing: int) -> None:
    """Those after the context, and those within a continuation."""
    weights = tiny_weights(tie_word_embeddings=False)
    weights.arrays["wte.weight"][overflowing] = np.inf
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="the logits are not finite"):
        continuation_losses(ReferenceEngine(weights), [1, 2, 3], [[5], [7, 8]])


def test_a_common_prefix_leaves_a_token_of_each() -> None:
    assert common_prefix([[1, 2], [1, 2]]) == 1
    assert common_prefix([[1], [2]]) == 0
    assert common_prefix([[1, 2, 3], [1, 2, 4]]) == 2
