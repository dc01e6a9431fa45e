"""A figure of one trace, drawn in whatever form is wanted, and a trace that can draw itself."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from cutaway.errors import UsageError
from cutaway.figures.content import Panel
from cutaway.figures.document import panel_document
from cutaway.figures.figure import Check, Figure, Selection, check_figure
from cutaway.figures.registry import find_figure
from cutaway.figures.svg import draw_svg
from cutaway.figures.text import draw_text, plain, wrap_prose
from cutaway.trace import Trace

LANGUAGES = ("en", "zh")


@dataclass(frozen=True, repr=False)
class DrawnFigure:
    """A figure with its numbers. In a notebook it shows itself."""

    figure: Figure
    selection: Selection
    ids: tuple[int, ...]
    panels: Sequence[Panel]
    check: Check | None

    def text(self, language: str = "en", columns: int = 80) -> str:
        """For a terminal so many columns wide."""
        lines = draw_text(self.panels, _known(language), columns)
        said = ["", *wrap_prose(self._verdict(language), columns)] if self.check else []
        return "\n".join([self.title(language), "", *lines, *said])

    def svg(self, language: str = "en") -> str:
        """As an SVG file."""
        holds = self.check is None or self.check.ok
        return draw_svg(self.title(language), self.panels, _known(language), self._verdict(language), holds=holds)

    def document(self) -> dict[str, object]:
        """As what JSON can hold, in both languages, every number with its tensor and index."""
        return {
            "id": self.figure.id,
            "title": asdict(self.figure.title),
            "part": self.figure.part,
            "picture": self.figure.picture,
            "status": self.figure.status,
            **asdict(self.selection),
            "ids": self.ids,
            "panels": [panel_document(panel) for panel in self.panels],
            "check": asdict(self.check) if self.check else None,
        }

    def title(self, language: str = "en") -> str:
        """The figure's id and name."""
        return f"{self.figure.id}  {plain(self.figure.title, _known(language))}"

    def _verdict(self, language: str) -> str:
        if self.check is None:
            return ""
        return f"{'✓' if self.check.ok else '✗'} {plain(self.check.statement, language)}"

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        where = f"layer {self.selection.layer}, head {self.selection.head}, position {self.selection.position}"
        return f"<{self.title()}, {where}>"

    def _repr_svg_(self) -> str:
        return self.svg()


def _known(language: str) -> str:
    if language not in LANGUAGES:
        raise UsageError(f"a language is one of {', '.join(LANGUAGES)}, not {language!r:.20}")
    return language


class DrawableTrace(Trace):
    """A trace with the article's figures of it."""

    def figure(self, name: str, layer: int = 0, head: int = 0, position: int = -1) -> DrawnFigure:
        """The figure of that id ("F40") for a layer, a head and a token's position, all counted from 0.

        Raises UsageError where there is no such figure, layer, head or position, and for a figure that is not built.
        """
        figure = find_figure(name)
        if figure.draw is None:
            raise UsageError(f"{figure.id} ({figure.title.en}) is not built yet")
        chosen = Selection(layer, head, position).resolve(self.config, len(self))
        return DrawnFigure(figure, chosen, self.ids, figure.draw(self, chosen), check_figure(figure, self, chosen))
