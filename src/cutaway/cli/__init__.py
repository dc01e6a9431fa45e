"""The command line: `cutaway COMMAND ...`. Each command is a module of this folder with `add_arguments` and `run`.

Only the chosen command's module is imported, and a command imports what it needs when it needs it, so that the first
token comes soon. Whatever goes wrong becomes one line on standard error and an exit code.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

import cutaway
from cutaway.cli import terminal
from cutaway.errors import CutawayError, EngineError, UsageError

COMMANDS = {
    "generate": "continue a text",
    "next": "show the likeliest next tokens",
    "params": "count the parameters, beside the article's table",
    "tokenizer": "turn text into token ids and back, or explain how",
    "models": "list the models there are",
    "convert": "write a checkpoint in another precision or layout",
    "bench": "measure how fast a model runs here",
}

DESCRIPTION = "GPT-2 with the casing cut open: run it, and look inside."
EPILOG = """\
example:
  cutaway generate "A robot must obey the orders given it"

Every command has --help, and --json for one JSON document on standard output.

exit codes:
  0    done
  1    something outside failed, such as a full disk
  2    an argument is wrong
  3    a checkpoint or its tokenizer is missing or not sound
  4    the hub cannot give the model
  5    the engine cannot run here
  130  interrupted with Ctrl-C
  141  the reader of standard output went away"""

OUTSIDE, INTERRUPTED, BROKEN_PIPE = 1, 130, 141  # the last two are 128 + the signal's number, as shells have it


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are errors of ours: one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name (the process's own by default) and return its exit code."""
    terminal.prepare_streams()
    given = sys.argv[1:] if arguments is None else list(arguments)
    code = _guarded(lambda: _run(given))
    flushed = _guarded(_flush)
    return code or flushed


def _run(arguments: Sequence[str]) -> None:
    if arguments and arguments[0] in COMMANDS:
        command = import_module(f"cutaway.cli.{arguments[0]}")
        command.run(make_parser(arguments[0]).parse_args(arguments[1:]))
    else:
        _front_parser().parse_args(arguments or ["--help"])


def make_parser(name: str) -> Parser:
    """The parser of one command's arguments."""
    parser = Parser(f"cutaway {name}", formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    import_module(f"cutaway.cli.{name}").add_arguments(parser)
    return parser


def _front_parser() -> Parser:
    """What `cutaway` says without a command: its help, its version, or that there is no such command."""
    listed = "\n".join(f"  {name:<11}{summary}" for name, summary in COMMANDS.items())
    parser = Parser(
        prog="cutaway",
        usage="cutaway [-h] [--version] COMMAND ...",
        description=f"{DESCRIPTION}\n\ncommands:\n{listed}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cutaway {cutaway.__version__}")
    parser.add_argument("command", choices=COMMANDS, help=argparse.SUPPRESS)
    return parser


def _guarded(action: Callable[[], None]) -> int:
    """Do something, and turn what goes wrong in it into one line and an exit code."""
    try:
        action()
    except SystemExit as stop:  # argparse, after --help
        return int(stop.code or 0)
    except CutawayError as error:
        return _complain(str(error), error.exit_code)
    except MemoryError:
        return _complain("not enough memory; try a smaller model, or --dtype int8", EngineError.exit_code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:
        return _complain(": ".join(str(part) for part in (error.filename, error.strerror or error) if part), OUTSIDE)
    return 0


def _complain(message: str, code: int) -> int:
    with suppress(OSError):  # standard error may be gone too
        terminal.note(message)
    return code


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        # What cannot be written goes nowhere; the interpreter would try again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
