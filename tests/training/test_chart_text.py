import numpy as np
import pytest

from cutaway.layout import width
from cutaway.training.chart_text import BRAILLE, draw_text
from cutaway.training.charts import Chart, Line, linear_axis

STEPS = np.arange(1.0, 401)
LOSS = 3 + 7 * np.exp(-STEPS / 50)


def chart(*lines: Line, height: float = 1.0) -> Chart:
    every = np.concatenate([line.y for line in lines])
    return Chart("Loss", lines, linear_axis("step", np.append(STEPS, 0)), linear_axis("nats", every), height)


def marked(text: str, code: str) -> str:
    return f"<{code}>{text}</>"


@pytest.mark.parametrize("columns", [24, 40, 80, 100])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    lines = [Line("small, training", STEPS, LOSS), Line("small, validation", STEPS, LOSS + 1, 1)]
    assert max(map(width, draw_text(chart(*lines), columns))) <= columns


def test_each_column_between_the_ends_has_a_dot() -> None:
    rows = draw_text(chart(Line("a", STEPS, LOSS)), 60)[1:15]
    plot = [row[4:-2] if row.endswith("A") else row[4:] for row in rows]
    for column in range(max(map(len, plot))):
        assert any(ord(row[column]) > BRAILLE for row in plot if column < len(row)), column


def test_without_colours_a_letter_names_each_line_and_raw_points_are_left_out() -> None:
    noisy = Line("a", STEPS, LOSS, raw=LOSS + np.random.default_rng(0).normal(size=400))
    lines = draw_text(chart(noisy, Line("b", STEPS, LOSS + 3, 1)), 60)
    assert lines == draw_text(chart(Line("a", STEPS, LOSS), Line("b", STEPS, LOSS + 3, 1)), 60)
    assert lines[-2:] == ["A a", "B b"]
    assert [line[-1] for line in lines[1:15] if line[-1] in "AB"] == ["B", "A"]


def test_with_colours_each_line_has_its_own_and_raw_points_are_faint() -> None:
    noisy = Line("a", STEPS, LOSS, raw=LOSS + 2)
    text = "\n".join(draw_text(chart(noisy, Line("b", STEPS, LOSS + 1, 1)), 60, marked))
    assert {"<34>", "<33>", "<2>"} <= {f"<{part.split('>')[0]}>" for part in text.split("<") if ">" in part}
    assert "<34>A</>" in text


def test_an_empty_line_and_a_single_point_are_drawn() -> None:
    none = np.array([])
    one = np.array([3.0])
    lines = draw_text(chart(Line("none", none, none), Line("one", one, one + 2)), 40)
    assert sum(ord(char) > BRAILLE for line in lines for char in line) == 1


def test_labels_of_the_x_axis_never_touch() -> None:
    x = STEPS * 1e6
    labels = draw_text(Chart("Loss", (Line("a", x, LOSS),), linear_axis("step", x), linear_axis("nats", LOSS)), 30)[-3]
    assert 2 <= len(labels.split()) < 5
    assert all(int(part.replace(",", "")) % 100_000_000 == 0 for part in labels.split())


def test_a_line_that_leaves_the_axes_is_cut_off() -> None:
    assert len(draw_text(chart(Line("a", STEPS * 1e6, LOSS)), 30)) == len(draw_text(chart(Line("a", STEPS, LOSS)), 30))
