"""The registry: all figures in the article's order, and look-up by id."""

from cutaway.errors import UsageError
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
from cutaway.figures.figure import Figure

PART_1 = (
    *(outside, stacks, sizes, loop, circles, sight, paths, claims),
    *(vectors, arcs, folders, unembedding, choice),
)
PART_2 = attention, three_steps, masked, matrices, cache, inside, heads, scoring, projecting, weights
PART_3 = (applications,)


def all_figures() -> dict[str, Figure]:
    """All figures by id, in the article's order.

    >>> list(all_figures())[:3]
    ['F01', 'F02', 'F03']
    """
    listed = [figure for module in (*PART_1, *PART_2, *PART_3) for figure in module.FIGURES]
    return {figure.id: figure for figure in sorted(listed, key=lambda figure: (figure.part, _order(figure.id)))}


def _order(figure_id: str) -> tuple[int, int]:
    """F01 to F66 by number; T1 to T5 follow the figure that they belong to."""
    after = {"T1": 17, "T2": 28, "T3": 28, "T4": 28, "T5": 62}
    number = int(figure_id[1:])
    return (after[figure_id], number) if figure_id in after else (number, 0)


def find_figure(figure_id: str) -> Figure:
    """Look a figure up by its id, in any case. Raises UsageError for an unknown id.

    >>> find_figure("f40").title.en
    'Softmax: scores become weights'
    """
    figure = all_figures().get(str(figure_id).upper())
    if figure is None:
        raise UsageError(f"unknown figure: {figure_id!r:.20}; they are F01 to F66 and T1 to T5 (cutaway figure --list)")
    return figure
