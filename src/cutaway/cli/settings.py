"""The settings of a configuration as flags: a flag for each of its fields, in its groups."""

import re
from argparse import SUPPRESS, Action, ArgumentError, ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from cutaway.checks import read_share
from cutaway.cli.arguments import argument_pattern
from cutaway.errors import UsageError
from cutaway.training.config import convert, flag, value_type
from cutaway.training.finetune_config import FineTuneConfig
from cutaway.untrusted import quote_path


def add_settings(parser: ArgumentParser, config: type, without: Container[str] = ()) -> None:
    """Declare a flag for each field of a configuration except those in `without`."""
    groups: dict[str, Any] = {}
    for setting in fields(config):
        if setting.name not in without:
            title = setting.metadata["group"]
            if title not in groups:
                groups[title] = parser.add_argument_group(title)
            _add_setting(groups[title], setting)


def _add_setting(group: Any, setting: "Field[Any]") -> None:
    option = flag(setting.name)
    meaning = setting.metadata["help"]
    kind = value_type(setting)
    if setting.default not in (None, (), ""):
        default = " ".join(map(str, setting.default)) if isinstance(setting.default, tuple) else setting.default
        meaning += f"; default: {default}"
    meaning = meaning.replace("%", "%%")
    if kind is bool:
        group.add_argument(option, action=BooleanOptionalAction, default=SUPPRESS, help=meaning)
    elif kind in (int, float, str):
        metavar = "NAME" if kind is str else "N"
        group.add_argument(option, action=_StoreOnce, default=SUPPRESS, metavar=metavar, help=meaning)
    else:
        metavar = "DIR" if setting.name == "data" else "X"
        group.add_argument(option, action="extend", nargs="+", default=SUPPRESS, metavar=metavar, help=meaning)


class _StoreOnce(Action):
    """Stores a value; refuses a second one, which would otherwise silently replace it."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option: str | None = None,
    ) -> None:
        if hasattr(namespace, self.dest):
            raise ArgumentError(self, "given twice")
        setattr(namespace, self.dest, values)


def read_settings(options: Namespace, config: type) -> dict[str, Any]:
    """Return the values of the flags that were given. Raises UsageError, which names the flag, for a wrong type."""
    given = vars(options)
    with named_as_given(config):
        return {
            setting.name: convert(setting, _parse(setting, given[setting.name]))
            for setting in fields(config)
            if setting.name in given
        }


def _parse(setting: "Field[Any]", given: object) -> object:
    """Read the numbers that were typed for a setting; other text, such as 30m, is left to `convert`."""
    if isinstance(given, list):
        return [_parse(setting, item) for item in given]
    if not isinstance(given, str):
        return given
    kind = value_type(setting)
    if setting.metadata["share"]:
        return read_share(setting.name, given)
    if kind is int and re.fullmatch(r"-?\d{1,18}", given):
        return int(given)
    if kind in (float, tuple[float, ...]):
        with suppress(ValueError):
            return float(given)
    return given


@contextmanager
def named_as_given(config: type, path: Path | None = None, keys: Container[str] = ()) -> Iterator[None]:
    """Enter a context in which a UsageError names settings as they were given: by `keys` of a file, or by their flags.

    >>> from cutaway.training.config import TrainingConfig
    >>> with named_as_given(TrainingConfig, Path("small.toml"), keys=["batch_size"]):
    ...     TrainingConfig(batch_size=4, micro_batch_size=8)
    Traceback (most recent call last):
    cutaway.errors.UsageError: small.toml: --micro-batch-size (8) must be at most batch_size (4)
    """
    pattern = argument_pattern([setting.name for setting in fields(config)])
    try:
        yield
    except UsageError as error:
        found = [match[0] for match in pattern.finditer(str(error))]
        message = pattern.sub(lambda match: match[0] if match[0] in keys else flag(match[0]), str(error))
        if path is not None and any(name in keys for name in found):
            message = f"{quote_path(path)}: {message}"
        raise UsageError(message) from None


def fine_tune_config(options: Namespace) -> FineTuneConfig:
    """Return the configuration of the flags. Raises UsageError, which names the flag, if it is invalid."""
    settings = read_settings(options, FineTuneConfig)
    with named_as_given(FineTuneConfig):
        return FineTuneConfig(**settings)
