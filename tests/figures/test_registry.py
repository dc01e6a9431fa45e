"""The list of figures is the article's, complete and in its order."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.figures import Selection, all_figures, check_figure, find_figure
from cutaway.figures.panels import Arcs, Bars, Grid, Number, Panel, Table
from cutaway.trace import Trace
from tests.figures.drawing import make_trace


def numbered(first: int, last: int) -> list[str]:
    return [f"F{number:02}" for number in range(first, last + 1)]


def test_figures_are_in_the_articles_order() -> None:
    asides = [*numbered(1, 17), "T1", *numbered(18, 28), "T2", "T3", "T4", "F29"]
    assert list(all_figures()) == [*asides, *numbered(30, 62), "T5", *numbered(63, 66)]


def test_figures_are_listed_once() -> None:
    assert all(name == figure.id for name, figure in all_figures().items())
    assert len(all_figures()) == 66 + 5


def test_pictures_are_numbered_once() -> None:
    pictures = Counter(figure.picture for figure in all_figures().values() if figure.picture is not None)
    assert set(pictures.values()) == {1}
    assert all(figure.picture is None for name, figure in all_figures().items() if name.startswith("T"))


def test_pictures_are_numbered_as_in_the_article() -> None:
    pictures = {name: figure.picture for name, figure in all_figures().items() if name.startswith("F")}
    assert [pictures[name] for name in numbered(1, 17)] == [
        2,
        1,
        4,
        None,
        5,
        6,
        7,
        None,
        3,
        8,
        9,
        10,
        11,
        *range(12, 16),
    ]
    assert [pictures[name] for name in numbered(18, 66)] == [*range(16, 28), *range(28, 65)]


def test_parts_follow_one_another() -> None:
    parts = [figure.part for figure in all_figures().values()]
    assert parts == sorted(parts)
    assert {name: find_figure(name).part for name in ("F01", "F29", "F30", "F59", "F60", "F66")} == {
        "F01": 1, "F29": 1, "F30": 2, "F59": 2, "F60": 3, "F66": 3
    }  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh"])
def test_titles_are_there_and_distinct_in_both_languages(language: str) -> None:
    titles = [getattr(figure.title, language).strip() for figure in all_figures().values()]
    assert all(titles)
    assert [title for title, count in Counter(titles).items() if count > 1] == []


def test_titles_are_in_the_requested_language() -> None:
    for figure in all_figures().values():
        assert not any("\u4e00" <= char <= "\u9fff" for char in figure.title.en), figure.id
        assert any("\u4e00" <= char <= "\u9fff" for char in figure.title.zh), figure.id


def test_every_figure_is_live_but_for_four_diagrams() -> None:
    statuses = {figure.id: figure.status for figure in all_figures().values()}
    assert [name for name, status in statuses.items() if status == "drawn"] == ["F05", "F06", "F10", "F11"]
    assert {*statuses.values()} == {"live", "drawn"}
    assert all(statuses[figure.id] == "live" for figure in all_figures().values() if figure.verify or figure.tensors)


def test_finds_a_figure_by_its_id_in_any_case() -> None:
    assert find_figure("F40").id == "F40"
    assert find_figure("f40") is find_figure("F40")


@pytest.mark.parametrize("name", ["F00", "F67", "T6", "", "attention", "F40\n" * 40])
def test_rejects_an_unknown_id_in_one_line(name: str) -> None:
    with pytest.raises(UsageError, match="F01 to F66 and T1 to T5") as refusal:
        find_figure(name)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 120


def test_a_position_is_counted_from_the_first_or_from_the_last() -> None:
    trace = make_trace("tiny 7")
    assert Selection().resolve(trace.config, len(trace)) == Selection(0, 0, 6)
    assert Selection(1, 2, -7).resolve(trace.config, len(trace)) == Selection(1, 2, 0)
    assert Selection(1, 2, 6).resolve(trace.config, len(trace)) == Selection(1, 2, 6)


@pytest.mark.parametrize(
    ("selection", "wrong"),
    [
        (Selection(layer=2), "layer"),
        (Selection(layer=-1), "layer"),
        (Selection(head=3), "head"),
        (Selection(head=-1), "head"),
        (Selection(position=7), "position"),
        (Selection(position=-8), "position"),
    ],
)
def test_rejects_an_invalid_layer_head_or_position_in_one_line(selection: Selection, wrong: str) -> None:
    with pytest.raises(UsageError, match=f"^{wrong} ") as refusal:
        selection.resolve(make_trace("tiny 7").config, 7)
    assert "\n" not in str(refusal.value)


def test_the_documentation_lists_them_all() -> None:
    page = (Path(__file__).parents[2] / "docs" / "figures.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if re.match(r"\| [FT]\d", line)]
    assert rows == [[f.id, str(f.part), f.status, f.title.en] for f in all_figures().values()]


def test_only_live_figures_are_checked() -> None:
    trace = make_trace("tiny 7")
    for figure in all_figures().values():
        check = check_figure(figure, trace, Selection())
        assert (check is not None) == (figure.status == "live"), figure.id


def as_wide_as_124m() -> Trace:
    """Nine tokens of a model with the smallest published one's layers, all of whose weights are 0."""
    config = GPT2Config(n_vocab=64)
    zeros = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    return Trace(config, zeros, None, range(9))


def count(panel: Panel) -> int:
    """The numbers in a panel."""
    if isinstance(panel, Table):
        return sum(isinstance(entry, Number) for row in panel.rows for entry in row)
    return panel.cells.values.size if isinstance(panel, Grid | Bars | Arcs) else 0


@pytest.mark.parametrize("trace", [make_trace("built-in"), as_wide_as_124m()], ids=["built-in", "124M"])
def test_figures_have_a_bounded_number_of_cells(trace: Trace) -> None:
    drawn = {name: figure.draw for name, figure in all_figures().items()}
    counts = {
        name: sum(map(count, draw(trace, Selection(1, 1).resolve(trace.config, len(trace)))))
        for name, draw in drawn.items()
    }
    assert counts.pop("F65") <= 388 * 15 + 2 * 15
    units = counts.pop("F55")  # that there are so many is what it is about
    assert units <= 2 * trace.config.n_inner + trace.config.n_embd + 2
    assert max(counts.values()) <= 2510, counts
