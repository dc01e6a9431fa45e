"""`cutaway tokenizer`: text to token ids, ids to text, every step in between, and tokenizers of one's own."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from cutaway.cli.arguments import SOURCES, add_actions, write_json
from cutaway.cli.loading import read_tokenizer
from cutaway.cli.reading import read_file, read_ids, read_stdin, utf8
from cutaway.cli.terminal import BOLD, columns, safe, style
from cutaway.errors import UsageError
from cutaway.layout import visible, wrap
from cutaway.tokenizer.bpe import PreToken, from_symbols
from cutaway.tokenizer.library import Word

EXAMPLES = """\
examples:
  cutaway tokenizer encode "A robot must obey"
  cutaway tokenizer explain "a café"
  cutaway tokenizer decode 32 9379 1276 22389
  cutaway tokenizer encode < book.txt | cutaway tokenizer decode
  cutaway tokenizer train books/ --vocab-size 8000 --out mine"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    parser.description = "Turn text into token ids and back, show how that is done, or train a tokenizer."
    parser.epilog = EXAMPLES
    add = add_actions(parser)
    _add_text(_add_tokenizer(add("encode", encode, "Show the token ids of a text.")))
    decoder = _add_tokenizer(add("decode", decode, "Show the text of token ids."))
    decoder.add_argument("ids", nargs="*", metavar="ID", help="default: the numbers in standard input")
    _add_text(_add_tokenizer(add("explain", explain, "Show how a text becomes token ids, merge by merge.")))
    trainer = add("train", train, "Train a byte-level BPE that splits text as GPT-2's does.")
    trainer.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="text files, of the kinds that data prepare reads"
    )
    trainer.add_argument(
        "--vocab-size", type=int, required=True, metavar="N", help="number of tokens: bytes, merges, and one more"
    )
    trainer.add_argument(
        "--control",
        action="extend",
        nargs="+",
        default=[],
        metavar="TOKEN",
        help="further control tokens, such as '<|en|>'",
    )
    trainer.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory to write")
    trainer.add_argument("--field", default="text", help="key or column of the text; default: %(default)s")


def _add_tokenizer(parser: ArgumentParser) -> ArgumentParser:
    parser.add_argument("--tokenizer", metavar="NAME", help=f"{SOURCES}; default: GPT-2's own")
    return parser


def _add_text(parser: ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("text", nargs="?", metavar="TEXT", help="default, and -: all of standard input")
    source.add_argument("--file", type=Path, metavar="PATH", help="read the text from a file")
    parser.add_argument(
        "--special", action="store_true", help="encode <|endoftext|> in the text as the token, not as plain text"
    )


def run(options: Namespace) -> None:
    """Do what the chosen action does."""
    options.action(options)


def encode(options: Namespace) -> None:
    """Print the token ids of a text."""
    ids = read_tokenizer(options.tokenizer).encode(_text(options), allow_special=options.special)
    if options.json:
        write_json({"ids": ids})
    else:
        print(*ids)


def decode(options: Namespace) -> None:
    """Print the text of token ids, in a pipe without a new line added: encode and decode are a round trip."""
    text = read_tokenizer(options.tokenizer).decode(read_ids(options.ids))
    if options.json:
        write_json({"text": text})
    elif sys.stdout.isatty():
        print(safe(text))
    else:
        sys.stdout.write(text)


def explain(options: Namespace) -> None:
    """Print every step from a text to its token ids; for tokenizers that do not merge bytes, words and tokens."""
    tokenizer = read_tokenizer(options.tokenizer)
    pieces = tokenizer.explain(_text(options), allow_special=options.special)
    if options.json:
        write_json({"pieces": [asdict(piece) for piece in pieces]})
        return
    for piece in pieces:
        print("\n".join(_lines(piece) if isinstance(piece, PreToken) else _word_lines(piece)))


def train(options: Namespace) -> None:
    """Train a tokenizer on text files and write it."""
    from cutaway.data.prepare import read_texts
    from cutaway.tokenizer.train import train_vocabulary, write_trained

    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise UsageError(f"{options.out}: is not an empty directory; choose another --out")
    vocabulary = train_vocabulary(read_texts(options.files, options.field), options.vocab_size, options.control)
    write_trained(vocabulary, options.out)
    longest = sorted(map(from_symbols, vocabulary.ids), key=len)[-5:]
    if options.json:
        write_json({"directory": str(options.out), "n_vocab": vocabulary.n_vocab, "merges": len(vocabulary.merges)})
    else:
        print(f"{safe(str(options.out))}: {vocabulary.n_vocab:,} tokens, {len(vocabulary.merges):,} merges")
        print(f"longest: {' '.join(map(visible, longest))}")


def _lines(piece: PreToken) -> Iterator[str]:
    """Show a pre-token from its bytes to its ids; every merge with its rank (0 was learnt first) and what it leaves."""
    yield style(visible(piece.text.encode()), BOLD, sys.stdout)
    yield from _labelled("bytes", [f"{byte:02x}" for byte in piece.bytes])
    for step, state in zip((None, *piece.steps), piece.states(), strict=True):
        yield from _labelled(f"merge {step.rank + 1:,}" if step else "start", _shown(state))
    yield from _labelled("tokens", _shown(piece.tokens))
    yield from _labelled("ids", map(str, piece.ids))


def _word_lines(word: Word) -> Iterator[str]:
    """Show a word of another tokenizer, with its tokens as the vocabulary writes them."""
    yield style(visible(word.text.encode()), BOLD, sys.stdout)
    yield from _labelled("tokens", [visible(token.encode()) for token in word.tokens])
    yield from _labelled("ids", map(str, word.ids))


def _labelled(label: str, words: Iterator[str] | list[str]) -> Iterator[str]:
    indent = 16
    for line in wrap(words, columns() - indent):
        yield f"  {label}".ljust(indent) + line
        label = ""


def _shown(tokens: tuple[str, ...]) -> list[str]:
    return [visible(from_symbols(token)) for token in tokens]


def _text(options: Namespace) -> str:
    """Read the text without changing it: here every new line counts."""
    if options.file is not None:
        return read_file(options.file)
    return read_stdin() if options.text in (None, "-") else utf8(options.text, "the text")
