"""F63 to F65: the events, a sequence of them, and one-hot vectors; they need no model."""

import numpy as np
import pytest

from cutaway.figures import find_figure
from cutaway.figures.article import part3_music_events
from cutaway.figures.article.part3_music_events import EVENTS
from cutaway.figures.panels import Grid, Roll, computed
from cutaway.music.perf388 import PerformanceCodec
from cutaway.music.performance import Note
from tests.figures.drawing import assert_drawn, draw, is_ok, make_trace, numbers
from tests.figures.music import music_trace


@pytest.mark.parametrize("name", ["F63", "F64", "F65"])
def test_they_are_the_same_for_text_and_for_music(name: str) -> None:
    figure = find_figure(name)
    assert_drawn(make_trace("tiny 1"), figure)
    assert_drawn(music_trace(), figure)
    assert draw(make_trace("tiny 7"), figure).text() == draw(music_trace(), figure).text()


def test_the_ruler_counts_from_0_and_the_article_from_1() -> None:
    *_, kinds = draw(make_trace("tiny 1"), find_figure("F63")).panels
    assert numbers(kinds) == [
        [128, 0, 127, 1, 128],
        [128, 128, 255, 129, 256],
        [100, 256, 355, 257, 356],
        [32, 356, 387, 357, 388],
    ]


def test_the_articles_events_are_its_notes() -> None:
    _, events, roll, notes = draw(make_trace("tiny 1"), find_figure("F64")).panels
    assert isinstance(roll, Roll)
    assert [note._replace(velocity=0) for note in roll.notes] == [
        Note(0.0, 2.0, 60, 0), Note(0.5, 2.0, 64, 0), Note(1.0, 2.0, 67, 0), Note(2.5, 3.0, 65, 0)
    ]  # fmt: skip
    assert [note.velocity for note in roll.notes] == [82, 82, 82, 102]  # of the steps 80 and 100
    assert numbers(notes)[3] == [65, 2.5, 3.0, 102]
    assert numbers(events)[0] == [376, 377, 0.0]


def test_every_vector_has_one_1() -> None:
    grid = draw(make_trace("tiny 1"), find_figure("F65")).panels[1]
    assert isinstance(grid, Grid)
    np.testing.assert_array_equal(grid.cells.values, np.eye(388)[list(EVENTS)])


class Deaf(PerformanceCodec):
    """A codec that loses the last event."""

    def encode(self, performance: object) -> list[int]:
        return list(EVENTS[:-1])


def test_events_that_are_lost_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part3_music_events, "CODEC", Deaf())
    assert not is_ok(make_trace("tiny 1"), find_figure("F64"))


@pytest.mark.parametrize("found", ["NOTE_ON", "END"])
def test_events_of_another_kind_are_found(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr(part3_music_events, "_does", lambda index: found)
    assert not is_ok(make_trace("tiny 1"), find_figure("F63"))


@pytest.mark.parametrize("second", [1.0, 0.5])
def test_a_vector_with_two_numbers_is_found(monkeypatch: pytest.MonkeyPatch, second: float) -> None:
    matrix = np.eye(388)[list(EVENTS)]
    matrix[3, 387] = second
    monkeypatch.setattr(part3_music_events, "_vectors", lambda: computed("one_hot(article.events, 388)", matrix))
    assert not is_ok(make_trace("tiny 1"), find_figure("F65"))


def test_one_event_of_another_kind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kind_of = part3_music_events._does
    monkeypatch.setattr(part3_music_events, "_does", lambda index: "NOTE_OFF" if index == 5 else kind_of(index))
    assert not is_ok(make_trace("tiny 1"), find_figure("F63"))
