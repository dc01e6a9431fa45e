"""Sentences in both languages that share their numbers, each of which names its tensor or its formula."""

from collections.abc import Iterator, Sequence
from string import Formatter
from typing import Union

from cutaway.figures.panels import LocalizedText, Number, localize

Value = Union[Number, Sequence[Number], "Statement", LocalizedText, str]


class Statement:
    """A template in English and in Chinese, and the values that both are filled with.

    `{name}` stands for a value: a number, several numbers, another statement or text. In English `{name:token}` adds
    the noun to a number, in the plural unless the number is 1. Text holds names of tensors, or words that depend on the
    result, but no numbers of the model.

    >>> statement = Statement("{n:token} in use", "用了 {n} 个词元", n=Number(1024, "len(ids)", form=","))
    >>> statement.en
    '1,024 tokens in use'
    >>> statement.zh
    '用了 1,024 个词元'
    >>> [number.tensor for number in statement.numbers()]
    ['len(ids)']
    """

    def __init__(self, en: str, zh: str, /, **values: Value) -> None:
        self._templates = {"en": en, "zh": zh}
        self._values = values

    @property
    def en(self) -> str:
        """The sentence in English."""
        return self.text("en")

    @property
    def zh(self) -> str:
        """The sentence in Chinese."""
        return self.text("zh")

    def text(self, language: str) -> str:
        """Fill the template of a language, "en" or "zh".

        >>> Statement("{n:token}", "{n} 个词元", n=Number(1, "len(ids)", form=",")).text("zh")
        '1 个词元'
        """
        values = {name: _localize(value, language) for name, value in self._values.items()}
        return _FORMATTER.vformat(self._templates[language], (), values)

    def numbers(self) -> Iterator[Number]:
        """Yield all numbers of the sentence, including those of statements in it.

        >>> list(Statement("{n:token}", "{n} 个词元", n=Number(1, "len(ids)", form=",")).numbers())
        [Number(value=1, tensor='len(ids)', index=(), form=',')]
        """
        for value in self._values.values():
            if isinstance(value, Number):
                yield value
            elif isinstance(value, Statement):
                yield from value.numbers()
            elif isinstance(value, Sequence) and not isinstance(value, str):
                yield from value

    def __repr__(self) -> str:
        return f"Statement({self.en!r})"


class _Formatter(Formatter):
    def format_field(self, value: object, format_spec: str) -> str:
        if not isinstance(value, Number):
            return str(value)
        text = _number_text(value)
        return f"{text} {format_spec}{'' if value.value == 1 else 's'}" if format_spec else text


_FORMATTER = _Formatter()


def _localize(value: Value, language: str) -> Number | str:
    if isinstance(value, Number | str):
        return value
    if isinstance(value, Statement):
        return value.text(language)
    if isinstance(value, LocalizedText):
        return localize(value, language)
    return ("、" if language == "zh" else ", ").join(map(_number_text, value))


def _number_text(number: Number) -> str:
    shown = number.text
    return shown.replace("e+", "e") if number.form == "g" else shown  # −1e10, as in the prose of F36 and F39
