"""Parameters of a request: each is validated when it is read, and unknown ones are an error."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from cutaway.checks import check_float, check_int, show
from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.untrusted import quote

_INT = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_INTS = re.compile(r"[0-9]{1,9}(,[0-9]{1,9})*", re.ASCII)
REQUIRED = object()


class Params:
    """The fields of a JSON object; null counts as missing.

    Every method raises UsageError if the value is invalid, or missing without a default.

    >>> params = Params({"seed": 5, "ids": [1, 2]})
    >>> params.integer("seed", 0), params.integer("top_k", 0, default=40), params.array("ids")
    (5, 40, [1, 2])
    >>> params.end()
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values
        self._known: set[str] = set()

    def __contains__(self, name: str) -> bool:
        self._known.add(name)
        return self._values.get(name) is not None

    def get(self, name: str, default: object = REQUIRED) -> object:
        """Return the value as it was sent.

        >>> Params({"seed": None, "stop": ["END"]}).get("stop"), Params({"seed": None}).get("seed", 7)
        (['END'], 7)
        """
        if name in self:
            return self._values[name]
        if default is REQUIRED:
            raise UsageError(f"{name} is missing")
        return default

    def integer(self, name: str, minimum: int, maximum: int | None = None, default: object = REQUIRED) -> int:
        """Return an integer from `minimum` to `maximum`.

        >>> Params({"top_k": 200}).integer("top_k", 0, 100)
        Traceback (most recent call last):
        cutaway.errors.UsageError: top_k must be from 0 to 100, not 200
        """
        return check_int(name, self.get(name, default), minimum, maximum)

    def number(self, name: str, minimum: float, maximum: float, default: object = REQUIRED) -> float:
        """Return a finite number from `minimum` to `maximum`.

        >>> Params({"temperature": 1}).number("temperature", 0, 100)
        1.0
        """
        return check_float(name, self.get(name, default), minimum, maximum)

    def integers(self, name: str, max_count: int) -> list[int]:
        """Return 1 to `max_count` non-negative integers, which are sent as text with commas between them.

        >>> Params({"keys": "2,3"}).integers("keys", max_count=9)
        [2, 3]
        """
        text = self.text(name)
        if not _INTS.fullmatch(text):
            raise UsageError(f"{name} must be integers such as 2,3, not {show(text)}")
        numbers = [int(number) for number in text.split(",")]
        if len(numbers) > max_count:
            raise UsageError(f"{name} takes at most {max_count} integers, not {len(numbers)}")
        return numbers

    def text(self, name: str, default: object = REQUIRED) -> str:
        """Return a string.

        >>> Params({}).text("text")
        Traceback (most recent call last):
        cutaway.errors.UsageError: text is missing
        """
        value = self.get(name, default)
        if not isinstance(value, str):
            raise UsageError(f"{name} must be text, not {quote(value)}")
        return value

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """Return one of the choices.

        >>> Params({}).choice("format", ("json", "svg"), default="json")
        'json'
        """
        value = self.text(name, default)
        if value not in choices:
            raise UsageError(f"{name} must be one of {', '.join(choices)}, not {quote(value)}")
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean; the default is false.

        >>> Params({"fitting": True}).flag("fitting"), Params({}).flag("fitting")
        (True, False)
        """
        value = self.get(name, False)
        if not isinstance(value, bool):
            raise UsageError(f"{name} must be true or false, not {quote(value)}")
        return value

    def array(self, name: str, default: object = REQUIRED) -> list[object]:
        """Return a list of any values.

        >>> Params({"sel": ["attn.5"]}).array("sel")
        ['attn.5']
        """
        value = self.get(name, default)
        if not isinstance(value, list):
            raise UsageError(f"{name} must be a list, not {quote(value)}")
        return value

    def token_ids(self, name: str, config: GPT2Config) -> list[int]:
        """Return token ids of the vocabulary, at most `n_ctx` of them.

        >>> Params({"ids": [50257]}).token_ids("ids", GPT2Config())
        Traceback (most recent call last):
        cutaway.errors.UsageError: a token id must be from 0 to 50256, not 50257
        """
        ids = self.array(name)
        if len(ids) > config.n_ctx:
            raise UsageError(f"the text is {len(ids)} tokens long; the context holds {config.n_ctx}")
        return [check_int("a token id", token, 0, config.n_vocab - 1) for token in ids]

    def end(self) -> None:
        """Raise UsageError, which suggests the closest known name, if a parameter was sent but not read.

        >>> params = Params({"sede": 5})
        >>> params.integer("seed", 0, default=1)
        1
        >>> params.end()
        Traceback (most recent call last):
        cutaway.errors.UsageError: unknown parameter 'sede'; did you mean seed?
        """
        for name in self._values:
            if name not in self._known:
                close = get_close_matches(name, sorted(self._known), 1)
                suggestion = f"; did you mean {close[0]}?" if close else ""
                raise UsageError(f"unknown parameter {quote(name)}{suggestion}")


class QueryParams(Params):
    """The parameters of a query string, all as text; those in `repeated` may occur more than once.

    >>> QueryParams([("layer", "3")]).integer("layer", 0, 11)
    3
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], repeated: Sequence[str] = ()) -> None:
        pairs = list(pairs)
        counts = Counter(name for name, _ in pairs)
        for name, count in counts.items():
            if count > 1 and name not in repeated:
                raise UsageError(f"{quote(name)} is given {count} times")
        lists = {name: [value for other, value in pairs if other == name] for name in repeated if name in counts}
        super().__init__({**dict(pairs), **lists})

    def integer(self, name: str, minimum: int, maximum: int | None = None, default: object = REQUIRED) -> int:
        value = self.get(name, default)
        number = int(value) if isinstance(value, str) and _INT.fullmatch(value) else value
        return check_int(name, number, minimum, maximum)
