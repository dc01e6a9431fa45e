"""Arguments that select a text, and a layer, a head and a token position in it."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from cutaway.cli.reading import utf8
from cutaway.explore import EXAMPLE_TEXT

EXAMPLE_SENTENCE = "Where is the station?"

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
    """Return the token ids of the text or of `--ids`, as `Model.input_ids` reads them; of neither, an example."""
    if options.ids:
        return model.input_ids(options.ids)
    own = own_example(model)
    if own is not None and options.text is None:
        return model.input_ids(own)
    model.require_tokenizer("give --ids")
    return model.input_ids(EXAMPLE_TEXT if options.text is None else utf8(options.text, "the text"))


def own_example(model: "Model") -> list[int] | None:
    """Return the ids of an example for a model that reads no plain text: the codec's of music, or a translation that
    the model writes itself; None for a model of text.

    >>> import cutaway
    >>> own_example(cutaway.load())
    """
    from cutaway.cli.translate import find_languages
    from cutaway.music.codecs import music_codec

    codec = music_codec(model.codec)
    if codec is not None:
        return [codec.bos, *codec.example]
    task = model.task
    if task is None or not task.translates:
        return None
    return list(model.trace_example({**find_languages(task, None, None), "source": EXAMPLE_SENTENCE}).ids)


def view_selection(options: Namespace) -> "Selection":
    """Return the layer, head and position of the arguments."""
    from cutaway.figures import Selection

    return Selection(options.layer, options.head, options.position)
