"""`cutaway tokenizer`: text to token ids, ids to text, and every step in between."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from cutaway.cli.arguments import SOURCES, add_json, open_source, read_file, read_stdin, utf8, write_json
from cutaway.cli.terminal import BOLD, columns, safe, style
from cutaway.errors import CheckpointError, UsageError
from cutaway.layout import visible, wrap
from cutaway.tokenizer.bpe import PreToken, from_symbols
from cutaway.tokenizer.fast import Tokenizer

EXAMPLES = """\
examples:
  cutaway tokenizer encode "A robot must obey"
  cutaway tokenizer explain "a café"
  cutaway tokenizer decode 32 9379 1276 22389
  cutaway tokenizer encode < book.txt | cutaway tokenizer decode"""

_JSON_MARKS = str.maketrans("{[:,]}", " " * 6)  # a JSON list of ids is read too, and what encode --json writes


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    parser.description = "Turn text into token ids and back, or show how that is done."
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def add(name: str, action: Callable[[Namespace], None], summary: str) -> ArgumentParser:
        chosen: ArgumentParser = actions.add_parser(
            name,
            help=summary,
            description=f"Show {summary}.",
            epilog="\n".join(line for line in EXAMPLES.splitlines() if name in line or line == "examples:"),
            formatter_class=parser.formatter_class,
            allow_abbrev=False,
        )
        chosen.set_defaults(action=action)
        chosen.add_argument("--model", metavar="NAME", help=f"whose tokenizer: {SOURCES}; default: GPT-2's own")
        add_json(chosen)
        return chosen

    _add_text(add("encode", encode, "the token ids of a text"))
    decoder = add("decode", decode, "the text of token ids")
    decoder.add_argument("ids", nargs="*", metavar="ID", help="without any: the numbers in standard input")
    _add_text(add("explain", explain, "how a text becomes token ids, merge by merge"))


def _add_text(parser: ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("text", nargs="?", metavar="TEXT", help="- or none: all of standard input")
    source.add_argument("--file", type=Path, metavar="PATH", help="read the text from a file")
    parser.add_argument("--special", action="store_true", help="<|endoftext|> in the text is the token, not plain text")


def run(options: Namespace) -> None:
    """Do what the chosen action does."""
    options.action(options)


def encode(options: Namespace) -> None:
    """Print the token ids of a text."""
    ids = _tokenizer(options).encode(_text(options), allow_special=options.special)
    if options.json:
        write_json({"ids": ids})
    else:
        print(*ids)


def decode(options: Namespace) -> None:
    """Print the text of token ids, in a pipe without a new line added: encode and decode are a round trip."""
    given = " ".join(options.ids) if options.ids else read_stdin()
    words = given.translate(_JSON_MARKS).split()
    text = _tokenizer(options).decode([_id(word) for word in words if word != '"ids"'])
    if options.json:
        write_json({"text": text})
    elif sys.stdout.isatty():
        print(safe(text))
    else:
        sys.stdout.write(text)


def explain(options: Namespace) -> None:
    """Print every step from a text to its token ids."""
    pieces = _tokenizer(options).explain(_text(options), allow_special=options.special)
    if options.json:
        write_json({"pieces": [asdict(piece) for piece in pieces]})
    else:
        for piece in pieces:
            print("\n".join(_lines(piece)))


def _lines(piece: PreToken) -> Iterator[str]:
    """Show a pre-token from its bytes to its ids; every merge with its rank (0 was learnt first) and what it leaves."""
    yield style(visible(piece.text.encode()), BOLD, sys.stdout)
    yield from _labelled("bytes", [f"{byte:02x}" for byte in piece.bytes])
    for step, state in zip((None, *piece.steps), piece.states(), strict=True):
        yield from _labelled(f"merge {step.rank + 1:,}" if step else "start", _shown(state))
    yield from _labelled("tokens", _shown(piece.tokens))
    yield from _labelled("ids", map(str, piece.ids))


def _labelled(label: str, words: Iterator[str] | list[str]) -> Iterator[str]:
    indent = 16
    for line in wrap(words, columns() - indent):
        yield f"  {label}".ljust(indent) + line
        label = ""


def _shown(tokens: tuple[str, ...]) -> list[str]:
    return [visible(from_symbols(token)) for token in tokens]


def _tokenizer(options: Namespace) -> Tokenizer:
    """Load GPT-2's own, for which nothing is fetched, or that of a checkpoint or a directory of tokenizer files."""
    if options.model is None:
        return Tokenizer.gpt2()
    from cutaway.config import published

    path = Path(options.model)
    if path.is_dir() and not (path / "config.json").exists():
        return Tokenizer.from_files(path)
    if published(options.model) and not path.is_dir():
        return Tokenizer.gpt2()
    tokenizer = open_source(options.model).tokenizer()
    if tokenizer is None:
        raise CheckpointError(f"{options.model} has no tokenizer files")
    return tokenizer


def _text(options: Namespace) -> str:
    """Read the text without changing it: here every new line counts."""
    if options.file is not None:
        return read_file(options.file)
    return read_stdin() if options.text in (None, "-") else utf8(options.text, "the text")


def _id(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 20):
        raise UsageError(f"{word!r:.60} is not a token id")
    return int(word)
