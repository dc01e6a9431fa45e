"""F53 to F56: the projection and the MLP."""

import math

import numpy as np

from cutaway.figures import find_figure
from tests.figures.drawing import (
    falsify,
    is_ok,
    make_trace,
)


def test_check_fails_on_the_exact_gelu() -> None:
    trace = make_trace("tiny 7")
    exact = [x / 2 * (1 + math.erf(x / math.sqrt(2))) for x in trace["mlp_pre.0"].ravel().tolist()]
    other = falsify(trace, "mlp_act.0")
    other.false = {"mlp_act.0": np.array(exact, np.float32).reshape(trace["mlp_act.0"].shape)}
    assert not is_ok(other, find_figure("F55"))
