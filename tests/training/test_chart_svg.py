import xml.etree.ElementTree as ET

import numpy as np

from cutaway.training.chart_svg import MOST_POINTS, MOST_RAW, draw_svg
from cutaway.training.charts import Chart, Line, linear_axis
from cutaway.training.plots import Curves, training_charts, transfer_chart

SVG = "{http://www.w3.org/2000/svg}"


def run(name: str, steps: int = 200) -> Curves:
    x = np.arange(1.0, steps + 1)
    loss = 3 + 7 * np.exp(-x / 20)
    every = x[9::10]
    return Curves(name, x, loss, x / 1e4, every, loss[9::10] + 0.1)


def texts(root: ET.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text")]


def test_a_run_has_title_legend_axes_and_ticks() -> None:
    root = ET.fromstring(draw_svg("run & <more>", training_charts([run("a")])))
    assert root.get("aria-label") == "run & <more>"
    shown = texts(root)
    assert shown[:3] == ["run & <more>", "training", "validation"]
    assert {"Loss, nats per token", "Learning rate", "step", "0", "200"} <= set(shown)
    assert {group.get("class") for group in root.iter(f"{SVG}g")} >= {"c0", "c1"}


def test_everything_lies_in_the_picture() -> None:
    root = ET.fromstring(draw_svg("a, b", training_charts([run("a"), run("b", 90)])))
    _, _, wide, high = map(float, root.get("viewBox", "").split())
    for group in root.iter(f"{SVG}g"):
        if "transform" in group.attrib:
            left, top = map(float, group.get("transform", "")[10:-1].split(","))
            for dot in group.iter(f"{SVG}circle"):
                assert 0 <= left + float(dot.get("cx", "")) <= wide
                assert 0 <= top + float(dot.get("cy", "")) <= high


def test_it_is_readable_in_the_dark_and_restyles_nothing_else() -> None:
    root = ET.fromstring(draw_svg("a", training_charts([run("a")])))
    style = next(root.iter(f"{SVG}style")).text or ""
    assert "prefers-color-scheme:dark" in style
    rules = style.replace("@media(prefers-color-scheme:dark){", "").rstrip("}").split("}")
    assert all(rule.startswith(".cutaway-chart ") for rule in rules if rule)


def test_a_long_run_is_thinned() -> None:
    svg = draw_svg("a", training_charts([run("a", 50_000)]))
    root = ET.fromstring(svg)
    paths = [path.get("d", "") for path in root.iter(f"{SVG}path")]
    assert max(path.count("L") for path in paths) < MOST_POINTS
    assert max(path.count("h0") for path in paths) == MOST_RAW
    assert len(svg) < 200_000


def test_a_band_runs_forth_along_its_upper_edge_and_back_along_its_lower_one() -> None:
    chart = transfer_chart([0.01, 1.0], {"from scratch": [[5.0, 6.0], [4.0, 4.5]], "pre-trained": [[3.0], [2.0]]})
    root = ET.fromstring(draw_svg("Transfer", [chart]))
    bands = [path for path in root.iter(f"{SVG}path") if path.get("opacity") == ".18"]
    assert len(bands) == 2
    corners = [tuple(map(float, point.split())) for point in bands[0].get("d", "")[1:-1].split("L")]
    assert [x for x, _ in corners] == [0.0, corners[1][0], corners[1][0], 0.0]
    assert corners[0][1] < corners[3][1]
    assert {"1 %", "100 %", "share of the data"} <= set(texts(root))


def test_many_runs_wrap_the_legend_and_repeat_the_colours() -> None:
    root = ET.fromstring(draw_svg("many", training_charts([run(f"a run of a long name {i}") for i in range(8)])))
    legend = [text for text in root if text.tag == f"{SVG}text" and "training" in (text.text or "")]
    assert len({text.get("y") for text in legend}) > 1
    assert all(float(text.get("x", "")) < 760 for text in legend)


def test_points_outside_the_axes_are_left_out() -> None:
    x = np.array([0.0, 1.0, 2.0])
    line = Line("a", x, x, raw=np.array([0.0, 50.0, 2.0]))
    chart = Chart("Loss", (line,), linear_axis("step", x), linear_axis("nats", x))
    root = ET.fromstring(draw_svg("a", [chart]))
    assert [path.get("d", "").count("h0") for path in root.iter(f"{SVG}path") if "h0" in path.get("d", "")] == [2]
