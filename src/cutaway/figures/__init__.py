"""The figures of "The Illustrated GPT-2", computed from a loaded model, and their renderers."""

from cutaway.figures.drawn import DrawnFigure, draw
from cutaway.figures.figure import Check, Figure, Selection, check_figure
from cutaway.figures.registry import all_figures, find_figure

__all__ = ["Check", "DrawnFigure", "Figure", "Selection", "all_figures", "check_figure", "draw", "find_figure"]
