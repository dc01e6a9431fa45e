"""Every figure holds for a GPT-2 of any shape, and its check finds wrong numbers and changed models."""

import pytest

from cutaway.figures import Figure, Selection, all_figures, find_figure
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Intervention
from tests.figures.drawing import (
    OTHER_MATHEMATICS,
    TRACES,
    WRONG_NUMBERS,
    assert_drawn,
    falsify,
    is_ok,
    make_trace,
    of_shape,
)

LIVE = [figure for figure in all_figures().values() if figure.verify]
CHANGES = (  # a figure, and a change to the model that makes its claim false
    *(
        (name, "no_mask")
        for name in ("F02", "F12", "F13", "F16", "F17", "T4", "F24", "F30", "F31", "F33", "F36", "F37")
    ),
    *((name, "no_mask") for name in ("F39", "F40", "F50")),
    *((name, "no_scale") for name in ("F22", "F31", "F33", "F35", "F49")),
    *((name, "no_positions") for name in ("F19", "F44")),
    *((name, "values_are_keys") for name in ("F23", "F32", "F47")),
    *((name, "no_residual_mlp") for name in ("F21", "F56")),
    ("F26", "no_final_norm"),
    ("F54", "no_residual_attention"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TRACES, *OTHER_MATHEMATICS, "one head 9", "tiny 2", "tiny 3"])
@pytest.mark.parametrize("figure", LIVE, ids=lambda figure: figure.id)
def test_holds_and_can_be_drawn(figure: Figure, name: str) -> None:
    trace = make_trace(name)
    assert_drawn(trace, figure)
    assert_drawn(trace, figure, Selection(trace.config.n_layer - 1, trace.config.n_head - 1, 0))
    assert_drawn(trace, figure, Selection(trace.config.n_layer - 1, trace.config.n_head - 1, len(trace) // 2))


@pytest.mark.parametrize("figure", LIVE, ids=lambda figure: figure.id)
def test_holds_for_a_padded_vocabulary(figure: Figure) -> None:
    padded = of_shape([50256, 50299, 262], Tokenizer.gpt2(), n_vocab=50300, n_embd=4, n_head=1, n_layer=1, n_ctx=6)
    assert_drawn(padded, figure)


@pytest.mark.parametrize("figure", LIVE, ids=lambda figure: figure.id)
def test_holds_for_a_context_of_one_token(figure: Figure) -> None:
    assert_drawn(of_shape([3], n_ctx=1), figure)


@pytest.mark.parametrize("name", ["F01", "F02", "F04", "F08", "F12", "F13", "F16", "F17", "T1", "T4", "F41", "F42"])
def test_holds_if_a_late_token_does_not_attend_to_the_previous_one(name: str) -> None:
    assert_drawn(make_trace("tiny 7").intervene(Intervention("attention_knockout", query=6, key=5)), find_figure(name))


@pytest.mark.parametrize(("name", "tensor"), WRONG_NUMBERS)
def test_check_fails_on_a_wrong_number(name: str, tensor: str) -> None:
    trace = make_trace("tiny 7")
    selection = Selection(position=3) if name in ("F01", "F04", "F12", "F13", "F15") else Selection()
    assert is_ok(trace, find_figure(name), selection)
    assert not is_ok(falsify(trace, tensor), find_figure(name), selection)


@pytest.mark.parametrize(("name", "kind"), CHANGES)
def test_check_fails_on_a_modified_model(name: str, kind: str) -> None:
    trace = make_trace("tiny 7")
    assert is_ok(trace, find_figure(name), Selection(position=3))
    assert not is_ok(trace.intervene(Intervention(kind)), find_figure(name), Selection(position=3))
