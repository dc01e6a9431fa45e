"""A figure of the article: its entry in the registry, the selection that it is drawn for, and its check."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np

from cutaway.checks import check_int
from cutaway.config import GPT2Config
from cutaway.figures.panels import LocalizedText, Panel
from cutaway.figures.statement import Statement
from cutaway.trace import Trace

Status = Literal["live", "drawn"]


@dataclass(frozen=True)
class Selection:
    """A layer, a head, and the position of the query, all from 0; position -1 is the last."""

    layer: int = 0
    head: int = 0
    position: int = -1

    def resolve(self, config: GPT2Config, n_tokens: int) -> Self:
        """Convert a negative position. Raises UsageError if the model or the text has no such layer, head or position.

        >>> Selection(position=-1).resolve(GPT2Config(), n_tokens=9)
        Selection(layer=0, head=0, position=8)
        """
        check_int("layer", self.layer, 0, config.n_layer - 1)
        check_int("head", self.head, 0, config.n_head - 1)
        check_int("position", self.position, -n_tokens, n_tokens - 1)
        return replace(self, position=self.position % n_tokens)


@dataclass(frozen=True)
class Check:
    """The result of measuring a figure's claim on the loaded model, and the measurement as a sentence."""

    ok: bool
    statement: Statement


Draw = Callable[[Trace, Selection], Sequence[Panel]]
Verify = Callable[[Trace, Selection], Check]


@dataclass(frozen=True)
class Figure:
    """One of the article's figures, or one of the statements that it makes without a picture (T1 to T5).

    `picture` counts the article's pictures and `part` its parts; `tensors` are the names of the tensors shown, with "L"
    for the layer. A figure is *live* if its numbers are computed, and *drawn* if it is a diagram without numbers.
    """

    id: str
    title: LocalizedText
    part: int
    picture: int | None
    tensors: tuple[str, ...] = ()
    draw: Draw = field(kw_only=True)
    verify: Verify | None = field(default=None, kw_only=True)

    @property
    def status(self) -> Status:
        """Derived from the functions that the figure has."""
        return "live" if self.verify else "drawn"


def check_figure(figure: Figure, trace: Trace, selection: Selection) -> Check | None:
    """Measure a live figure's claim on a trace; None for a figure without a claim.

    Raises UsageError if the trace has no such layer, head or position.

    >>> import cutaway
    >>> from cutaway.figures import find_figure
    >>> trace = cutaway.load(engine="reference").trace("A robot must obey")
    >>> check_figure(find_figure("F40"), trace, Selection()).ok
    True
    """
    if figure.verify is None:
        return None
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return figure.verify(trace, selection.resolve(trace.config, len(trace)))
