"""`cutaway score`: measure how well a model predicts a text."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from cutaway.cli.arguments import add_json, add_model, describe, load_model, read_file, read_stdin, utf8, write_json
from cutaway.errors import UsageError

EXAMPLES = """\
examples:
  cutaway score book.txt
  cutaway score --text "A robot must obey the orders given it" --json
  cat book.txt | cutaway score --model gpt2"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the text and the model."""
    parser.description = "Compute the negative log-likelihood and the perplexity of a text."
    parser.epilog = EXAMPLES
    text = parser.add_mutually_exclusive_group()
    text.add_argument("file", nargs="?", metavar="FILE", help="UTF-8 text; - is standard input, and so is a pipe")
    text.add_argument("--text", help="the text itself, read after <|endoftext|> as a file is")
    text.add_argument("--ids", type=int, nargs="+", metavar="ID", help="token ids, of which the first is not scored")
    add_json(parser)
    add_model(parser)


def run(options: Namespace) -> None:
    """Print the score."""
    text = _read_text(options)
    model = load_model(options)
    score = model.score(text)
    numbers = {
        "tokens": score.tokens,
        "bytes": score.bytes,
        "nats": score.nats,
        "perplexity": score.perplexity if score.perplexity < float("inf") else None,
        "bits_per_byte": score.bits_per_byte,
    }
    if options.json:
        write_json({**describe(model), **numbers})
    else:
        print(f"{score.tokens:,} tokens, {score.bytes:,} bytes")
        print(f"{score.nats:,.2f} nats")
        print(f"perplexity {score.perplexity:,.3f} per token")
        print(f"{score.bits_per_byte:.4f} bits per byte")


def _read_text(options: Namespace) -> str | list[int]:
    """Read the text from the place that the arguments name; nothing of it is stripped."""
    if options.ids is not None:
        return list(options.ids)
    if options.text is not None:
        return utf8(options.text, "the text")
    if options.file is not None and options.file != "-":
        return read_file(Path(options.file))
    if options.file is None and sys.stdin.isatty():
        raise UsageError("nothing to score: give a FILE, --text or --ids, or pipe a text in")
    return read_stdin()
