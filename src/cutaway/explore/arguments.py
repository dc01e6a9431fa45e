"""What a request asks for, by name: an argument is checked when it is taken, and one that nobody takes is an error."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from cutaway.checks import check_float, check_int
from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.untrusted import quote

_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_WHOLES = re.compile(r"[0-9]{1,9}(,[0-9]{1,9})*", re.ASCII)
REQUIRED = object()


class Arguments:
    """The fields of a JSON object; null is as if a field were not there."""

    def __init__(self, given: Mapping[str, object]) -> None:
        self._given = given
        self._known: set[str] = set()

    def __contains__(self, name: str) -> bool:
        self._known.add(name)
        return self._given.get(name) is not None

    def take(self, name: str, default: object = REQUIRED) -> object:
        """The argument as it was given."""
        if name in self:
            return self._given[name]
        if default is REQUIRED:
            raise UsageError(f"{name} is missing")
        return default

    def whole(self, name: str, least: int, most: int | None = None, default: object = REQUIRED) -> int:
        """A whole number from `least` to `most`."""
        return check_int(name, self.take(name, default), least, most)

    def real(self, name: str, least: float, most: float, default: object = REQUIRED) -> float:
        """A number from `least` to `most`."""
        return check_float(name, self.take(name, default), least, most)

    def wholes(self, name: str, most: int) -> list[int]:
        """At least one and at most so many whole numbers from 0 on, with commas between them."""
        written = self.text(name)
        if not _WHOLES.fullmatch(written):
            raise UsageError(f"{name} must be whole numbers such as 2,3, not {written!r:.60}")
        numbers = [int(number) for number in written.split(",")]
        if len(numbers) > most:
            raise UsageError(f"{name} can be {most} at a time, not {len(numbers)}")
        return numbers

    def text(self, name: str, default: object = REQUIRED) -> str:
        """A piece of text."""
        value = self.take(name, default)
        if not isinstance(value, str):
            raise UsageError(f"{name} must be text, not {quote(value)}")
        return value

    def one_of(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of a few words."""
        value = self.text(name, default)
        if value not in choices:
            raise UsageError(f"{name} must be one of {', '.join(choices)}, not {quote(value)}")
        return value

    def flag(self, name: str) -> bool:
        """True or false, which is the default."""
        value = self.take(name, False)
        if not isinstance(value, bool):
            raise UsageError(f"{name} must be true or false, not {quote(value)}")
        return value

    def items(self, name: str, default: object = REQUIRED) -> list[object]:
        """A list."""
        value = self.take(name, default)
        if not isinstance(value, list):
            raise UsageError(f"{name} must be a list, not {quote(value)}")
        return value

    def token_ids(self, name: str, config: GPT2Config) -> list[int]:
        """Token ids of a text that the context can hold."""
        ids = self.items(name)
        if len(ids) > config.n_ctx:
            raise UsageError(f"the text is {len(ids)} tokens long; the context holds {config.n_ctx}")
        return [check_int("a token id", token, 0, config.n_vocab - 1) for token in ids]

    def end(self) -> None:
        """Raises UsageError, with the nearest name that there is, where something was given that nobody took."""
        for name in self._given:
            if name not in self._known:
                near = get_close_matches(name, sorted(self._known), 1)
                raise UsageError(f"there is no {quote(name)} here{f'; did you mean {near[0]}?' if near else ''}")


class Query(Arguments):
    """The arguments in an address, all of them text; those in `repeated` may stand there more than once."""

    def __init__(self, pairs: Iterable[tuple[str, str]], repeated: Sequence[str] = ()) -> None:
        pairs = list(pairs)
        counts = Counter(name for name, _ in pairs)
        for name, count in counts.items():
            if count > 1 and name not in repeated:
                raise UsageError(f"{quote(name)} is given {count} times")
        lists = {name: [value for other, value in pairs if other == name] for name in repeated if name in counts}
        super().__init__({**dict(pairs), **lists})

    def whole(self, name: str, least: int, most: int | None = None, default: object = REQUIRED) -> int:
        value = self.take(name, default)
        number = int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value
        return check_int(name, number, least, most)
