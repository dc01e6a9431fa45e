"""A task, stored as a TOML file: its template, which tokens are learned, and how outputs are decoded and scored."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, get_type_hints

from cutaway.checks import check_float, check_int, check_top_p
from cutaway.errors import UsageError
from cutaway.tasks.template import Control, Field, Part, parse_template
from cutaway.untrusted import quote

CODECS = ("bpe",)
METRICS = ("bleu", "exact", "rouge")
FLOORS = ("copy", "nearest", "lead-1", "lead-2", "lead-3", "random")  # lead-k: the first k sentences of the source
SIDES = ("left", "right")
FROM = "from"  # the field with the source language
TO = "to"


@dataclass(frozen=True)
class Truncation:
    """Rule for truncating a prompt: tokens are dropped from one `side` of `field`, never from the target.

    A share `target_share` of the context is reserved for the target, whatever its length. So the prompt does not depend
    on the target.
    """

    field: str
    side: str = "right"
    target_share: float = 0.5


@dataclass(frozen=True)
class Decoding:
    """Decoding settings: sampling if the temperature is above 0, else beam search with length penalty `alpha`.

    One beam is greedy decoding. The length is at most `max_new_factor` tokens per token of the prompt plus
    `max_new_extra`. The first `sentences` of an output are kept; 0 keeps all. Raises UsageError if a value is out of
    range.
    """

    beams: int = 1
    alpha: float = 0.6
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    max_new_factor: float = 0.0
    max_new_extra: int = 256
    sentences: int = 0

    def __post_init__(self) -> None:
        check_int("decoding.beams", self.beams, 1, 128)
        check_float("decoding.alpha", self.alpha, 0, 10)
        check_top_p("decoding.top_p", self.top_p)
        check_int("decoding.max_new_extra", self.max_new_extra, 1)

    def max_new_tokens(self, n_prompt: int) -> int:
        """Return the maximum number of tokens to generate after a prompt of `n_prompt` tokens.

        >>> Decoding(max_new_factor=1.5, max_new_extra=10).max_new_tokens(20)
        40
        """
        return int(self.max_new_factor * n_prompt) + self.max_new_extra


@dataclass(frozen=True)
class Task:
    """A task. Raises UsageError if it is invalid.

    `template` joins the fields of an example (see `template.parse_template`). `target` is the field that the model
    writes, given everything before it in the template. The loss covers the target and what follows it ("completion"),
    or all tokens but the first ("all"). With `attention` "prefix" the tokens before the target attend to each other;
    with "causal" only to earlier tokens. `choices` are the values that a field inside a control token's name can have.
    """

    name: str
    template: str
    target: str
    truncation: Truncation
    description: str = ""
    codec: str = "bpe"
    learn: str = "completion"
    attention: str = "causal"
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    decoding: Decoding = Decoding()
    metrics: tuple[str, ...] = ()
    floors: tuple[str, ...] = ()
    toml: str = field(default="", compare=False, repr=False)  # text of the task's file

    def __post_init__(self) -> None:
        _check_choice("codec", self.codec, CODECS)
        _check_choice("learn", self.learn, ("completion", "all"))
        _check_choice("attention", self.attention, ("causal", "prefix"))
        _check_choice("truncation.side", self.truncation.side, SIDES)
        check_float("truncation.target_share", self.truncation.target_share, 0.01, 0.99)
        for metric in self.metrics:
            _check_choice("metrics", metric, METRICS)
        for floor in self.floors:
            _check_choice("floors", floor, FLOORS)
        if self.attention == "prefix" and self.learn == "all":
            raise UsageError('attention "prefix" shows each token of the prompt the next one: learn "completion" only')
        self._check_template()

    def _check_template(self) -> None:
        names = [part.name for part in self.parts if isinstance(part, Field)]
        if len(set(names)) < len(names):
            raise UsageError("template: a field stands in it twice")
        if self.target not in names:
            raise UsageError(f"target: {quote(self.target)} is not a field of the template")
        if isinstance(self.parts[0], Field) and self.parts[0].name == self.target:
            raise UsageError("template: begins with its target; begin with <|endoftext|>")
        if self.truncation.field not in self.sources:
            raise UsageError(f"truncation.field: {quote(self.truncation.field)} is not a field before the target")
        chosen = {part.choice for part in self.parts if isinstance(part, Control) and part.choice}
        if chosen != set(self.choices):
            raise UsageError(f"choices: must be of {', '.join(sorted(chosen)) or 'nothing'}, as in the template")

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the template."""
        return parse_template(self.template)

    @property
    def translates(self) -> bool:
        """True if the task's inputs are the languages `from` and `to`, and a source."""
        return {FROM, TO} <= set(self.choices) and self.sources == ("source",)

    @property
    def languages(self) -> list[dict[str, str]]:
        """The language pairs of a translation task, as its fields `from` and `to`.

        >>> from cutaway.tasks.sources import open_task
        >>> open_task("translation").languages
        [{'from': 'en', 'to': 'de'}, {'from': 'de', 'to': 'en'}]
        """
        return [{FROM: a, TO: b} for a in self.choices[FROM] for b in self.choices[TO] if a != b]

    @property
    def summarizes(self) -> bool:
        """True if the task is scored with ROUGE."""
        return "rouge" in self.metrics

    @property
    def sources(self) -> tuple[str, ...]:
        """The fields before the target.

        >>> from cutaway.tasks.sources import open_task
        >>> open_task("wiki-lead").sources
        ('title', 'body')
        """
        names = [part.name for part in self.parts if isinstance(part, Field)]
        return tuple(names[: names.index(self.target)])

    @property
    def controls(self) -> tuple[str, ...]:
        """The control tokens of the template, each once, in order.

        >>> from cutaway.tasks.sources import open_task
        >>> open_task("translation").controls
        ('<|en|>', '<|de|>', '<|endoftext|>')
        """
        names: list[str] = []
        for part in self.parts:
            if isinstance(part, Control):
                names += [part.named(value) for value in self.choices.get(part.choice, ("",))]
        return tuple(dict.fromkeys(names))

    @classmethod
    def parse(cls, toml: str) -> "Task":
        """Read a task from the text of its file.

        Raises UsageError for an unknown key, suggesting the nearest name, or for missing keys, naming all of them.

        >>> Task.parse('name = "a"\\ntemplat = "{source}"')
        Traceback (most recent call last):
        cutaway.errors.UsageError: unknown key 'templat'; did you mean template?
        """
        try:
            document = tomllib.loads(toml)
        except ValueError as error:
            raise UsageError(f"not TOML: {error}") from None
        _check_keys(list(_tables(cls, document, "")))
        return cls(**_arguments(cls, document, ""), toml=toml)


Table = tuple[type, Mapping[str, object], str]  # its dataclass, its keys, and the prefix of its keys in messages


def _tables(cls: type, document: Mapping[str, object], place: str) -> Iterator[Table]:
    """Yield a table of a TOML file and the nested tables that are arguments of a dataclass."""
    yield cls, document, place
    for name, kind in get_type_hints(cls).items():
        inner = document.get(name)
        if kind in (Truncation, Decoding) and isinstance(inner, dict):
            yield from _tables(kind, inner, f"{place}{name}.")


def _check_keys(tables: Sequence[Table]) -> None:
    missing: list[str] = []
    for cls, document, place in tables:
        known = {entry.name: entry for entry in fields(cls) if entry.name != "toml"}
        for key in document:
            if key not in known:
                near = get_close_matches(key[:80], known, n=1)
                raise UsageError(f"unknown key {quote(place + key)}{f'; did you mean {near[0]}?' if near else ''}")
        needed = [n for n, entry in known.items() if entry.default is MISSING and entry.default_factory is MISSING]
        missing += [place + name for name in needed if name not in document]
    if missing:
        raise UsageError(f"missing key{'s' * (len(missing) > 1)} {', '.join(map(quote, missing))}")


def _arguments(cls: type, document: Mapping[str, object], place: str) -> dict[str, Any]:
    """Convert a table of a TOML file to the arguments of a dataclass."""
    kinds = get_type_hints(cls)
    return {key: _value(kinds[key], value, place + key) for key, value in document.items()}


def _value(kind: Any, value: object, place: str) -> object:
    if kind in (Truncation, Decoding):
        if not isinstance(value, dict):
            raise UsageError(f"{place}: must be a table, not {quote(value)}")
        return kind(**_arguments(kind, value, f"{place}."))
    if kind is str:
        if not isinstance(value, str):
            raise UsageError(f"{place}: must be text, not {quote(value)}")
        return value
    if kind is int:
        return check_int(place, value, 0)
    if kind is float:
        return check_float(place, value, 0, 1e6)
    if kind == tuple[str, ...]:
        return _texts(value, place)
    if not isinstance(value, dict):
        raise UsageError(f"{place}: must be a table, not {quote(value)}")
    return {key: _texts(entry, f"{place}.{key}") for key, entry in value.items()}


def _texts(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(entry, str) for entry in value):
        raise UsageError(f"{place}: must be a list of texts, not {quote(value)}")
    return tuple(value)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} must be {' or '.join(choices)}, not {quote(value)}")
