"""Traces to draw figures of, from one token to a full context, and what every figure of them must satisfy."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from numpy.typing import NDArray

import cutaway
from cutaway.figures import DrawnFigure, Figure, Selection, check_figure
from cutaway.figures.article.decoding import Candidate
from cutaway.figures.panels import Arcs, Bars, Box, Cells, Drawing, Grid, Number, Panel, Roll, Table
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Trace
from tests.tiny import random_ids, tiny_weights

TEXT = "A robot must obey the orders given it"
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {},
    "one head": {"n_vocab": 7, "n_ctx": 9, "n_embd": 5, "n_head": 1, "n_layer": 1},
    "untied": {"n_vocab": 101, "n_embd": 33, "n_layer": 3, "n_inner": 17, "tie_word_embeddings": False},
    "one wide": {"n_embd": 1, "n_head": 1},
    "by layer": {"activation_function": "gelu", "scale_attn_by_inverse_layer_idx": True, "n_layer": 3},
    "unscaled": {"activation_function": "silu", "scale_attn_weights": False},
    "by layer only": {
        "activation_function": "relu",
        "scale_attn_weights": False,
        "scale_attn_by_inverse_layer_idx": True,
    },
    "relative": {"relative_positions": 4},
    "tanh": {"activation_function": "tanh"},
    "long": {"n_vocab": 61, "n_ctx": 70, "n_embd": 12, "n_head": 2},
}
CLOSE_PERCENT = re.compile(r"\d%")  # without the space that stands before the sign
WEIGHTS = re.compile(r"attn\.\d+")
FIRST = Selection()  # the last token, in the first head of the first layer
TRACES = ("tiny 7", "tiny 1", "one head 1", "one head 7", "untied 7", "long 70", "appended 7", "built-in")

OTHER_MATHEMATICS = ("by layer 7", "unscaled 7", "by layer only 7", "relative 7", "tanh 7")

WRONG_NUMBERS = (  # a figure, and a tensor whose numbers it checks
    ("F01", "logits"),
    ("F01", "resid.post.1"),
    ("F04", "logits"),
    ("F04", "resid.post.1"),
    ("F12", "attn.0"),
    ("F13", "attn.0"),
    ("F15", "pos_emb"),
    ("F18", "tok_emb"),
    ("F19", "pos_emb"),
    ("F20", "resid.pre.0"),
    ("F21", "mlp_out.1"),
    ("F22", "q.0"),
    ("F23", "v.0"),
    ("F24", "attn.0"),
    ("F25", "z.0"),
    ("F26", "tok_emb"),
    ("F26", "wte.weight"),
    ("F30", "attn.0"),
    ("F31", "attn.0"),
    ("F31", "k.0"),
    ("F31", "q.0"),
    ("F31", "z.0"),
    ("F32", "ln1.0"),
    ("F32", "q.0"),
    ("F33", "attn.0"),
    ("F33", "scores.0"),
    ("F34", "v.0"),
    ("F34", "z.0"),
    ("F35", "attn.0"),
    ("F35", "z.0"),
    ("F36", "attn.0"),
    ("F36", "masked.0"),
    ("F36", "scores.0"),
    ("F38", "k.0"),
    ("F38", "scores_raw.0"),
    ("F39", "attn.0"),
    ("F39", "masked.0"),
    ("F39", "scores.0"),
    ("F40", "attn.0"),
    ("F41", "k.0"),
    ("F41", "q.1"),
    ("F41", "qkv.1"),
    ("F42", "cache.k"),
    ("F42", "cache.v"),
    ("F44", "ln1.0"),
    ("F44", "resid.pre.0"),
    ("F45", "h.0.attn.c_attn.bias"),
    ("F45", "qkv.0"),
    ("F46", "ln1.0"),
    ("F46", "qkv.0"),
    ("F47", "q.0"),
    ("F47", "v.0"),
    ("F48", "scores_raw.0"),
    ("F49", "scores.0"),
    ("F50", "attn.0"),
    ("F50", "scores.0"),
    ("F51", "z.0"),
    ("F52", "zcat.0"),
    ("F53", "attn_out.0"),
    ("F53", "h.0.attn.c_proj.bias"),
    ("F54", "resid.mid.0"),
    ("F55", "ln2.0"),
    ("F55", "mlp_act.0"),
    ("F55", "mlp_pre.0"),
    ("F56", "mlp_out.0"),
    ("F56", "resid.post.0"),
    ("F60", "attn.0"),
    ("F66", "attn.0"),
)


@cache
def make_trace(name: str) -> Trace:
    """One of `TRACES` or `OTHER_MATHEMATICS`: a random model's of so many tokens, without a tokenizer, or the built-in
    model's of the article's sentence.
    """
    if name == "built-in":
        return cutaway.load(engine="reference").trace(TEXT, prepend_bos=True)
    if name == "appended 7":  # read in parts, and changed in between: what is kept was computed a few tokens at a time
        whole = make_trace("tiny 7")
        return whole.edit([*whole.ids[:3], 1]).edit(whole.ids[:5]).append(whole.ids[5]).append(whole.ids[6])
    shape, tokens = name.rsplit(" ", 1)
    weights = tiny_weights(**SHAPES[shape])
    tensors = {tensor: weights.read(tensor) for tensor in weights.config.tensor_shapes()}
    return Trace(weights.config, tensors, None, random_ids(weights.config, int(tokens)))


def of_shape(tokens: Sequence[int], tokenizer: Tokenizer | None = None, **shape: int) -> Trace:
    """A trace of a random model of that shape."""
    weights = tiny_weights(**shape)
    tensors = {name: weights.read(name) for name in weights.config.tensor_shapes()}
    return Trace(weights.config, tensors, tokenizer, tokens)


def second_best(trace: Trace, count: int) -> list[Candidate]:
    """The candidates for the next token without the likeliest."""
    logits = trace.logits_at(-1)
    order = np.argsort(-logits)[1 : count + 1]
    return [Candidate(int(token), float(logits[token]), 0.0) for token in order]


def numbers(panel: Panel) -> list[list[float]]:
    """The numbers of a table, row by row."""
    assert isinstance(panel, Table)
    return [[entry.value for entry in row if isinstance(entry, Number)] for row in panel.rows]


def boxes(panel: Panel) -> list[str]:
    """The texts in a diagram's boxes that are tokens or names."""
    assert isinstance(panel, Drawing)
    return [shape.text for shape in panel.shapes if isinstance(shape, Box) and isinstance(shape.text, str)]


class Falsified(Trace):
    """A trace in which some tensors are not what the model computed."""

    false: Mapping[str, NDArray[np.float32]] = {}

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self.false[name] if name in self.false else super().__getitem__(name)

    def logits_at(self, position: int) -> NDArray[np.float32]:
        return self.false["logits"][position] if "logits" in self.false else super().logits_at(position)


def falsify(trace: Trace, name: str) -> Falsified:
    """The trace with every number of a tensor changed, each by something else."""
    false = Falsified(trace.config, trace.weights, trace.tokenizer, trace.ids)
    noise = np.random.default_rng(0).normal(size=trace[name].shape).astype(np.float32)
    false.false = {name: trace[name] + noise}
    return false


def draw(trace: Trace, figure: Figure, selection: Selection = FIRST) -> DrawnFigure:
    """Draw a figure as `cutaway.figures.draw` does, without the registry."""
    chosen = selection.resolve(trace.config, len(trace))
    return DrawnFigure(figure, chosen, trace.ids, figure.draw(trace, chosen), check_figure(figure, trace, chosen))


def is_ok(trace: Trace, figure: Figure, selection: Selection = FIRST) -> bool:
    """Return the verdict of the figure's check."""
    check = check_figure(figure, trace, selection.resolve(trace.config, len(trace)))
    assert check is not None
    assert all(said.strip() for said in (check.statement.en, check.statement.zh))
    return check.ok


def assert_drawn(trace: Trace, figure: Figure, selection: Selection = FIRST) -> None:
    """The figure holds, can be drawn in every way, and every number in it is the tensor's."""
    drawn = draw(trace, figure, selection)
    assert drawn.check is not None
    assert drawn.check.ok, drawn.check.statement.en
    for language in ("en", "zh"):
        text = drawn.text(language)
        svg = drawn.svg(language)
        assert text.strip()
        ET.fromstring(svg)
        assert CLOSE_PERCENT.findall(text + svg) == []
    json.dumps(drawn.document(), allow_nan=False)
    assert_true(trace, drawn.panels)
    printed = [*_printed(drawn.panels), *drawn.check.statement.numbers()]
    assert [each for each in printed if WEIGHTS.fullmatch(each.tensor) and not each.text.endswith(" %")] == []


def assert_true(trace: Trace, panels: Sequence[Panel]) -> None:
    """Numbers that name a tensor are those of the tensor; a formula names none."""
    arrays: dict[str, NDArray[Any]] = {}
    for tensor, index, value in _numbers(panels):
        if tensor not in trace:
            assert any(char in tensor for char in "[(*/. "), tensor
            continue
        if tensor not in arrays:
            arrays[tensor] = trace[tensor]
        assert value == pytest.approx(float(arrays[tensor][index]), rel=1e-4, abs=1e-4, nan_ok=True), f"{tensor}{index}"


def _numbers(panels: Sequence[Panel]) -> Iterator[tuple[str, tuple[int, ...], float]]:
    """Every number of the tables, and some of each panel of cells."""
    yield from ((each.tensor, each.index, each.value) for each in _printed(panels))
    for panel in panels:
        if isinstance(panel, Grid | Bars | Arcs | Roll) and panel.cells is not None:
            yield from _cells(panel.cells)


def _printed(panels: Sequence[Panel]) -> Iterator[Number]:
    """The numbers of the tables, and those in the boxes of diagrams."""
    for panel in panels:
        if isinstance(panel, Table):
            yield from (entry for row in panel.rows for entry in row if isinstance(entry, Number))
        elif isinstance(panel, Drawing):
            inside = [shape.text for shape in panel.shapes if isinstance(shape, Box)]
            yield from (each for each in inside if isinstance(each, Number))


def _cells(cells: Cells) -> Iterator[tuple[str, tuple[int, ...], float]]:
    rows, columns = cells.values.shape
    places = np.random.default_rng(0).permutation(rows * columns)[:100]
    for row, column in (divmod(int(place), columns) for place in places):
        yield cells.tensor, cells.index(row, column), float(cells.values[row, column])
