"""Figures in a terminal."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cutaway.engines.reference import MASKED
from cutaway.figures.panels import (
    Arcs,
    Bars,
    Box,
    Drawing,
    Entry,
    Grid,
    Label,
    Line,
    LocalizedText,
    Note,
    Number,
    Panel,
    Scale,
    Table,
    computed,
)
from cutaway.figures.render.text import draw_text, pool
from cutaway.layout import width
from cutaway.numerics import FloatArray

TITLE = LocalizedText("weights", "权重")


def drawn(panel: Panel, language: str = "en", columns: int = 80) -> str:
    return "\n".join(draw_text([panel], language, columns))


def test_a_small_grid_shows_its_numbers() -> None:
    shares = computed("softmax", np.array([[1, 0], [0.25, 0.75]]))
    assert (
        drawn(
            Grid(
                TITLE,
                shares,
                "share",
                ["a", "it"],
                ["a", "it"],
                LocalizedText("query", "查询"),
                LocalizedText("key", "键"),
            )
        )
        == """\
weights
↓ query   → key
         a      it
a    100 %   0.0 %
it  25.0 %  75.0 %"""
    )


def test_a_masked_weight_is_no_number() -> None:
    weights = computed("attn.0", np.array([[1, 0, 0], [0, 1, 0], [0.25, 0.25, 0.5]]))
    assert drawn(Grid(TITLE, weights, "share")).splitlines()[1:] == [
        " 100 %       ×       ×",
        " 0.0 %   100 %       ×",
        "25.0 %  25.0 %  50.0 %",
    ]
    assert "×" not in drawn(Grid(TITLE, computed("softmax(scores.0)", weights.values), "share"))


def test_chinese_is_two_columns_wide() -> None:
    grid = Grid(TITLE, computed("x", np.array([[1, -2], [3, 4]])), "signed", ["机器人", "a"], ["词", "b"])
    assert (
        drawn(grid, "zh")
        == """\
权重
          词      b
机器人  1.00  −2.00
a       3.00   4.00"""
    )


def test_labels_are_cut_to_make_room_for_numbers() -> None:
    grid = Grid(TITLE, computed("x", np.eye(3)), "share", ["<|endoftext|>", "a", "b"], ["<|endoftext|>", "obey", "it"])
    wide, narrow, narrower = (drawn(grid, columns=columns).splitlines()[1] for columns in (60, 40, 31))
    assert wide == "               <|endoftext|>   obey     it"
    assert narrow == "              <|endof…  obey    it"
    assert narrower == "              <|en…  obey    it"
    assert "3 × 3 numbers" in drawn(grid, columns=30)


def test_a_large_grid_is_shaded_around_zero() -> None:
    values = np.array([[-3, 0, 3] * 10, [0.01, -0.01, MASKED] * 10], np.float32)
    assert (
        drawn(Grid(TITLE, computed("x", values), "signed", ["first", "second"]), columns=60)
        == """\
weights
first           ▁▄▇▁▄▇▁▄▇▁▄▇▁▄▇▁▄▇▁▄▇▁▄▇▁▄▇▁▄▇
second          ▄▄×▄▄×▄▄×▄▄×▄▄×▄▄×▄▄×▄▄×▄▄×▄▄×
2 × 30 numbers, −3.00 to 3.00"""
    )


def test_pooled_rows_are_labelled_after_the_first() -> None:
    values = np.zeros((60, 8), np.float32)
    lines = drawn(Grid(TITLE, computed("x", values), "share", [str(i) for i in range(60)])).splitlines()[1:-1]
    names = [line.split()[0] for line in lines]
    assert len(names) == 40
    assert names[:3] + names[-3:] == ["0", "2", "4", "57", "58", "59"]


def test_draws_a_long_vector_as_a_line_of_bars() -> None:
    vector = computed("x", np.arange(16))
    assert (
        drawn(Grid(TITLE, vector, "size"))
        == """\
weights
▁▁▂▂▃▃▄▄▅▅▆▆▇▇██
16 numbers, 0.00 to 15.00: 0.00, 1.00, 2.00, 3.00, 4.00, 5.00, …"""
    )


def test_pooling_prefers_unmasked_values() -> None:
    strip = drawn(Grid(TITLE, computed("x", np.array([[0, 2, MASKED, MASKED] * 10 + [0, 1] * 20])), "size"), columns=40)
    assert strip.splitlines()[1] == "█×" * 10 + "▁" * 20
    assert "80 numbers, 0.00 to 2.00" in strip


def test_bars_are_marked_and_as_long_as_their_numbers() -> None:
    assert (
        drawn(Bars(TITLE, ["a", "robot"], computed("x", np.array([0.25, 0.75])), marked=(1,)))
        == f"""\
weights
   25.00 %  {"█" * 7}▌                 a
→  75.00 %  {"█" * 22}▌  robot"""
    )


def test_negative_bars_extend_to_the_left() -> None:
    assert (
        drawn(Bars(TITLE, ["a", "b"], computed("x", np.array([2, -1])), "signed"))
        == f"""\
weights
    2.00                 │{"█" * 15}  a
   −1.00         {"█" * 8}│                 b"""
    )


def test_arcs_are_bars_with_the_query_marked() -> None:
    arcs = Arcs(TITLE, ["a", "it"], computed("x", np.array([0.5, 0.5])), 1)
    bars = Bars(TITLE, ["a", "it"], computed("x", np.array([0.5, 0.5])), marked=(1,))
    assert drawn(arcs) == drawn(bars)


def test_columns_of_numbers_are_right_aligned() -> None:
    rows: list[list[Entry]] = [
        ["wte", Number(38_597_376, "size", form=",d")],
        [LocalizedText("none", "无"), LocalizedText("cut", "截去")],
    ]
    assert (
        drawn(Table(TITLE, [LocalizedText("tensor", "张量"), LocalizedText("how many", "个数")], rows), "zh")
        == """\
权重
张量        个数
wte   38,597,376
无          截去"""
    )


def test_draws_a_diagram_in_characters() -> None:
    shapes: list[Box | Line | Label] = [
        Box(0, 0, 9, 3, LocalizedText("wte", "词嵌入")),
        Line(4, 3, 4, 4),
        Label(0, 5, "768"),
        Line(6, 5, 9, 5),
    ]
    assert (
        drawn(Drawing(TITLE, shapes), "zh")
        == """\
权重
┌───────┐
│词嵌入 │
└───────┘
    │
    ▼
768   ───▶"""
    )


def test_connected_lines_join() -> None:
    down = Line(2, 0, 2, 2, arrow=False)
    along = Line(0, 2, 4, 2, arrow=False)
    assert drawn(Drawing(TITLE, [down, along])).splitlines()[1:] == ["  │", "  │", "──┴──"]


def test_combining_marks_have_no_width() -> None:
    assert drawn(Drawing("x", [Label(0, 0, "cafe\u0301!"), Label(6, 0, "|")])).splitlines()[1] == "cafe\u0301! |"


def test_panels_are_separated_by_a_line() -> None:
    assert draw_text([Note(TITLE), Note(LocalizedText("b", "乙"))], "zh", 80) == ["权重", "", "乙"]


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=30), elements=st.floats(-9, 9, width=32)))
def test_pooling_keeps_the_largest(values: FloatArray) -> None:
    pooled = pool(values, 4, 6)
    assert pooled.shape == (min(4, len(values)), min(6, values.shape[1]))
    assert np.abs(pooled).max() == np.abs(values).max()
    assert np.isin(pooled, values).all()


@given(
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=50), elements=st.floats(-99, 99, width=32)),
    st.sampled_from(["share", "signed", "size"]),
    st.integers(30, 100),
)
def test_grids_fit_the_terminal(values: FloatArray, scale: Scale, columns: int) -> None:
    labels = ["机器人" * 4] * len(values)
    lines = draw_text([Grid(TITLE, computed("x", values), scale, labels)], "zh", columns)
    assert all(width(line) <= columns for line in lines if "个数" not in line)
