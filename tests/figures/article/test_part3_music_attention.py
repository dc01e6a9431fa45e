"""F66: arcs and strip of every head make its row of attention."""

import numpy as np
import pytest

from cutaway.figures import Selection, find_figure
from cutaway.figures.article import part3_music_attention
from cutaway.figures.panels import Roll
from cutaway.trace import Trace
from tests.figures.drawing import Falsified, assert_drawn, draw, is_ok, make_trace
from tests.figures.formulas import value_of
from tests.figures.music import music_trace

FIGURE = find_figure("F66")


def roll_of(trace: Trace, selection: Selection) -> Roll:
    panel = draw(trace, FIGURE, selection).panels[1]
    assert isinstance(panel, Roll)
    return panel


@pytest.mark.parametrize("codec", ["perf388", "satb16"])
@pytest.mark.parametrize("position", [0, 4, 13, -1])
def test_arcs_and_strip_are_the_row(codec: str, position: int) -> None:
    trace = music_trace(codec)
    selection = Selection(1, 2, position)
    assert_drawn(trace, FIGURE, selection)
    roll = roll_of(trace, selection)
    assert roll.cells is not None
    assert roll.cells.tensor == f"attn.1[:, {selection.resolve(trace.config, len(trace)).position}] @ notes"
    np.testing.assert_allclose(roll.cells.values.sum(axis=1), 1, atol=1e-6)
    row = trace["attn.1"][:, position]
    owners = np.array(trace.tokenizer.read(trace.ids).owners)  # type: ignore[union-attr]
    for column, note in enumerate(roll.targets):
        np.testing.assert_allclose(roll.cells.values[:, column], row[:, owners == note].sum(axis=1), rtol=1e-5)


def test_the_note_that_is_read_is_known() -> None:
    assert roll_of(music_trace(), Selection(0, 0, 4)).query == 1  # E4 on
    assert roll_of(music_trace(), Selection(0, 0, 3)).query == -1  # 500 ms
    assert roll_of(music_trace(), Selection(0, 0, 3)).seconds == 0.5


def test_the_statement_is_computed_once_more() -> None:
    for selection in (Selection(1, 2, 14), Selection(0, 1, 0)):
        check = draw(music_trace(), FIGURE, selection).check
        assert check is not None
        for number in check.statement.numbers():
            assert value_of(number, music_trace(), selection) == pytest.approx(number.value, rel=1e-3, abs=2e-5)


def test_a_model_of_text_is_told_what_to_load() -> None:
    note, roll = draw(make_trace("tiny 7"), FIGURE).panels
    assert isinstance(roll, Roll)
    assert (roll.cells, len(roll.notes)) == (None, 4)
    assert "load a model of music" in note.words.en  # type: ignore[union-attr]


def test_weights_that_do_not_sum_to_1_are_found() -> None:
    trace = music_trace()
    wrong = Falsified(trace.config, trace.weights, trace.tokenizer, trace.ids)
    wrong.false = {"attn.0": trace["attn.0"] * np.float32(1.1)}
    assert is_ok(trace, FIGURE)
    assert not is_ok(wrong, FIGURE)


def looking(shares: dict[int, float]) -> Falsified:
    """The trace whose last token looks at the tokens with these shares."""
    trace = music_trace()
    attn = trace["attn.0"].copy()
    attn[:, -1] = 0
    for place, share in shares.items():
        attn[:, -1, place] = share
    found = Falsified(trace.config, trace.weights, trace.tokenizer, trace.ids)
    found.false = {"attn.0": attn}
    return found


def test_a_note_has_arcs_from_a_hundredth_of_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {2: 0.02, 4: 0.005, 6: 0.975}  # on C4, E4 and G4
    assert roll_of(looking(shares), Selection()).targets == [0, 2]
    monkeypatch.setattr(part3_music_attention, "MOST_NOTES", 1)
    assert roll_of(looking(shares), Selection()).targets == [2]


def test_arcs_that_leave_out_a_tokens_weight_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part3_music_attention, "sum_on_notes", lambda reading, weights: np.full((len(weights), 5), 0.1))
    assert not is_ok(music_trace(), FIGURE)
