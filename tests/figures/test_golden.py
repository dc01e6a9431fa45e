"""golden.json holds what every figure shows and says of three traces, so that none shows another head, layer, place or
tensor, or labels that are not its own, without anybody noticing.

After a deliberate change write it anew, and read the difference before it is committed:

    python -m tests.figures.test_golden > new.json && mv new.json tests/figures/golden.json

Long strings are their beginning and a hash. Numbers are two sums, compared with a tolerance, since every machine rounds
in its own way; what a machine measures, and what depends on how it rounds, is in no string.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cutaway.engines.reference import MASKED
from cutaway.figures import Figure, Selection, all_figures
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
    Number,
    Panel,
    Roll,
    Table,
    localize,
)
from cutaway.figures.statement import Statement
from tests.figures.drawing import draw, make_trace

Record = Mapping[str, str | Sequence[float]]

GOLDEN = Path(__file__).with_name("golden.json")
SELECTIONS = {  # layer, head and position are none of them 0, and differ as far as the models allow
    "tiny 7": Selection(1, 2, 3),
    "long 70": Selection(1, 1, 40),
    "untied 7": Selection(2, 1, 4),  # its MLP is not four times as wide as a vector
}
DIFFERENCE = re.compile(
    r"within \S+?e−\d+|exactly|by \S+(?= read anew)|误差在 \S+ 以内|没有误差|(?<=重新读入则为 )[^）]+"
)
MEASURED = re.compile(r"−?\d[\d,]*\.\d+(?:e−?\d+)?(?: %)?|\d+e−?\d+")
FIGURES = list(all_figures().values())
LONGEST = 96  # characters of a string that stand as they are
# ten times as far as any two of OpenBLAS's kernels are apart
RELATIVE = 1e-5
ABSOLUTE = 2e-4


def records(figure: Figure, name: str) -> list[Record]:
    """Record what the figure shows of that trace, panel by panel, and what its check says."""
    drawn = draw(make_trace(name), figure, SELECTIONS[name])
    sentence = [_sentence(drawn.check.statement)] if drawn.check else []
    return [*(_record(panel) for panel in drawn.panels), *sentence]


def _sentence(statement: Statement) -> Record:
    """The sentence with "≈" for a difference and "·" for any other number that is not whole."""
    texts = {language: statement.text(language) for language in ("en", "zh")}
    plain = {language: MEASURED.sub("·", DIFFERENCE.sub("≈", text)) for language, text in texts.items()}
    numbers = [number.value for number in statement.numbers() if number.form != ".1e"]
    kind = {"kind": "Statement"} | {language: _short(text) for language, text in plain.items()}
    return kind | ({"sums": _sums(np.array(numbers, np.float64))} if numbers else {})


def _record(panel: Panel) -> Record:
    record: dict[str, str | Sequence[float]] = {"kind": type(panel).__name__}
    record |= {name: _short(text) for name, text in _strings(panel) if text}
    numbers = _numbers(panel)
    return record | {"sums": _sums(numbers)} if numbers.size else record


def _strings(panel: Panel) -> Iterator[tuple[str, str]]:
    """Everything about a panel that is a string or can be written as one, but for its kind."""
    if isinstance(panel, Grid):
        yield from (("title", localize(panel.title, "en")), *_source(panel.cells), ("scale", panel.scale))
        yield from (("rows", "|".join(panel.rows)), ("columns", "|".join(panel.columns)))
        for name, axis in (("row axis", panel.row_axis), ("column axis", panel.column_axis)):
            yield name, axis.en if axis else ""
    elif isinstance(panel, Bars):
        yield from (("title", localize(panel.title, "en")), *_source(panel.cells), ("scale", panel.scale))
        yield from (("labels", "|".join(panel.labels)), ("marked", " ".join(map(str, panel.marked))))
    elif isinstance(panel, Arcs):
        yield from (("title", localize(panel.title, "en")), *_source(panel.cells))
        yield from (("tokens", "|".join(panel.tokens)), ("query", str(panel.query)))
    elif isinstance(panel, Roll):
        yield "title", localize(panel.title, "en")
        yield "notes", " ".join(f"{note.pitch}@{note.onset:g}-{note.offset:g}:{note.velocity}" for note in panel.notes)
    elif isinstance(panel, Table):
        yield "title", localize(panel.title, "en")
        yield "columns", "|".join(localize(column, "en") for column in panel.columns)
        yield "texts", "\n".join("|".join(map(_text, row)) for row in panel.rows)
        yield "numbers", "; ".join(f"{each.tensor}{list(each.index)}:{each.form}" for each in _entries(panel))
    elif isinstance(panel, Drawing):
        yield from (("title", localize(panel.title, "en")), ("texts", "|".join(_texts(panel))))
        yield "shapes", " ".join(_place(shape) for shape in panel.shapes)
        yield "numbers", "; ".join(f"{each.tensor}{list(each.index)}:{each.form}" for each in _entries(panel))
    else:
        yield "words", panel.words.en


def _source(cells: Cells) -> Iterator[tuple[str, str]]:
    first = list(cells.index(0, 0)) if cells.values.size else "nothing"
    size = " x ".join(map(str, cells.values.shape))
    yield "cells", f"{size} of {cells.tensor}"
    yield "place", f"{list(cells.shape)} from {first}, steps {list(cells.steps)}"


def _text(entry: Entry) -> str:
    return "·" if isinstance(entry, Number) else localize(entry, "en")


def _entries(panel: Table | Drawing) -> list[Number]:
    if isinstance(panel, Drawing):
        return [box.text for box in panel.shapes if isinstance(box, Box) and isinstance(box.text, Number)]
    return [entry for row in panel.rows for entry in row if isinstance(entry, Number)]


def _texts(drawing: Drawing) -> Iterator[str]:
    for shape in drawing.shapes:
        if isinstance(shape, Box | Label):
            yield _text(shape.text)


def _place(shape: Box | Line | Label) -> str:
    if isinstance(shape, Box):
        return f"{shape.x},{shape.y}+{shape.width},{shape.height} {shape.colour}"
    if isinstance(shape, Label):
        return f"{shape.x},{shape.y}"
    return f"{shape.x},{shape.y}{'>' if shape.arrow else '-'}{shape.to_x},{shape.to_y}"


def _numbers(panel: Panel) -> NDArray[np.float64]:
    if isinstance(panel, Grid | Bars | Arcs):
        return panel.cells.values.astype(np.float64).ravel()
    return np.array(
        [entry.value for entry in _entries(panel)] if isinstance(panel, Table | Drawing) else [], np.float64
    )


def _short(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST // 2]}… {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _sums(numbers: NDArray[np.float64]) -> list[float]:
    """The sum, and one in which every place has a weight of its own; what the mask hides counts as 0."""
    values = np.where(np.isfinite(numbers) & (numbers > MASKED / 10), numbers, 0)
    weights = np.cos(np.arange(values.size) + 1)
    return [round(float(total), 5) + 0.0 for total in (values.sum(), values @ weights)]  # + 0.0: no -0.0


def _differences(was: Sequence[Record], now: Sequence[Record]) -> Iterator[str]:
    """A line for everything that two lists of panels do not have in common."""
    if len(was) != len(now):
        yield f"there were {len(was)} panels, there are {len(now)}"
    for number, (old, new) in enumerate(zip(was, now, strict=False)):
        for name in dict.fromkeys((*old, *new)):
            before = old.get(name, "nothing")
            after = new.get(name, "nothing")
            if not _same(before, after):
                yield f"panel {number}, {old['kind']} {old.get('title', '')!r}: {name}\n  was {before}\n  is  {after}"


def _same(before: str | Sequence[float], after: str | Sequence[float]) -> bool:
    if isinstance(before, str) or isinstance(after, str):
        return before == after
    return bool(np.allclose(after, before, rtol=RELATIVE, atol=ABSOLUTE))


@cache
def _golden() -> Mapping[str, Mapping[str, Sequence[Record]]]:
    golden: Mapping[str, Mapping[str, Sequence[Record]]] = json.loads(GOLDEN.read_text("utf-8"))
    return golden


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.id)
def test_figures_equal_the_recorded_ones(figure: Figure) -> None:
    told = [
        f"{figure.id} of {name}, {line}"
        for name in SELECTIONS
        for line in _differences(_golden()[figure.id][name], records(figure, name))
    ]
    assert not told, "\n".join(["what it shows is not what is in golden.json", *told])


def test_every_figure_is_recorded() -> None:
    assert list(_golden()) == [figure.id for figure in FIGURES]


def test_golden_reports_changed_numbers_labels_and_panels() -> None:
    grid: dict[str, str | Sequence[float]] = {
        "kind": "Grid",
        "title": "keys",
        "cells": "2 x 3 of k.1",
        "sums": [1.5, -0.25],
    }
    assert list(_differences([grid], [{**grid, "sums": [1.5001, -0.2502]}])) == []
    assert list(_differences([grid], [])) == ["there were 1 panels, there are 0"]
    (line,) = _differences([grid], [{**grid, "cells": "2 x 3 of q.1"}])
    assert line == "panel 0, Grid 'keys': cells\n  was 2 x 3 of k.1\n  is  2 x 3 of q.1"
    (line,) = _differences([grid], [{**grid, "sums": [1.5, -0.26]}])
    assert line.startswith("panel 0, Grid 'keys': sums")


def _written() -> str:
    """All of it as JSON, a line for each panel."""
    figures = []
    for figure in FIGURES:
        panels = {name: [json.dumps(each, ensure_ascii=False) for each in records(figure, name)] for name in SELECTIONS}
        traces = [f'  "{name}": [\n   ' + ",\n   ".join(lines) + "]" for name, lines in panels.items()]
        figures.append(f' "{figure.id}": {{\n' + ",\n".join(traces) + "}")
    return "{\n" + ",\n".join(figures) + "\n}"


if __name__ == "__main__":
    print(_written())
