"""A figure of one trace, as text, SVG or a JSON document."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from cutaway.errors import UsageError
from cutaway.figures.figure import Check, Figure, Selection, check_figure
from cutaway.figures.panels import Panel, localize
from cutaway.figures.registry import find_figure
from cutaway.figures.render.json import Numbers, panel_document, rounded
from cutaway.figures.render.svg import draw_svg
from cutaway.figures.render.text import draw_text
from cutaway.layout import wrap_prose
from cutaway.trace import Trace

LANGUAGES = ("en", "zh")


@dataclass(frozen=True, repr=False)
class DrawnFigure:
    """A figure with the numbers of one trace. Notebooks display it as SVG."""

    figure: Figure
    selection: Selection
    ids: tuple[int, ...]
    panels: Sequence[Panel]
    check: Check | None

    def text(self, language: str = "en", columns: int = 80) -> str:
        """Render for a terminal of `columns` characters; `language` is "en" or "zh".

        >>> import cutaway
        >>> trace = cutaway.load(engine="reference").trace("A robot must obey")
        >>> draw(trace, "F40").text("zh").splitlines()[0]
        'F40  Softmax：分数变成权重'
        """
        lines = draw_text(self.panels, _known(language), columns)
        said = ["", *wrap_prose(self._verdict(language), columns)] if self.check else []
        return "\n".join([self.title(language), "", *lines, *said])

    def svg(self, language: str = "en") -> str:
        """Render as a stand-alone SVG file; `language` is "en" or "zh".

        >>> import cutaway
        >>> trace = cutaway.load(engine="reference").trace("A robot must obey")
        >>> draw(trace, "F40").svg()[:4]
        '<svg'
        """
        holds = self.check is None or self.check.ok
        return draw_svg(self.title(language), self.panels, _known(language), self._verdict(language), holds=holds)

    def document(self, numbers: Numbers = rounded) -> dict[str, object]:
        """Convert to JSON types, in both languages, every number of the panels with its tensor and index; `numbers`
        converts the numbers of cells.

        >>> import cutaway
        >>> document = draw(cutaway.load(engine="reference").trace("A robot"), "F40").document()
        >>> document["id"], document["part"], document["check"]["ok"]
        ('F40', 2, True)
        """
        return {
            "id": self.figure.id,
            "title": asdict(self.figure.title),
            "part": self.figure.part,
            "picture": self.figure.picture,
            "status": self.figure.status,
            **asdict(self.selection),
            "ids": self.ids,
            "panels": [panel_document(panel, numbers) for panel in self.panels],
            "check": _check_document(self.check) if self.check else None,
        }

    def title(self, language: str = "en") -> str:
        """Return the figure's id and title.

        >>> import cutaway
        >>> draw(cutaway.load(engine="reference").trace("A robot"), "F40").title()
        'F40  Softmax: scores become weights'
        """
        return f"{self.figure.id}  {localize(self.figure.title, _known(language))}"

    def _verdict(self, language: str) -> str:
        if self.check is None:
            return ""
        return f"{'✓' if self.check.ok else '✗'} {self.check.statement.text(language)}"

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        where = f"layer {self.selection.layer}, head {self.selection.head}, position {self.selection.position}"
        return f"<{self.title()}, {where}>"

    def _repr_svg_(self) -> str:
        return self.svg()


def _check_document(check: Check) -> dict[str, object]:
    return {"ok": check.ok, "statement": {language: check.statement.text(language) for language in LANGUAGES}}


def _known(language: str) -> str:
    if language not in LANGUAGES:
        raise UsageError(f"a language is one of {', '.join(LANGUAGES)}, not {language!r:.20}")
    return language


def draw(trace: Trace, figure_id: str, *, layer: int = 0, head: int = 0, position: int = -1) -> DrawnFigure:
    """Draw a figure of a trace for a layer, a head and a token's position, all counted from 0; -1 is the last token.

    Raises UsageError for an unknown figure, layer, head or position.

    >>> import cutaway
    >>> trace = cutaway.load(engine="reference").trace("A robot must obey")
    >>> figure = draw(trace, "F40", layer=5, head=1)
    >>> figure
    <F40  Softmax: scores become weights, layer 5, head 1, position 4>
    >>> figure.check.ok
    True
    """
    figure = find_figure(figure_id)
    selection = Selection(layer, head, position).resolve(trace.config, len(trace))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        panels = figure.draw(trace, selection)
    return DrawnFigure(figure, selection, trace.ids, panels, check_figure(figure, trace, selection))
