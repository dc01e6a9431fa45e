"""F26 and F27: scores for the vocabulary."""

import pytest

from cutaway.figures import find_figure
from cutaway.figures.article import (
    part1_model_output,
)
from tests.figures.drawing import is_ok, make_trace


@pytest.mark.parametrize("name", ["ln_f.mean", "ln_f.rstd", "ln_f"])
def test_check_fails_on_a_wrong_final_norm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = part1_model_output.read_out
    monkeypatch.setattr(
        part1_model_output, "read_out", lambda *where: right(*where) | {name: right(*where)[name] + 0.01}
    )
    assert not is_ok(make_trace("tiny 7"), find_figure("F26"))


def test_check_fails_on_shares_without_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = make_trace("tiny 7")
    assert is_ok(trace, find_figure("F27"))
    monkeypatch.setattr(part1_model_output, "softmax", lambda x: x / x.sum())
    assert not is_ok(trace, find_figure("F27"))
