"""`cutaway explore`: the page that shows a model from inside, served from this machine or written into one file."""

import os
import sys
import webbrowser
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.cli.arguments import add_json, add_model, describe, load_model, open_source, utf8, write_json
from cutaway.cli.figure import ARTICLE
from cutaway.cli.terminal import safe

if TYPE_CHECKING:
    from cutaway.model import Model

EXAMPLES = """\
examples:
  cutaway explore --open
  cutaway explore --text "The robot fell because it was tired"
  cutaway explore --model gpt2 --port 9000
  cutaway explore --export robot.html --layer 5 --head 1"""


def add_arguments(parser: ArgumentParser) -> None:
    """Where to listen, what to begin with, or the file to write."""
    parser.description = (
        "Serve the page that shows a model from inside: every number of it, for a text of\n"
        "yours. It asks nothing of any other machine. Ctrl-C ends."
    )
    parser.epilog = EXAMPLES
    parser.add_argument("--text", help="what the page reads first, after <|endoftext|>")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="where to listen; anywhere but on this machine alone, the address gets a token; default: %(default)s",
    )
    parser.add_argument("--port", type=int, default=8477, metavar="N", help="0 is any; default: %(default)s")
    file = parser.add_argument_group("one file that needs no server")
    file.add_argument("--export", type=Path, metavar="FILE", help="write the page of one text into an HTML file")
    file.add_argument("--layer", type=int, default=0, metavar="N", help="that it shows, from 0; default: %(default)s")
    file.add_argument("--head", type=int, default=0, metavar="N", help="that it shows, from 0; default: %(default)s")
    file.add_argument("--position", type=int, default=-1, metavar="N", help="of a token, from 0; default: the last")
    add_json(parser)
    add_model(parser)


def run(options: Namespace) -> None:
    """Serve, or write the file."""
    # One thread: NumPy's own are quicker for long texts alone, and far slower where other programs run (docs/log.md).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    checkpoint_bytes = open_source(options.model).n_bytes
    model = load_model(options)
    if options.export:
        _export(options, model, checkpoint_bytes)
    else:
        _serve(options, model, checkpoint_bytes)


def _export(options: Namespace, model: "Model", checkpoint_bytes: int) -> None:
    from cutaway.explore.export import export_page
    from cutaway.figures import Selection

    text = ARTICLE if options.text is None else utf8(options.text, "the text")
    chosen = Selection(options.layer, options.head, options.position)
    page = export_page(model, model.trace(text, from_start=True), chosen, checkpoint_bytes)
    page.save(options.export)
    size = len(page.text.encode())
    if options.json:
        write_json({**describe(model), "file": str(options.export), "bytes": size})
    else:
        print(f"{safe(str(options.export))}: {size:,} bytes")


def _serve(options: Namespace, model: "Model", checkpoint_bytes: int) -> None:
    from cutaway.checks import whole
    from cutaway.explore.server import listen, serve

    whole("port", options.port, 0, 65535)
    start = _start(model, options.text)
    listener = listen(options.host, options.port)
    address = listener.address + start
    if options.json:
        write_json({**describe(model), "address": address})
    else:
        print(address)
    sys.stdout.flush()
    if options.open:
        webbrowser.open(address)  # it can knock already; what it asks for is answered when the server runs
    serve(listener, model, checkpoint_bytes)


def _start(model: "Model", text: str | None) -> str:
    """The part of the address after the #, from which the page takes what it shows."""
    from cutaway.generation import fit

    if text is None:
        return ""
    ids = fit([*model.prompt_ids(""), *model.encode(utf8(text, "the text"))], model.config.n_ctx, slide=False)
    return f"#1/play?ids={','.join(map(str, ids))}"
