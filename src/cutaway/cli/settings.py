"""The settings of a configuration as flags: a flag for each of its fields, in its groups."""

from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Container
from dataclasses import Field, fields
from typing import Any

from cutaway.training.config import convert, value_type


def add_settings(parser: ArgumentParser, config: type, without: Container[str] = ()) -> None:
    """Declare a flag for each field of a configuration but those `without` one."""
    groups: dict[str, Any] = {}
    for setting in fields(config):
        if setting.name not in without:
            title = setting.metadata["group"]
            if title not in groups:
                groups[title] = parser.add_argument_group(title)
            _add_setting(groups[title], setting)


def _add_setting(group: Any, setting: "Field[Any]") -> None:
    flag = "--" + setting.name.replace("_", "-")
    meaning = setting.metadata["help"]
    kind = value_type(setting)
    if setting.default not in (None, (), ""):
        default = " ".join(map(str, setting.default)) if isinstance(setting.default, tuple) else setting.default
        meaning += f"; default: {default}"
    meaning = meaning.replace("%", "%%")
    if kind is bool:
        group.add_argument(flag, action=BooleanOptionalAction, default=SUPPRESS, help=meaning)
    elif kind in (int, float, str):
        group.add_argument(flag, default=SUPPRESS, metavar="NAME" if kind is str else "N", help=meaning)
    else:
        group.add_argument(
            flag, nargs="+", default=SUPPRESS, metavar="DIR" if setting.name == "data" else "X", help=meaning
        )


def read_settings(options: Namespace, config: type) -> dict[str, Any]:
    """Return the values of the flags that were given. Raises UsageError for one of the wrong type."""
    given = vars(options)
    return {setting.name: convert(setting, given[setting.name]) for setting in fields(config) if setting.name in given}
