"""Command line: `cutaway COMMAND ...`. Each command is a module of this package with `add_arguments` and `run`.

Only the module of the chosen command is imported, and a command imports its dependencies when it needs them, to keep
the time to the first token short. Errors become one line on standard error and an exit code.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn, TextIO

import cutaway
from cutaway.cli import terminal
from cutaway.errors import UsageError, guarded

COMMANDS = {
    "generate": "continue a text",
    "chat": "talk with a model that was fine-tuned on messages",
    "translate": "translate sentences, line by line",
    "summarize": "summarize a text",
    "next": "show the most likely next tokens",
    "figure": "draw a figure of the article from the model",
    "explore": "look inside the model, in a browser",
    "music": "play music: generate, continue, render, and look inside",
    "params": "count the parameters, beside the article's table",
    "tokenizer": "turn text into token ids and back, or explain how",
    "data": "prepare text to train on, and show what a model reads of it",
    "task": "list the tasks to train on, and check how they read a file",
    "models": "list the models that have names",
    "convert": "write a checkpoint in another precision or layout",
    "train": "train a model from scratch, or draw the curves of runs",
    "finetune": "fine-tune a model on your own text",
    "curve": "draw how much pre-training helps on how much data",
    "eval": "measure how well a model predicts texts, and the paper's tasks",
    "bench": "measure how fast a model runs here",
    "plan": "compute what training takes: memory, hours, cost",
}

# Commands of two words, in a module called FIRST_SECOND.
SUBCOMMANDS = {("train", "plot")}

DESCRIPTION = "GPT-2 with the casing cut open: run it, and look inside."
EPILOG = """\
example:
  cutaway generate "A robot must obey the orders given it"

Every command has --help, and --json for one JSON document on standard output.

exit codes:
  0    done
  1    something outside failed, such as writing to standard output
  2    an argument is invalid
  3    a checkpoint or its tokenizer is missing, invalid or cannot be written
  4    the hub cannot provide the model
  5    the engine cannot run here
  6    a run directory is in use or damaged, or training cannot continue
  130  interrupted with Ctrl-C
  141  the reader of standard output closed it
  143  terminated"""


_TEXTS = ("PROMPT", "TEXT")  # placeholders of text arguments, which a shell may have split into several


class Parser(argparse.ArgumentParser):
    """ArgumentParser whose errors are UsageErrors of one line, which suggest the nearest option for a mistyped one.

    Options may stand between the files of a command that takes several.
    """

    _is_intermixed = False  # while argparse parses the options, and then the rest

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register("type", Path, _path)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    def _print_message(self, message: str, file: TextIO | None = None) -> None:  # type: ignore[override]  # narrower
        """Write help or version; argparse's own method ignores errors, such as those of a full disk."""
        (file or sys.stderr).write(message)

    def parse_known_args(  # type: ignore[override]  # argparse's has an overload for other namespaces
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does, but refuse an unknown argument here, in the (sub)command that does not know it."""
        given = sys.argv[1:] if args is None else list(args)
        if self._is_intermixed:
            return super().parse_known_args(given, namespace)
        if self._subparsers is None:
            self._refuse_unknown_options(given)
        if "--" not in given and any(action.nargs in ("*", "+") for action in self._get_positional_actions()):
            self._is_intermixed = True
            try:
                known, unknown = self.parse_known_intermixed_args(given, namespace)
            finally:
                self._is_intermixed = False
        else:
            known, unknown = super().parse_known_args(given, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._guess(unknown[0])}")
        return known, unknown

    def _refuse_unknown_options(self, given: Sequence[str]) -> None:
        """Report only an unknown option, before argparse misses a required one or takes its value for a text."""
        for each in takewhile(lambda argument: argument != "--", given):
            name = each.partition("=")[0]
            is_option = each.startswith("--") and " " not in name  # as argparse tells options from texts
            if is_option and name not in self._option_string_actions:
                self.error(f"unrecognized arguments: {each}{self._guess(each)}")

    def flags(self) -> dict[str, str]:
        """Return the flag of each argument, by its name in Python, including those of the actions."""
        found: dict[str, str] = {}
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    found |= parser.flags()
            elif action.option_strings:
                names = [name for name in action.option_strings if name.startswith("--")]
                found[action.dest] = min(names or action.option_strings, key=len)
        return found

    def _guess(self, unknown: str) -> str:
        from difflib import get_close_matches

        if not unknown.startswith("-"):
            takes_text = any(action.metavar in _TEXTS for action in self._get_positional_actions())
            return "; put a text of several words in quotes" if takes_text else ""
        name = unknown.partition("=")[0]
        longer = [option for option in self._option_string_actions if option.startswith(name)]
        options = {option.lstrip("-"): option for option in self._option_string_actions}  # all dashes are alike
        near = longer if len(longer) == 1 else [options[n] for n in get_close_matches(name.lstrip("-"), options, n=1)]
        return f"; did you mean {near[0]}?" if near else ""


def _path(given: str) -> Path:
    """Refuse an empty path, such as an unset variable of the shell: it would mean the current directory."""
    if not given:
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(given)


def _check_command(given: str) -> None:
    """Raise UsageError for a word that is almost a command."""
    from difflib import get_close_matches

    near = get_close_matches(given, COMMANDS, n=1)
    if near:
        raise UsageError(f"unknown command: {given!r}; did you mean {near[0]}? (see cutaway --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name (the process's own by default) and return its exit code."""
    terminal.prepare_streams()
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = guarded(lambda: _run(given), terminal.note)
    except SystemExit as stop:  # argparse, after --help
        code = int(stop.code or 0)
    flushed = guarded(_flush, terminal.note)
    return code or flushed


def _run(arguments: Sequence[str]) -> None:
    if arguments and arguments[0] in COMMANDS:
        name, rest = split_command(arguments)
        parser = make_parser(name)
        options = parser.parse_args(rest)
        try:
            import_module(f"cutaway.cli.{name}").run(options)
        except UsageError as error:
            from cutaway.cli.arguments import name_flags

            raise UsageError(name_flags(str(error), parser.flags())) from None
    else:
        if arguments:
            _check_command(arguments[0])
        _front_parser().parse_args(arguments or ["--help"])


def split_command(arguments: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the module of the command that arguments begin with, and the rest of them.

    Raises UsageError for a mistyped second word.

    >>> split_command(["train", "plot", "run"]), split_command(["train", "--out", "run"])
    (('train_plot', ['run']), ('train', ['--out', 'run']))
    """
    n_words = 2 if tuple(arguments[:2]) in SUBCOMMANDS else 1
    if n_words == 1 and len(arguments) > 1 and any(arguments[0] == first for first, _ in SUBCOMMANDS):
        _check_subcommand(*arguments[:2])
    return "_".join(arguments[:n_words]), arguments[n_words:]


def _check_subcommand(first: str, second: str) -> None:
    """Raise UsageError for a word that is almost a subcommand, and not a file."""
    from difflib import get_close_matches

    near = get_close_matches(second, [name for command, name in SUBCOMMANDS if command == first], n=1)
    if near and not os.path.lexists(second):
        raise UsageError(f"no such file: {second}; did you mean cutaway {first} {near[0]}?")


def make_parser(name: str) -> Parser:
    """Build the parser of one command."""
    parser = Parser(
        f"cutaway {name.replace('_', ' ')}", formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    import_module(f"cutaway.cli.{name}").add_arguments(parser)
    return parser


def _front_parser() -> Parser:
    """Build the parser of `cutaway` without a command: help, version, and the error for an unknown command."""
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


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        # Discard what cannot be written: the interpreter would try again at exit, and print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
