"""Texts, prompts and token ids from an argument, a file or a pipe."""

import re
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.checks import show
from cutaway.cli.terminal import DIM, note, style
from cutaway.errors import UsageError

if TYPE_CHECKING:
    from cutaway.model import Model, Prompt
    from cutaway.tasks import TaskEncoder

BOM = "\ufeff"  # begins the text files of some Windows programs, and is not part of their text
_JSON_MARKS = str.maketrans("{[:,]}", " " * 6)
_JSON_NAME = re.compile(r'"\w+"')  # such as "ids"


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
    note(f"{name} is too long for a context of {encoder.n_ctx:,}: its {end} {n_cut:,} tokens are not read")


def special_ids(model: "Model", options: Namespace, prompt: "Prompt") -> "Prompt":
    """Return the prompt, or with `--special` its token ids, with names of control tokens encoded as these tokens."""
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


def typed_lines(guide: str) -> Iterator[str]:
    """Yield the lines of standard input without line ends; on a terminal prompt for each, after a line of instructions.

    Invalid UTF-8 is kept as in arguments: see `utf8`. On a terminal, Ctrl-C clears what was typed and a second one
    quits, so that one meant for a text that has just ended does not.
    """
    if not sys.stdin.isatty():
        for number, line in enumerate(sys.stdin):
            yield line.rstrip("\r\n").removeprefix("" if number else BOM)
        return
    print(style(guide, DIM, sys.stderr), file=sys.stderr)
    with suppress(ImportError):
        import readline  # noqa: F401  # gives input() line editing and a history
    was_interrupted = False
    while True:
        try:
            line = input("> " if sys.stdout.isatty() else "")
        except EOFError:
            print(file=sys.stderr)
            return
        except KeyboardInterrupt:
            if was_interrupted:
                raise
            print("\n" + style("Ctrl-C again or Ctrl-D ends.", DIM, sys.stderr), file=sys.stderr)
            was_interrupted = True
            continue
        was_interrupted = False
        yield line


def read_ids(words: Sequence[str]) -> list[int]:
    """Read token ids from arguments, or if there are none from standard input, which may also be a JSON list or the
    output of `encode --json`. Raises UsageError for anything else.

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
    """Validate text from the command line, where Python represents invalid UTF-8 as surrogates. Raises UsageError."""
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
