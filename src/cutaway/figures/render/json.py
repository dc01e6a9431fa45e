"""Panels as JSON documents."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from cutaway.figures.panels import (
    Arcs,
    Bars,
    Box,
    Cells,
    Drawing,
    Entry,
    Grid,
    Label,
    Line,
    LocalizedText,
    Number,
    Panel,
    Roll,
    Table,
)

Numbers = Callable[[NDArray[np.float32]], object]


def rounded(values: NDArray[np.float32]) -> list[list[float | None]]:
    """Round to the fewest digits that identify each float32; non-finite numbers become None.

    >>> rounded(np.array([[0.1, np.inf]], np.float32))
    [[0.1, None]]
    """
    shortest = values.astype(str).astype(np.float64).astype(object)
    shortest[~np.isfinite(values)] = None
    numbers: list[list[float | None]] = shortest.tolist()
    return numbers


def panel_document(panel: Panel, numbers: Numbers = rounded) -> dict[str, object]:
    """Convert a panel to JSON types, with its kind; `numbers` converts the values (R, C) of its cells.

    >>> from cutaway.figures.panels import integer
    >>> panel_document(Table("sizes", ["n_ctx"], [[integer(1024, "config.n_ctx")]]))["rows"]
    [[{'value': 1024, 'tensor': 'config.n_ctx', 'index': (), 'form': ','}]]
    """
    kind = {"kind": type(panel).__name__.lower()}
    if isinstance(panel, Grid | Bars | Arcs):
        fields = {name: value for name, value in vars(panel).items() if name != "cells"}
        return (
            kind
            | {name: _plain(value) for name, value in fields.items()}
            | {"cells": cells_document(panel.cells, numbers)}
        )
    if isinstance(panel, Roll):
        return kind | _roll_document(panel, numbers)
    if isinstance(panel, Table):
        rows = [[_entry(cell) for cell in row] for row in panel.rows]
        return kind | {"title": _plain(panel.title), "columns": [_plain(c) for c in panel.columns], "rows": rows}
    if isinstance(panel, Drawing):
        return kind | {"title": _plain(panel.title), "shapes": [_shape(shape) for shape in panel.shapes]}
    return kind | {"words": asdict(panel.words)}


def _roll_document(roll: Roll, numbers: Numbers) -> dict[str, object]:
    """Convert a roll: each note as [onset, offset, pitch, velocity], and cells if it has any."""
    fields = {name: _plain(value) for name, value in vars(roll).items() if name not in ("cells", "notes")}
    notes = {"notes": [list(note) for note in roll.notes]}
    return fields | notes | ({"cells": cells_document(roll.cells, numbers)} if roll.cells else {})


def cells_document(cells: Cells, numbers: Numbers = rounded) -> dict[str, object]:
    """Convert cells to JSON types: the values row by row, and the layout that gives each value's index.

    >>> from cutaway.figures.panels import computed
    >>> cells_document(computed("q * k", np.array([0.1, np.inf])))["values"]
    [[0.1, None]]
    """
    return {
        "tensor": cells.tensor,
        "shape": cells.shape,
        "offset": cells.offset,
        "steps": cells.steps,
        "values": numbers(cells.values),
    }


def _shape(shape: Box | Line | Label) -> dict[str, object]:
    text = {} if isinstance(shape, Line) else {"text": _entry(shape.text)}
    return {"kind": type(shape).__name__.lower(), **asdict(shape), **text}


def _plain(value: object) -> object:
    if isinstance(value, LocalizedText):
        return asdict(value)
    return list(value) if isinstance(value, tuple | list) else value


def _entry(cell: Entry) -> object:
    if not isinstance(cell, Number):
        return _plain(cell)
    value = cell.value if np.isfinite(cell.value) else None
    return asdict(cell) | {"value": value}
