"""What "The Illustrated GPT-2" draws, live: a registry of figures, and the ways of drawing them."""

from cutaway.figures.content import Check, Selection
from cutaway.figures.drawn import DrawableTrace, DrawnFigure
from cutaway.figures.registry import Figure, all_figures, check_figure, find_figure

__all__ = ["Check", "DrawableTrace", "DrawnFigure", "Figure", "Selection", "all_figures", "check_figure", "find_figure"]
