"""Arithmetic of a step, counted by PyTorch."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cutaway.engines.pytorch.model import GPT2
from cutaway.engines.pytorch.products import linear
from cutaway.training import throughput
from cutaway.training.throughput import matmul_flops_per_token, measure_matmul_peak, memory_bytes
from tests.tiny import random_ids, tiny_weights


def test_flops_are_those_that_pytorch_counts() -> None:
    """Outside CUDA attention computes a little more than the causal half, in whole rows of scores: all of 48 here."""
    weights = tiny_weights()
    model = GPT2(weights.config)
    ids = torch.tensor([random_ids(weights.config, 41)])
    with FlopCounterMode(display=False) as counter:
        model.loss(ids[:, :-1], ids[:, 1:]).backward()  # type: ignore[no-untyped-call]
    masked = 3 * 2 * 2 * weights.config.n_layer * weights.config.n_embd * (40 - 41 / 2)  # scores and values, not needed
    assert counter.get_total_flops() == pytest.approx(40 * (matmul_flops_per_token(weights.config, 40) + masked))


def test_flops_of_relative_positions_are_those_of_their_products() -> None:
    plain = tiny_weights().config
    for distances, average in ((48, 41 / 2), (40, 41 / 2), (1, 1), (10, (sum(range(1, 11)) + 30 * 10) / 40)):
        config = replace(plain, relative_positions=distances)
        more = matmul_flops_per_token(config, 40) - matmul_flops_per_token(plain, 40)
        assert more == 3 * 2 * plain.n_layer * plain.n_embd * int(average)


def test_a_sampled_vocabulary_has_a_smaller_head() -> None:
    config = tiny_weights().config
    assert matmul_flops_per_token(config, 40) - matmul_flops_per_token(config, 40, 11) == 6 * 50 * 24


def test_a_peak_and_memory_are_measured() -> None:
    assert measure_matmul_peak(torch.device("cpu"), "float32") > 1e8
    assert memory_bytes(torch.device("cpu")) > 1e7


@pytest.mark.slow
def test_the_peak_is_that_of_the_products_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[torch.Size, torch.Size]] = []

    def watched(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        shapes.append((x.shape, w.shape))
        return linear(x, w)

    monkeypatch.setattr(throughput, "linear", watched)
    measure_matmul_peak.cache_clear()
    measure_matmul_peak(torch.device("cpu"), "float32")
    square = torch.Size([throughput.SIZE, throughput.SIZE])
    assert set(shapes) == {(square, square)}
