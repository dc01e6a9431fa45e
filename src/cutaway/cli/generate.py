"""`cutaway generate`: continue a text.

On a terminal, and with --stream in a pipe too, it appears as it is written. The last line, on standard error, says how
fast that was, and the seed with which the same text comes again.
"""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from cutaway.cli.arguments import add_json, add_model, add_prompt, load_model, read_prompt, write_json
from cutaway.errors import UsageError

if TYPE_CHECKING:
    from cutaway.cli.samples import Settings

EXAMPLES = """\
examples:
  cutaway generate "A robot must obey" --seed 1
  cutaway generate "A robot must obey" --temperature 0 --max-new-tokens 40
  cutaway generate --file opening.txt -n 3 --json
  echo "A robot must obey" | cutaway generate --stream --stop .
  cutaway generate --interactive"""


def add_arguments(parser: ArgumentParser) -> None:
    """What to continue, how to write, how to show it, and with which model."""
    parser.description = "Continue a text, token by token. Without a prompt a new text begins."
    parser.epilog = EXAMPLES
    add_prompt(parser)
    parser.add_argument("--interactive", action="store_true", help="ask for one prompt after the other")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--stream", action="store_true", help="write each piece at once into a pipe too")
    add_json(output)
    parser.add_argument("--logprobs", action="store_true", help="a line a token: id, log-probability in nats, text")
    _add_sampling(parser)
    add_model(parser)


def _add_sampling(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("what is written").add_argument
    add("-n", "--samples", type=int, default=1, metavar="N", help="how many texts; default: %(default)s")
    add("--max-new-tokens", type=int, default=100, metavar="N", help="length of a text; default: %(default)s")
    add("--temperature", type=float, default=1.0, metavar="T", help="0 takes the likeliest; default: %(default)s")
    add("--top-k", type=int, default=40, metavar="K", help="draw from the K likeliest, 0: all; default: %(default)s")
    add("--top-p", type=float, default=1.0, metavar="P", help="draw from the likeliest, P in all; default: %(default)s")
    add("--repetition-penalty", type=float, default=1.0, metavar="R", help="above 1: repeat less; default: %(default)s")
    add("--seed", type=int, metavar="N", help="of the first text; each further one has one more; default: drawn")
    add("--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be given again")
    add("--no-stop-at-end", action="store_true", help="go on after <|endoftext|>")
    add("--slide", action="store_true", help="where the context is full, go on from the last half of it")


def run(options: Namespace) -> None:
    """Write one prompt's texts, or converse."""
    from cutaway.cli.samples import read_settings

    settings = read_settings(options)
    if options.interactive:
        _converse(options, settings)
    else:
        _write(options, settings)


def _converse(options: Namespace, settings: "Settings") -> None:
    from cutaway.cli.interactive import converse

    if options.json:
        raise UsageError("--json is one document, which --interactive cannot be")
    converse(options, settings)


def _write(options: Namespace, settings: "Settings") -> None:
    from cutaway.cli.samples import sample_document, write_samples

    prompt = read_prompt(options)
    model = load_model(options)
    if options.json:
        write_json(sample_document(model, prompt, settings))
    else:
        write_samples(model, prompt, settings, echo=options.prompt == prompt)
