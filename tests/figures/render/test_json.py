"""Panels as JSON: every number with its place, and nothing that JSON has no word for."""

import json

import numpy as np
import pytest

from cutaway.figures.panels import (
    Arcs,
    Bars,
    Box,
    Drawing,
    Grid,
    Label,
    Line,
    LocalizedText,
    Number,
    Panel,
    Roll,
    Table,
    cells,
    computed,
)
from cutaway.figures.panels import Note as Prose
from cutaway.figures.render.json import cells_document, panel_document
from cutaway.music.performance import Note

TITLE = LocalizedText("title", "标题")
ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
CELLS = cells("attn.0", ARRAY, ARRAY[1])
PANELS: dict[str, Panel] = {
    "grid": Grid(TITLE, CELLS, "signed", ["a", "b", "c"], (), TITLE, TITLE),
    "bars": Bars("x", ["a", "b"], computed("a / b", np.array([1, 2])), marked=(1,)),
    "arcs": Arcs(TITLE, ("a", "b"), computed("x", np.array([0.5, 0.5])), 1),
    "roll": Roll(TITLE, [Note(0.0, 1.0, 60, 80)], 0.5, 0, [0], computed("attn @ notes", np.array([[0.75, 0.25]]))),
    "table": Table(TITLE, ["a", TITLE], [["b", Number(0.25, "attn.0", (1, 2, 3))], [TITLE, ""]]),
    "drawing": Drawing(TITLE, [Box(0, 0, 9, 3, TITLE, "query"), Line(1, 2, 3, 2), Label(0, 4, "b")]),
    "note": Prose(TITLE),
}


@pytest.mark.parametrize("kind", PANELS)
def test_every_panel_is_json(kind: str) -> None:
    document = panel_document(PANELS[kind])
    assert document["kind"] == kind
    assert json.loads(json.dumps(document, allow_nan=False))["kind"] == kind


def test_cells_index_into_their_tensor() -> None:
    document = json.loads(json.dumps(cells_document(CELLS)))
    assert document == {
        "tensor": "attn.0",
        "shape": [2, 3, 4],
        "offset": 12,
        "steps": [4, 1],
        "values": [[12, 13, 14, 15], [16, 17, 18, 19], [20, 21, 22, 23]],
    }
    flat = document["offset"] + 2 * document["steps"][0] + 3 * document["steps"][1]
    assert ARRAY.reshape(-1)[flat] == document["values"][2][3]


def test_a_grids_document_has_its_labels_in_both_languages() -> None:
    document = json.loads(json.dumps(panel_document(PANELS["grid"])))
    assert document["title"] == document["row_axis"] == {"en": "title", "zh": "标题"}
    assert (document["rows"], document["columns"], document["scale"]) == (["a", "b", "c"], [], "signed")


def test_numbers_of_a_table_name_their_tensor() -> None:
    rows = json.loads(json.dumps(panel_document(PANELS["table"])))["rows"]
    assert rows[0] == ["b", {"value": 0.25, "tensor": "attn.0", "index": [1, 2, 3], "form": ".4f"}]
    assert rows[1] == [{"en": "title", "zh": "标题"}, ""]


def test_a_drawings_document_lists_its_shapes_in_order() -> None:
    shapes = json.loads(json.dumps(panel_document(PANELS["drawing"])))["shapes"]
    assert [shape["kind"] for shape in shapes] == ["box", "line", "label"]
    assert shapes[0]["text"] == {"en": "title", "zh": "标题"}
    assert shapes[1]["arrow"] is True


def test_a_number_that_is_not_finite_is_null() -> None:
    values = computed("log(0)", np.array([[-np.inf, 1], [np.nan, np.inf]]))
    assert cells_document(values)["values"] == [[None, 1.0], [None, None]]
    row = panel_document(Table(TITLE, ["a"], [[Number(-np.inf, "masked.0", (0, 0, 1))]]))["rows"]
    assert row == [[{"value": None, "tensor": "masked.0", "index": (0, 0, 1), "form": ".4f"}]]
