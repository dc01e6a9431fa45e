"""Templates: how the fields of an example are joined into one row of tokens.

    <|{from}|>{ source}<|{to}|>{ target}<|endoftext|>

A name between `<|` and `|>` is a control token; a field in the name chooses among several tokens. `{source}` is a
field. `{ source}` is a field after a space, since GPT-2's tokenizer joins a word with the space before it. The rest is
text. Each part is encoded separately, so no token spans two parts, and the content of a field is always text.
"""

import re
from dataclasses import dataclass

from cutaway.errors import UsageError
from cutaway.untrusted import quote

_PART = re.compile(
    r"<\|(?P<control>[^|<>]+)\|>|\{(?P<space> ?)(?P<field>[a-z_]+)\}|(?P<text>[^{}<]+|<)|(?P<bad>.)", re.DOTALL
)
_CHOICE = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Control:
    """A control token by name, such as `<|en|>`; `choice` is the field that replaces `{}` in the name, if any."""

    name: str
    choice: str = ""

    def named(self, value: str) -> str:
        """Return the name with a value of the choice.

        >>> Control("<|{}|>", "to").named("de")
        '<|de|>'
        """
        return self.name.replace("{}", value)


@dataclass(frozen=True)
class Field:
    """The text of a field; with `after_space` it follows a space that is not part of the field."""

    name: str
    after_space: bool = False


@dataclass(frozen=True)
class Text:
    """Text that is the same in every example."""

    text: str


Part = Control | Field | Text


def parse_template(template: str) -> tuple[Part, ...]:
    """Parse a template. Raises UsageError if it is invalid.

    >>> parse_template("<|{from}|>{ source}")
    (Control(name='<|{}|>', choice='from'), Field(name='source', after_space=True))
    >>> parse_template("{body}\\nTL;DR:{")
    Traceback (most recent call last):
    cutaway.errors.UsageError: template: unexpected '{' at character 13: a field is {name} or { name}
    """
    parts: list[Part] = []
    for match in _PART.finditer(template):
        if match["bad"]:
            place = f"{quote(match['bad'])} at character {match.start()}"
            raise UsageError(f"template: unexpected {place}: a field is {{name}} or {{ name}}")
        parts.append(_part(match))
    return tuple(parts)


def _part(match: re.Match[str]) -> Part:
    if match["field"]:
        return Field(match["field"], match["space"] == " ")
    if match["text"]:
        return Text(match["text"])
    chosen = _CHOICE.search(match["control"])
    return Control(f"<|{_CHOICE.sub('{}', match['control'])}|>", chosen[1] if chosen else "")
