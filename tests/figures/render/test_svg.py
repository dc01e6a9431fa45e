"""Figures as SVG: well-formed, each mark with its origin, each colour that of its number."""

import base64
import re
import struct
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from cutaway.engines.reference import MASKED
from cutaway.figures.colours import named_colour, paint
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
    cells,
    computed,
)
from cutaway.figures.render import svg_grid
from cutaway.figures.render.svg import BAR, draw_svg
from cutaway.figures.render.svg_grid import png
from cutaway.numerics import FloatArray

SVG = "{http://www.w3.org/2000/svg}"
TITLE = LocalizedText("weights", "权重")


def parsed(panel: Panel, language: str = "en", title: str = "F40") -> ET.Element:
    return ET.fromstring(draw_svg(title, [panel], language))


def texts(root: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def numbered(root: ET.Element, kind: str) -> list[ET.Element]:
    """The marks of that kind that stand for a number."""
    return [mark for mark in root.iter(SVG + kind) if mark.get("data-tensor")]


def origin(mark: ET.Element) -> tuple[str, tuple[int, ...]]:
    index = mark.get("data-index", "")
    return mark.get("data-tensor", ""), tuple(int(i) for i in index.split(",")) if index else ()


def pixels_of(data: bytes) -> NDArray[np.uint8]:
    """An RGB image whose lines have filter 0, read as the format says, checksums included."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place = 8
    chunks = {}
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind = data[place + 4 : place + 8]
        body = data[place + 8 : place + 8 + length]
        assert data[place + 8 + length : place + 12 + length] == struct.pack(">I", zlib.crc32(kind + body))
        chunks[kind] = body
        place += 12 + length
    across, height, *format_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert format_ == [8, 2, 0, 0, 0]
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * across)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, across, 3)


@settings(deadline=None)
@given(
    arrays(np.float32, array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.floats(-5, 5, width=32)),
    st.sampled_from(["share", "signed", "size"]),
)
def test_every_cell_has_its_origin_and_its_colour(tensor: FloatArray, scale: Scale) -> None:
    layer = len(tensor) - 1
    shown = cells("attn.0", tensor, tensor[layer])
    marks = numbered(parsed(Grid(TITLE, shown, scale)), "rect")
    colours = paint(shown.visible, scale)
    assert len(marks) == tensor[layer].size
    for mark in marks:
        name, index = origin(mark)
        assert (name, index[0]) == ("attn.0", layer)
        assert mark.get("fill") == "#" + bytes(colours[index[1:]]).hex()


def test_a_masked_weight_is_grey_and_a_small_one_is_not() -> None:
    weights = np.array([[1, 0], [1, 0]], np.float32)
    root = parsed(Grid(TITLE, cells("attn.0", weights), "share"))
    grey = [mark.get("fill") == named_colour("masked") for mark in numbered(root, "rect")]
    assert grey == [False, True, False, False]
    assert texts(root)[1:] == ["weights", "100 %", "×", "100 %", "0.0 %", "0 %", "100 %", "masked"]
    large = np.tile(weights, (30, 30))
    (image,) = numbered(parsed(Grid(TITLE, cells("attn.0", large), "share")), "image")
    painted = pixels_of(base64.b64decode(image.get("href", "").split(",")[1]))
    masked = np.frombuffer(bytes.fromhex(named_colour("masked")[1:]), np.uint8)
    assert ((painted == masked).all(axis=-1) == (np.triu(large == 0, 1))).all()


def test_a_large_grid_is_an_image_of_the_same_colours() -> None:
    tensor = np.random.default_rng(0).normal(size=(2, 50, 60)).astype(np.float32)
    tensor[1, 3, 4] = MASKED
    root = parsed(Grid(TITLE, cells("wte", tensor, tensor[1]), "signed"))
    assert numbered(root, "rect") == []
    (image,) = numbered(root, "image")
    assert origin(image) == ("wte", (1, 0, 0))
    kind, data = image.get("href", "").split(",")
    assert kind == "data:image/png;base64"
    assert (pixels_of(base64.b64decode(data)) == paint(tensor[1], "signed")).all()


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_a_png_decodes_to_its_pixels(pixels: NDArray[np.uint8]) -> None:
    assert (pixels_of(png(pixels)) == pixels).all()


def test_wide_cells_hold_their_numbers_and_narrow_ones_do_not() -> None:
    assert "25.0 %" in texts(parsed(Grid(TITLE, computed("x", np.array([[0.25, 0.75]])), "share")))
    assert "0.0 %" not in texts(parsed(Grid(TITLE, computed("x", np.zeros((1, 40))), "share")))


@pytest.mark.parametrize(
    ("colour", "tone"), [((255, 130, 0), "on-light"), ((0, 130, 255), "on-dark"), ((0, 240, 0), "on-light")]
)
def test_a_number_is_dark_on_what_looks_light(
    monkeypatch: pytest.MonkeyPatch, colour: tuple[int, int, int], tone: str
) -> None:
    monkeypatch.setattr(svg_grid, "paint", lambda values, _: np.full((*values.shape, 3), colour, np.uint8))
    root = parsed(Grid(TITLE, computed("x", np.array([[0.25]])), "share"))
    [found] = [text for text in root.iter(f"{SVG}text") if text.text == "25.0 %"]
    assert found.get("class") == tone


@pytest.mark.parametrize(
    ("scale", "values", "said"),
    [
        ("share", [0.25, 0.75], ["0 %", "100 %   shown: 25 % to 75 %"]),
        ("signed", [-0.002, 0.001], ["−0.002", "0.002   shown: −0.002 to 0.001"]),
        ("signed", [-3, 3], ["−3", "3"]),
        ("size", [5, 7], ["5", "7"]),
        ("signed", [2, MASKED], ["−2", "2   shown: 2 to 2", "masked"]),
        ("signed", [MASKED, MASKED], ["masked"]),
    ],
)
def test_a_scale_has_the_numbers_at_its_ends(scale: Scale, values: list[float], said: list[str]) -> None:
    root = parsed(Grid(TITLE, computed("x", np.array([values])), scale))
    assert texts(root)[-len(said) :] == said
    strips = list(root.iter(f"{SVG}image"))
    assert len(strips) == any(value != MASKED for value in values)
    for strip in strips:
        painted = pixels_of(base64.b64decode(strip.get("href", "").split(",")[1]))
        low, high = (0, 1) if scale == "share" else (float(end.split()[0].replace("−", "-")) for end in said[:2])
        evenly = np.linspace(low, high, 256, dtype=np.float32)
        assert np.abs(painted[0].astype(int) - paint(evenly, scale)).max() <= 4


@pytest.mark.parametrize("values", [[0.25, 0.75], [-2, 1], [0, 0]])
def test_bars_are_as_long_as_their_numbers(values: list[float]) -> None:
    root = parsed(Bars(TITLE, ["a", "robot"], cells("x", np.array(values, np.float32)), "signed", marked=(1,)))
    bars = numbered(root, "rect")
    lengths = [float(bar.get("width", 0)) for bar in bars]
    largest = max(map(abs, values)) or 1
    assert lengths == pytest.approx([max(1, abs(value) * max(lengths) / largest) for value in values], abs=1)
    assert [origin(bar) for bar in bars] == [("x", (0,)), ("x", (1,))]
    assert [bar.get("fill") for bar in bars] == [named_colour("token"), named_colour("score")]
    ends = [
        float(bar.get("x", 0)) + (length if value < 0 else 0)
        for bar, length, value in zip(bars, lengths, values, strict=True)
    ]
    assert ends[0] == pytest.approx(ends[1], abs=1e-3)  # they begin at one line


def test_arcs_go_to_every_token_with_weight_and_are_as_thick() -> None:
    attn = np.array([0.5, 0.1, 0.4, 0], np.float32)
    root = parsed(Arcs(TITLE, ["a", "robot", "it", "later"], cells("attn.0", attn), 2))
    lines = list(root.iter(f"{SVG}path"))
    assert [origin(line) for line in lines] == [("attn.0", (0,)), ("attn.0", (1,))]
    thick = [float(line.get("stroke-width", 0)) for line in lines]
    assert thick[0] - thick[1] == pytest.approx(9 * 0.4, abs=0.01)
    assert {"50 %", "10 %", "40 %", "0 %"} <= set(texts(root))


def test_arcs_stay_within_their_fragment() -> None:
    tokens = ["<|endoftext|>"] * 40
    last = 39
    markup = draw_svg("F22", [Arcs(TITLE, tokens, computed("x", np.full(40, 1 / 40)), last)], "en")
    for line in ET.fromstring(markup).iter(f"{SVG}path"):
        _, curve = line.get("d", "").split("C")
        heights = [float(number) for number in curve.split()[1::2]]
        bottom = heights[-1]
        lift = min(heights)
        assert bottom - 0.75 * (bottom - lift) > 0


def test_numbers_of_a_table_have_their_origin() -> None:
    rows: list[list[Entry]] = [["wte", Number(0.5, "attn.0", (1, 2))], ["", Number(2, "size(wte)", form="d")]]
    root = parsed(Table(TITLE, ["tensor", TITLE], rows))
    marks = [(origin(mark), "".join(mark.itertext())) for mark in root.iter(f"{SVG}g") if mark.get("data-tensor")]
    assert marks == [(("attn.0", (1, 2)), "0.5000"), (("size(wte)", ()), "2")]


def test_a_drawing_has_boxes_labels_and_arrows() -> None:
    shapes: list[Box | Line | Label] = [
        Box(0, 0, 9, 3, LocalizedText("wte", "词嵌入"), "query"),
        Line(4, 3, 4, 5),
        Line(0, 6, 3, 6, arrow=False),
        Label(0, 7, "768"),
    ]
    root = parsed(Drawing(TITLE, shapes), "zh")
    assert [box.get("stroke") for box in root.iter(f"{SVG}rect") if box.get("stroke")] == [named_colour("query")]
    assert texts(root) == ["F40", "权重", "词嵌入", "768"]
    assert len(list(root.iter(f"{SVG}path"))) == 3  # two lines, and one arrow's head


def test_text_is_escaped() -> None:
    nasty = "<|endoftext|>&\"'"
    panels: list[Panel] = [
        Note(LocalizedText(nasty, nasty)),
        Grid(nasty, computed(nasty, np.eye(2)), "share", [nasty, "b"], [nasty, "b"]),
        Bars(nasty, [nasty], computed(nasty, np.ones(1))),
        Arcs(nasty, [nasty, nasty], computed(nasty, np.array([0.5, 0.5])), 1),
        Table(nasty, [nasty], [[nasty], [Number(1, nasty)]]),
        Drawing(nasty, [Box(0, 0, 30, 3, nasty), Label(0, 4, nasty)]),
    ]
    for panel in panels:
        assert nasty in texts(parsed(panel, title=nasty))
    assert {origin(mark)[0] for mark in numbered(parsed(panels[1]), "rect")} == {nasty}


def test_nothing_exceeds_the_width() -> None:
    title = "很长的中文标题" * 12
    root = parsed(Note(TITLE), "zh", title)
    assert float(root.get("width", 0)) > 2 * 7 * len(title)


def test_an_svg_has_an_accessible_name() -> None:
    root = parsed(Note(TITLE), title='F40 "softmax"')
    assert (root.get("role"), root.get("aria-label")) == ("img", 'F40 "softmax"')


def test_an_svg_paints_its_background_and_styles_only_itself() -> None:
    root = parsed(Note(TITLE))
    ground = next(root.iter(f"{SVG}rect"))
    assert [ground.get(side) for side in ("class", "width", "height")] == [
        "paper",
        root.get("width"),
        root.get("height"),
    ]
    style = next(root.iter(f"{SVG}style")).text or ""
    rules = re.findall(r"([^{}]+)\{[^{}]+\}", style.replace("@media(prefers-color-scheme:dark){", ""))
    assert rules
    assert all(rule.startswith(f".{root.get('class')} ") for rule in rules)


def test_the_verdict_is_wrapped_below_the_panels() -> None:
    root = ET.fromstring(draw_svg("F40", [Note(TITLE)], "en", "✗ " + "rows sum to 2 " * 20, holds=False))
    said = [text for text in root.iter(f"{SVG}text") if text.get("class") == "bad"]
    assert len(said) == 3
    assert "".join(said[0].itertext()).startswith("✗ rows")
    assert float(root.get("width", 0)) < 800


def test_panels_follow_one_another() -> None:
    one, two = (float(ET.fromstring(draw_svg("x", [Note(TITLE)] * n, "en")).get("height", 0)) for n in (1, 2))
    assert two > one


def test_bars_of_shares_are_as_long_as_their_part_of_1() -> None:
    root = parsed(Bars(TITLE, ["a", "b"], computed("x", np.array([0.25, 0.5])), "share"))
    widths = [float(mark.get("width", "")) for mark in numbered(root, "rect")]
    assert widths == [BAR / 4, BAR / 2]
    root = parsed(Bars(TITLE, ["a", "b"], computed("x", np.array([2, 4])), "size"))
    assert [float(mark.get("width", "")) for mark in numbered(root, "rect")] == [BAR / 2, BAR]


def test_a_number_in_a_box_has_its_origin() -> None:
    root = parsed(Drawing(TITLE, [Box(0, 0, 9, 3, Number(0.25, "attn.0", (1, 2, 3)))]))
    assert [origin(mark) for mark in numbered(root, "g")] == [("attn.0", (1, 2, 3))]
