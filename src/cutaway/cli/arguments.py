"""Arguments that commands share: declaring them, and reading what they name."""

import json
import re
import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.checks import show
from cutaway.cli import terminal
from cutaway.errors import CheckpointError, NonFiniteError, UsageError

if TYPE_CHECKING:
    from argparse import _ActionsContainer  # a parser, or a group of its arguments

    from cutaway.config import GPT2Config
    from cutaway.model import Model, Prompt
    from cutaway.tasks import Task, TaskEncoder
    from cutaway.tokenizer.reading import FileTokenizer

Action = Callable[[Namespace], None]

BOM = "\ufeff"  # begins the text files of some programs of Windows, and is no part of their text
_JSON_MARKS = str.maketrans("{[:,]}", " " * 6)
_JSON_NAME = re.compile(r'"\w+"')  # such as "ids"
_FACTORS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
SOURCES = 'builtin (see cutaway models), a directory, gpt2 to gpt2-xl (or 124M to 1558M), or "owner/name" on the hub'


def add_json(parser: "_ActionsContainer") -> None:
    """Declare `--json`, which every command has."""
    parser.add_argument("--json", action="store_true", help="write one JSON document and nothing else")


def add_actions(parser: ArgumentParser) -> Callable[[str, Action, str], ArgumentParser]:
    """Declare that a command has actions, and return what adds one: its name, what runs it, and its description.

    An action has `--json`, and those of the command's examples that name it.

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


def add_model(parser: ArgumentParser, default: str = "builtin") -> None:
    """Declare the model, its precision and its engine."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", metavar="NAME", default=default, help=f"{SOURCES}; default: %(default)s")
    group.add_argument("--dtype", help="precision of the weights: float32, float16, bfloat16, int8; default: as stored")
    group.add_argument("--engine", help="cpu, pytorch or reference; default: cpu, or reference where that is not built")
    group.add_argument("--threads", type=int, metavar="N", help="default: as many as the engine finds best")


def load_model(options: Namespace, name: str | None = None) -> "Model":
    """Load the model of `add_model`'s arguments, or the one called `name` with the same options; warnings become lines
    on standard error.
    """
    from cutaway.loading import load

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        model = load(name or options.model, dtype=options.dtype, engine=options.engine, threads=options.threads)
    for warning in caught:
        terminal.note(f"warning: {warning.message}")
    return model


def read_count(name: str, given: str) -> float:
    """Read a number with a suffix for thousands, millions, billions or trillions. Raises UsageError for another.

    >>> read_count("tokens", "10B"), read_count("tokens", "1,500"), read_count("tokens", "2.5e6")
    (10000000000.0, 1500.0, 2500000.0)
    """
    factor = _FACTORS.get(given[-1:].upper(), 1.0)
    digits = (given[:-1] if factor > 1 else given).strip().replace(",", "")
    try:
        return float(digits) * factor
    except ValueError:
        raise UsageError(f"{name} must be a number, such as 300000, 10M or 2.5B, not {show(given)}") from None


def read_share(name: str, given: str) -> float:
    """Read a share, in percent or as a number from 0 to 1. Raises UsageError for what is no number.

    >>> read_share("mfu", "40%"), read_share("mfu", "0.4")
    (0.4, 0.4)
    """
    try:
        return float(given.removesuffix("%")) / (100 if given.endswith("%") else 1)
    except ValueError:
        raise UsageError(f"{name} must be a share, such as 40% or 0.4, not {show(given)}") from None


def describe(model: "Model") -> dict[str, object]:
    """Return the fields that identify the model in a JSON document."""
    return {"model": model.name, "engine": model.engine.name, "dtype": model.engine.dtype}


def find_config(source: str) -> "tuple[str, GPT2Config]":
    """Return the name of a model, as `load` gives it, and its shape; those of OpenAI are known without their files."""
    from cutaway.config import published

    known = published(source)
    if known and not Path(source).is_dir():
        return known.name, known.config
    from cutaway.checkpoints import open_source  # which needs NumPy

    checkpoint = open_source(source)
    return checkpoint.name, checkpoint.config


def read_tokenizer(name: str | None) -> "FileTokenizer":
    """Read the tokenizer of a model, or of a directory with nothing else in it; None is GPT-2's own.

    For that, by any of its models' names, nothing is fetched. Raises CheckpointError for a model without one.
    """
    from cutaway.config import published
    from cutaway.tokenizer.fast import Tokenizer

    if name is None:
        return Tokenizer.gpt2()
    path = Path(name)
    if path.is_dir() and not (path / "config.json").exists():
        from cutaway.tokenizer.reading import read_tokenizer as read_beside

        return read_beside(path)
    if published(name) and not path.is_dir():
        return Tokenizer.gpt2()
    from cutaway.checkpoints import open_source  # which needs NumPy

    checkpoint = open_source(name)
    tokenizer = checkpoint.tokenizer()
    if tokenizer is None:
        raise CheckpointError(f"{checkpoint.name} has no tokenizer files")
    return tokenizer


def add_prompt(parser: ArgumentParser) -> None:
    """Declare the prompt: an argument, a pipe, a file, or token ids."""
    group = parser.add_mutually_exclusive_group()
    meaning = "text; - is standard input, and so is a pipe without a PROMPT"
    group.add_argument("prompt", nargs="?", metavar="PROMPT", help=meaning)
    group.add_argument("--file", type=Path, metavar="PATH", help="read the prompt from a file")
    group.add_argument("--ids", action="extend", type=int, nargs="+", metavar="ID", help="a prompt of token ids")
    parser.add_argument(
        "--special", action="store_true", help="<|endoftext|> in the prompt is the token, not plain text"
    )


def find_task(model: "Model", source: str) -> "Task":
    """Return the task that a model has learned if it has that name, or else the one that is called so.

    Raises UsageError for one that is unknown or invalid.
    """
    from cutaway.tasks import open_task

    own = model.task
    return own if own is not None and own.name == source else open_task(source)


def command_of(name: str, task: "Task | None" = None, *, is_music: bool = False) -> str:
    """Return the command that uses a model of a name: that of the task that it has learned, if it has learned one.

    >>> from cutaway.tasks import open_task
    >>> command_of("run/model", open_task("translation")), command_of("run/model", open_task("reverse"))
    ('cutaway translate --model run/model', 'cutaway generate --task reverse --model run/model')
    """
    if is_music:
        return f"cutaway music generate --model {name} -o piece.mid"
    if task is None:
        return f"cutaway generate --model {name}"
    if task.translates:
        return f"cutaway translate --model {name}"
    if "rouge" in task.metrics:
        return f"cutaway summarize --model {name}"
    return f"cutaway generate --task {task.name} --model {name}"


def command_of_run(directory: Path) -> str:
    """Return the command that uses the model that a run has written to a directory."""
    from cutaway.checkpoints.checkpoint import read_task
    from cutaway.music.codec_file import CODEC
    from cutaway.tasks import Task

    toml = read_task(directory)
    is_music = (directory / CODEC).exists()
    return command_of(terminal.safe(str(directory)), Task.parse(toml) if toml else None, is_music=is_music)


def read_prompt(options: Namespace) -> str | list[int]:
    """Read the prompt of `add_prompt`'s arguments, without one line end at the end of a file; "" starts a new text."""
    if options.ids is not None:
        return list(options.ids)
    if options.file is not None:
        return _without_line_end(read_file(options.file))
    if options.prompt == "-" or (options.prompt is None and not sys.stdin.isatty()):
        return _without_line_end(read_stdin())
    return utf8(options.prompt or "", "the prompt")


def read_text(options: Namespace, verb: str, hint: str) -> str:
    """Read the text of `text` or `--file`: "-" is standard input, and so is a pipe without a text.

    Raises UsageError, with the hint, if there is neither.
    """
    if options.file is not None:
        return read_file(options.file)
    if options.text == "-" or (options.text is None and not sys.stdin.isatty()):
        return read_stdin()
    if options.text is None:
        raise UsageError(f"nothing to {verb}: {hint}")
    return utf8(options.text, "the text")


def note_cut(encoder: "TaskEncoder", name: str, n_cut: int) -> None:
    """Say on standard error how many tokens of a text the context has no room for."""
    end = "last" if encoder.task.truncation.side == "right" else "first"
    terminal.note(f"{name} is too long for a context of {encoder.n_ctx:,}: its {end} {n_cut:,} tokens are not read")


def special_ids(model: "Model", options: Namespace, prompt: "Prompt") -> "Prompt":
    """Return the prompt, or with `--special` its token ids, in which the names of control tokens are these tokens."""
    if not options.special or not isinstance(prompt, str):
        return prompt
    return model.encode(prompt, allow_special=True)


def _without_line_end(text: str) -> str:
    """Remove one line end, of Unix or of Windows."""
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def read_file(path: Path) -> str:
    """Read a text file without the byte order mark of Windows. Raises UsageError unless it can be read and is UTF-8."""
    try:
        return _strict(path.read_bytes(), str(path)).removeprefix(BOM)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def read_stdin() -> str:
    """Read standard input, without the byte order mark of Windows. Raises UsageError if it is not UTF-8."""
    return utf8(sys.stdin.read(), "standard input").removeprefix(BOM)


def read_ids(words: Sequence[str]) -> list[int]:
    """Read token ids from arguments, or without any from standard input, where a JSON list or what `encode --json`
    writes will do. Raises UsageError for anything else.

    >>> read_ids(["32", "[9379, 1276]"]), read_ids(['{"codec": "perf388", "ids": [60]}'])
    ([32, 9379, 1276], [60])
    """
    given = (" ".join(words) if words else read_stdin()).translate(_JSON_MARKS).split()
    return [_id(word) for word in given if not _JSON_NAME.fullmatch(word)]


def _id(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 20):
        raise UsageError(f"{show(word)} is not a token id")
    return int(word)


def utf8(text: str, name: str) -> str:
    """Validate text from the command line, where Python smuggles invalid UTF-8 as surrogates. Raises UsageError."""
    try:
        return _strict(text.encode("utf-8", "surrogateescape"), name)
    except UnicodeEncodeError as error:  # a surrogate that stands for no byte
        raise UsageError(f"{name} is not text at character {error.start}") from None


def _strict(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # what PowerShell and Notepad call Unicode
            raise UsageError(f"{name} is UTF-16; save it as UTF-8") from None
        raise UsageError(f"{name} is not UTF-8 at byte {error.start}") from None
