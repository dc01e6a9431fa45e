"""Windows and losses against transformers and torch."""

import math

import numpy as np
import pytest
import torch

from cutaway.checkpoints import EffectiveWeights
from cutaway.engines.cpu.engine import CpuEngine
from cutaway.engines.protocol import Engine
from cutaway.engines.pytorch.engine import PyTorchEngine
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.evaluation import perplexity
from cutaway.evaluation.perplexity import Score, token_losses, window_losses
from tests.tiny import peer_logits, peer_model, random_ids, tiny_weights

WEIGHTS = tiny_weights(n_ctx=32)
ENGINE = ReferenceEngine(WEIGHTS)


def peer_losses(ids: list[int]) -> list[float]:
    logits = torch.from_numpy(peer_logits(peer_model(WEIGHTS), ids[:-1]))
    return [float(x) for x in torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")]


@pytest.mark.parametrize("length", [2, 31, 32, 33, 34, 49, 50, 65, 66, 101])
def test_a_long_text_is_read_in_windows_that_overlap_by_half(length: int) -> None:
    ids = random_ids(WEIGHTS.config, length)
    expected = peer_losses(ids[:33])
    for start in range(16, length - 17, 16):
        expected += peer_losses(ids[start : start + 33])[16:]
    losses = token_losses(ENGINE, ids)
    assert losses.dtype == np.float64
    assert len(losses) == length - 1
    np.testing.assert_allclose(losses, expected, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 5, 31, 32])
@pytest.mark.parametrize("length", [2, 32, 33, 34, 66, 80])
@pytest.mark.slow
def test_every_token_is_scored_once_with_the_context_that_the_stride_leaves(length: int, stride: int) -> None:
    ids = random_ids(WEIGHTS.config, length)
    expected = peer_losses(ids[:33])
    while len(expected) < length - 1:
        first = len(expected) + 1 - (33 - stride)  # the tokens before those that the window adds
        window = ids[first : first + 33]
        expected += peer_losses(window)[32 - stride :]
    losses = list(window_losses(ENGINE, ids, stride))
    assert [len(each) for each in losses[1:-1]] == [stride] * len(losses[1:-1])
    np.testing.assert_allclose(np.concatenate(losses), expected, atol=1e-4)


def test_disjoint_windows_read_one_token_of_the_window_before() -> None:
    """As lm-evaluation-harness' rolling windows do."""
    ids = random_ids(WEIGHTS.config, 65)
    np.testing.assert_allclose(
        token_losses(ENGINE, ids, stride=32), peer_losses(ids[:33]) + peer_losses(ids[32:]), atol=1e-4
    )


@pytest.mark.parametrize("stride", [0, 33, 1.5])
def test_refuses_an_invalid_stride(stride: int) -> None:
    with pytest.raises(UsageError, match="stride"):
        token_losses(ENGINE, [1, 2], stride)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = random_ids(WEIGHTS.config, 50)
    whole = token_losses(ENGINE, ids)
    monkeypatch.setattr(perplexity, "CHUNK", 5)
    np.testing.assert_allclose(token_losses(ENGINE, ids), whole, atol=1e-4)


@pytest.mark.parametrize("stride", [8, 32])
@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_activations_are_float32_whatever_the_weights_are(dtype: str, stride: int) -> None:
    """Rounded or quantised weights, computed with float32 activations, are the loss to the last digits."""
    ids = random_ids(WEIGHTS.config, 50)
    engine: Engine = CpuEngine(WEIGHTS, "int8") if dtype == "int8" else PyTorchEngine(WEIGHTS, dtype)
    expected = token_losses(ReferenceEngine(EffectiveWeights(WEIGHTS, dtype)), ids, stride)
    np.testing.assert_allclose(token_losses(engine, ids, stride), expected, rtol=1e-5)


def test_a_single_token_has_no_loss() -> None:
    assert token_losses(ENGINE, [3]).tolist() == []


def test_a_score_in_its_units() -> None:
    score = Score(nats=30.0, tokens=10, bytes=40)
    assert score.perplexity == pytest.approx(math.e**3)
    assert score.bits_per_byte == pytest.approx(30 / 40 * math.log2(math.e))
    assert Score(1e6, 1, 1).perplexity == math.inf
