"""Docstrings as MkDocs shows them. An extension of griffe, which `make docs` loads."""

# mypy: allow-subclassing-any

from typing import Any

import griffe


class Doctests(griffe.Extension):
    """Shows examples as code, and each object once: in the module that defines it."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)

    def on_module(self, *, mod: Any, **_: Any) -> None:
        mod.exports = None  # names that a package passes on belong to its modules


def fenced(docstring: str) -> str:
    """Put each example, from `>>>` to the next blank line, between fences; `>>>` is a quotation in Markdown."""
    lines: list[str] = []
    inside = False
    for line in [*docstring.splitlines(), ""]:
        if not inside and line.startswith(">>> "):
            lines.append("```pycon")
            inside = True
        elif inside and not line.strip():
            lines.append("```")
            inside = False
        lines.append(line)
    return "\n".join(lines[:-1])
