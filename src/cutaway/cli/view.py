"""Arguments that select a text, and a layer, a head and a token position in it."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from cutaway.cli.reading import utf8
from cutaway.explore import EXAMPLE_TEXT

if TYPE_CHECKING:
    from cutaway.figures import Selection
    from cutaway.model import Model


def add_view(parser: ArgumentParser) -> None:
    """Declare the text or token ids, and the layer, head and position."""
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--text", help=f'text, read after <|endoftext|>; default: "{EXAMPLE_TEXT}"')
    text.add_argument("--ids", action="extend", type=int, nargs="+", metavar="ID", help="token ids, read as given")
    parser.add_argument("--layer", type=int, default=0, metavar="N", help="from 0; default: %(default)s")
    parser.add_argument("--head", type=int, default=0, metavar="N", help="from 0; default: %(default)s")
    parser.add_argument("--position", type=int, default=-1, metavar="N", help="token, from 0; -1 (default): the last")


def view_ids(model: "Model", options: Namespace) -> list[int]:
    """Return the token ids of the text or of `--ids`, as `Model.input_ids` reads them; by default an example."""
    from cutaway.explore.example import example_ids

    if options.ids:
        return model.input_ids(options.ids)
    example = example_ids(model) if options.text is None else None
    if example is not None:
        return model.input_ids(example)
    model.require_tokenizer("give --ids")
    return model.input_ids(EXAMPLE_TEXT if options.text is None else utf8(options.text, "the text"))


def view_selection(options: Namespace) -> "Selection":
    """Return the layer, head and position of the arguments."""
    from cutaway.figures import Selection

    return Selection(options.layer, options.head, options.position)
