"""The average of the last weights."""

import torch

from cutaway.training.averaging import HORIZON, SHARE, TailAverage


def test_before_it_starts_the_weights_themselves_are_kept() -> None:
    weights = {"w": torch.ones(2)}
    assert TailAverage().blend(weights)["w"].tolist() == [1, 1]


def test_it_follows_the_parameters_and_is_blended_with_the_last() -> None:
    average = TailAverage()
    average.update({"w": torch.zeros(1)})
    average.update({"w": torch.ones(1)})
    torch.testing.assert_close(average.values["w"], torch.tensor([1 / HORIZON]))
    blended = average.blend({"w": torch.ones(1)})
    torch.testing.assert_close(blended["w"], torch.tensor([1 - SHARE + SHARE / HORIZON]))
