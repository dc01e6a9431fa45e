"""The list of all figures: what each shows, where in the article it stands, and whether it holds for a model.

A figure is *live* where its numbers are computed from the loaded model, *drawn* where it is a diagram that has none,
and *later* where it belongs to an application that is not built yet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cutaway.checks import check_int
from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.figures.content import Check, Panel, Selection, Words
from cutaway.trace import Trace

Status = Literal["live", "drawn", "later"]
Draw = Callable[[Trace, Selection], Sequence[Panel]]
Verify = Callable[[Trace, Selection], Check]


@dataclass(frozen=True)
class Figure:
    """One of the article's figures, or one of the things that it says without a picture (T1 to T5).

    `picture` is its number among the pictures of the article, `part` the article's part; `tensors` are the names it
    shows, with "L" for the layer's number.
    """

    id: str
    title: Words
    part: int
    picture: int | None
    tensors: tuple[str, ...] = ()
    draw: Draw | None = None
    verify: Verify | None = None

    @property
    def status(self) -> Status:
        """What it is by what it has: nothing yet, a diagram, or numbers that can be checked."""
        if self.draw is None:
            return "later"
        return "live" if self.verify else "drawn"


def all_figures() -> dict[str, Figure]:
    """Every figure by its id, in the article's order."""
    from cutaway.figures.article import (
        applications,
        arcs,
        attention,
        cache,
        choice,
        circles,
        claims,
        folders,
        heads,
        inside,
        loop,
        masked,
        matrices,
        outside,
        paths,
        projecting,
        scoring,
        sight,
        sizes,
        stacks,
        three_steps,
        unembedding,
        vectors,
        weights,
    )

    self_attention = attention, three_steps, masked, matrices, cache, inside, heads, scoring, projecting
    from_outside = outside, stacks, sizes, loop, circles, sight, paths, claims
    from_inside = vectors, arcs, folders, unembedding, choice
    rooms = *from_outside, *from_inside, *self_attention, weights, applications
    listed = [figure for room in rooms for figure in room.FIGURES]
    return {figure.id: figure for figure in sorted(listed, key=lambda figure: (figure.part, _order(figure.id)))}


def _order(name: str) -> tuple[int, int]:
    """F01 to F66 in their order; T1 to T5 stand after the figures that they belong to."""
    after = {"T1": 17, "T2": 28, "T3": 28, "T4": 28, "T5": 62}
    return (after[name], int(name[1:])) if name in after else (int(name[1:]), 0)


def find_figure(name: str) -> Figure:
    """The figure of that id; raises UsageError where there is none."""
    figure = all_figures().get(str(name).upper())
    if figure is None:
        raise UsageError(f"there is no figure {name!r:.20}; they are F01 to F66 and T1 to T5 (cutaway figure --list)")
    return figure


def select(config: GPT2Config, tokens: int, selection: Selection) -> Selection:
    """The selection with its position counted from 0; raises UsageError where the model or the text has no such."""
    check_int("layer", selection.layer, 0, config.n_layer - 1)
    check_int("head", selection.head, 0, config.n_head - 1)
    check_int("position", selection.position, -tokens, tokens - 1)
    return replace(selection, position=selection.position % tokens)


def check_figure(figure: Figure, trace: Trace, selection: Selection) -> Check | None:
    """What a live figure's check says of this trace; None for a figure that has none."""
    return figure.verify(trace, select(trace.config, len(trace), selection)) if figure.verify else None
