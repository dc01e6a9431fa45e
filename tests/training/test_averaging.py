"""The average of the last weights."""

import numpy as np
import pytest
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


@pytest.mark.parametrize("n_steps", [1, 2, 5, 400])
def test_it_is_the_sum_of_all_weights_by_their_age_and_of_few_mostly_the_first(n_steps: int) -> None:
    steps = np.random.default_rng(n_steps).normal(size=(n_steps, 3))
    average = TailAverage()
    for step in steps:
        average.update({"w": torch.tensor(step)})
    ages = np.arange(n_steps)[::-1]
    shares = (1 - 1 / HORIZON) ** ages / HORIZON
    shares[0] *= HORIZON  # the first stands for all that would have been before it
    assert shares.sum() == pytest.approx(1)
    expected = SHARE * shares @ steps + (1 - SHARE) * steps[-1]
    np.testing.assert_allclose(average.blend({"w": torch.tensor(steps[-1])})["w"].numpy(), expected)
