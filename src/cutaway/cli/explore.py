"""`cutaway explore`: serve the page that shows a model's internals, or export it to one file."""

import os
import sys
import webbrowser
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.checks import check_int
from cutaway.cli.arguments import add_json, add_model, write_json
from cutaway.cli.loading import describe, load_model
from cutaway.cli.terminal import DIM, safe, style
from cutaway.cli.view import add_view, view_ids, view_selection
from cutaway.errors import UsageError

if TYPE_CHECKING:
    from cutaway.model import Model

HOST = "127.0.0.1"
PORT = 8477

EXAMPLES = """\
examples:
  cutaway explore --open
  cutaway explore --text "The robot fell because it was tired"
  cutaway explore --model gpt2 --port 9000
  cutaway explore --model run/model --against builtin
  cutaway explore --export robot.html --layer 5 --head 5"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of the command."""
    parser.description = (
        "Serve the page that shows a model's internals: every tensor, for any text.\n"
        "It makes no requests to other machines. Stop with Ctrl-C."
    )
    parser.epilog = EXAMPLES
    add_view(parser)
    parser.add_argument("--against", metavar="NAME", help="second model of the same shape, to compare with")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument(
        "--host",
        help=f"address to listen on; if other machines can reach it, a token is required; default: {HOST}",
    )
    parser.add_argument("--port", type=int, metavar="N", help=f"port to listen on, 0: any free port; default: {PORT}")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the page to an HTML file instead")
    add_json(parser)
    add_model(parser)


def run(options: Namespace) -> None:
    """Serve the page, or write the file."""
    # NumPy's threads are faster for long texts only, and far slower on a busy machine (docs/log.md).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from cutaway.checkpoints import open_source

    if options.export and (options.host, options.port, options.against) != (None, None, None):
        raise UsageError("--export cannot be combined with --host, --port or --against")
    port = check_int("port", PORT if options.port is None else options.port, 0, 65535)
    checkpoint_bytes = open_source(options.model).n_bytes
    model = load_model(options)
    if options.export:
        _export(options, model, checkpoint_bytes)
    else:
        _serve(options, model, checkpoint_bytes, port)


def _export(options: Namespace, model: "Model", checkpoint_bytes: int) -> None:
    from cutaway.explore.export import export_page

    page = export_page(model, model.trace(view_ids(model, options)), view_selection(options), checkpoint_bytes)
    page.save(options.export)
    size = len(page.text.encode())
    if options.json:
        write_json({**describe(model), "file": str(options.export), "bytes": size})
    else:
        print(f"{safe(str(options.export))}: {size:,} bytes")
    if options.open:
        webbrowser.open(options.export.absolute().as_uri())


def _serve(options: Namespace, model: "Model", checkpoint_bytes: int, port: int) -> None:
    from cutaway.explore.app import Explorer, make_app
    from cutaway.web.server import listen, serve

    against = load_model(options, options.against) if options.against else None
    explorer = Explorer(model, checkpoint_bytes, against)
    start = _start(model, options)
    listener = listen(HOST if options.host is None else options.host, port)
    address = listener.address + start
    if options.json:
        write_json({**describe(model), "address": address})
    else:
        print(address)
        if sys.stderr.isatty():
            print(style("Ctrl-C stops the server", DIM, sys.stderr), file=sys.stderr)
    sys.stdout.flush()
    explorer.warm_up(_first_ids(model, options))
    if options.open:
        webbrowser.open(address)  # the socket queues its requests until the server runs
    serve(listener, make_app(explorer, listener.port, listener.token), explorer.worker)


def _first_ids(model: "Model", options: Namespace) -> list[int]:
    """Return the token ids that the page opens on."""
    return view_ids(model, options) if options.ids or model.codec else [0]


def _start(model: "Model", options: Namespace) -> str:
    """Return the fragment of the address, with the text and selection; empty if no option sets them."""
    from cutaway.explore.schemas import page_address
    from cutaway.figures import Selection
    from cutaway.trace.trace import check_text

    chosen = view_selection(options)
    if options.text is None and not options.ids and chosen == Selection():
        return ""
    ids = view_ids(model, options)
    check_text(model.config, ids)
    selection = None if chosen == Selection() else chosen.resolve(model.config, len(ids))
    return page_address("overview", ids, selection)
