import math

import pytest

from cutaway.evaluation.paper_tasks.choices import accuracy


def test_accuracy_has_the_standard_error_of_a_share() -> None:
    metric = accuracy("accuracy", [True] * 30 + [False] * 10)
    assert (metric.name, metric.value) == ("accuracy", 0.75)
    assert metric.error == pytest.approx(math.sqrt(0.75 * 0.25 / 39))


def test_of_one_example_the_error_is_unknown() -> None:
    assert accuracy("accuracy", [True]).error is None
