"""Arguments that commands share, the numbers in them, and JSON output."""

import json
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.checks import show
from cutaway.errors import NonFiniteError, UsageError

if TYPE_CHECKING:
    from argparse import _ActionsContainer  # a parser, or a group of its arguments


Action = Callable[[Namespace], None]

_FACTORS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
SOURCES = 'builtin (see cutaway models), a directory, gpt2 to gpt2-xl (or 124M to 1558M), or "owner/name" on the hub'


def add_json(parser: "_ActionsContainer") -> None:
    """Declare `--json`, which every command has."""
    parser.add_argument("--json", action="store_true", help="write one JSON document and nothing else")


def add_actions(parser: ArgumentParser) -> Callable[[str, Action, str], ArgumentParser]:
    """Declare that a command has actions; return a function that adds one: its name, its handler, its description.

    Each action has `--json`, and the examples of the command that name the action.

    >>> from argparse import ArgumentParser
    >>> parser = ArgumentParser("cutaway music", epilog="examples:\\n  cutaway music roll piece.mid -o piece.svg")
    >>> roll = add_actions(parser)("roll", print, "Draw the piano roll of a MIDI file.")
    >>> roll.prog, roll.description, parser.parse_args(["roll", "--json"]).action is print
    ('cutaway music roll', 'Draw the piano roll of a MIDI file.', True)
    """
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def add(name: str, action: Action, description: str) -> ArgumentParser:
        examples = (parser.epilog or "").splitlines()
        chosen: ArgumentParser = actions.add_parser(
            name,
            help=description[0].lower() + description[1:].removesuffix("."),
            description=description,
            epilog="\n".join([*examples[:1], *(line for line in examples[1:] if f"{parser.prog} {name}" in line)]),
            formatter_class=parser.formatter_class,
            allow_abbrev=False,
        )
        chosen.set_defaults(action=action)
        add_json(chosen)
        return chosen

    return add


def write_json(document: Mapping[str, object] | Sequence[Mapping[str, object]]) -> None:
    """Print the document on one line of standard output. Raises NonFiniteError for numbers that JSON lacks."""
    try:
        line = json.dumps(document, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise NonFiniteError("the result holds numbers that are not finite, which JSON lacks") from None
    print(line)


def argument_pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that finds Python's arguments in a message.

    Names of several words are found anywhere except in a path. Names that are also words (`hold`) are found where they
    can only be arguments: at the beginning, before "must" or "needs", and before their value in brackets.

    >>> argument_pattern(["n_ctx", "data", "hold"]).findall("data must fit n_ctx and hold (2), unlike data (1)/n_ctx")
    ['data', 'n_ctx', 'hold']
    """
    every = "|".join(names)
    compound = "|".join(name for name in names if "_" in name) or "(?!)"  # which nothing matches
    value = r" \([\d.]+\)(?: must | and |,|$)"
    return re.compile(
        rf"^(?:{every})(?= must | needs )|(?<![\w/.'-])(?:(?:{compound})(?![\w/.:'-])|(?:{every})(?={value}))"
    )


def name_flags(message: str, flags: Mapping[str, str]) -> str:
    """Name the flags in a message that begins with a Python argument; any other message is about something else.

    >>> name_flags("n_best (5) must be at most beams (4)", {"n_best": "--n-best", "beams": "--beams"})
    '--n-best (5) must be at most --beams (4)'
    >>> name_flags("run.toml: n_best must be a whole number", {"n_best": "--n-best"})
    'run.toml: n_best must be a whole number'
    """
    pattern = argument_pattern(flags)
    return pattern.sub(lambda match: flags[match[0]], message) if pattern.match(message) else message


def add_model(parser: ArgumentParser, default: str = "builtin") -> None:
    """Declare the model, its precision and its engine."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", metavar="NAME", default=default, help=f"{SOURCES}; default: %(default)s")
    group.add_argument("--dtype", help="precision of the weights: float32, float16, bfloat16, int8; default: as stored")
    group.add_argument("--engine", help="cpu, pytorch or reference; default: cpu, or reference if that is not built")
    group.add_argument("--threads", type=int, metavar="N", help="default: as many as the engine finds best")


def read_count(name: str, given: str) -> float:
    """Read a number with a suffix for thousands, millions, billions or trillions. Raises UsageError for other text.

    >>> read_count("tokens", "10B"), read_count("tokens", "1,500"), read_count("tokens", "2.5e6")
    (10000000000.0, 1500.0, 2500000.0)
    """
    factor = _FACTORS.get(given[-1:].upper(), 1.0)
    digits = (given[:-1] if factor > 1 else given).strip().replace(",", "")
    try:
        return float(digits) * factor
    except ValueError:
        raise UsageError(f"{name} must be a number, such as 300000, 10M or 2.5B, not {show(given)}") from None


def add_prompt(parser: ArgumentParser) -> None:
    """Declare the prompt: an argument, a pipe, a file, or token ids."""
    group = parser.add_mutually_exclusive_group()
    meaning = "text; - reads standard input, and so does a pipe without a PROMPT"
    group.add_argument("prompt", nargs="?", metavar="PROMPT", help=meaning)
    group.add_argument("--file", type=Path, metavar="PATH", help="read the prompt from a file")
    group.add_argument("--ids", action="extend", type=int, nargs="+", metavar="ID", help="a prompt of token ids")
    parser.add_argument(
        "--special", action="store_true", help="encode <|endoftext|> in the prompt as the token, not as plain text"
    )
