"""A page in one file: the explorer with the answers to what it will ask, for one text, that needs no server.

It runs from a disk, in an e-mail's attachment and in a notebook's frame: its modules and the answers are in one
compressed safetensors block, which a script of a few lines unpacks, and its policy forbids every request.
"""

import base64
import gzip
import html
import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cutaway.explore import schemas
from cutaway.explore.assets import assets
from cutaway.explore.encoding import tensors_content
from cutaway.explore.handlers import HANDLERS, TraceRequest
from cutaway.figures import DrawableTrace, Selection, all_figures
from cutaway.figures.registry import select
from cutaway.model import Model
from cutaway.tokenizer.codec import Codec
from cutaway.tokenizer.fast import Tokenizer
from cutaway.web.params import QueryParams
from cutaway.web.responses import Content, json_content, json_line

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src data: blob:"
)
UNPACK = "unpack.js"  # runs as a script in the file, and is no module
TRACE = "text"  # what the trace is called in the file
MOST_PATTERNS = 24_000  # attention weights: where all heads together have more, the file holds those of one layer
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>Cutaway</title><style>{style}</style></head><body>
<script type="application/gzip" id="packed">{packed}</script><script>{unpack}</script></body></html>
"""
MOST_TEXT = 2000  # characters, as in views/tokens.js
HEIGHT = 900  # of a notebook's frame, in pixels

_IMPORT = re.compile(r"""((?:from|import)\s*\(?\s*)"(\.{1,2}/[^"]+)\"""")


@dataclass(frozen=True, repr=False)
class ExportedPage:
    """The file, as text. In a notebook it shows itself, in a frame that can reach nothing outside it."""

    text: str

    def save(self, path: str | Path) -> None:
        """Write it, beside a file that is there until all is written; raises OSError, with the file's name."""
        path = Path(path)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            unfinished.write_text(self.text, encoding="utf-8")
            os.replace(unfinished, path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(path)) from None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.text):,} characters>"

    def _repr_html_(self) -> str:
        frame = f'<iframe sandbox="allow-scripts allow-downloads" width="100%" height="{HEIGHT}" srcdoc='
        return f'{frame}"{html.escape(self.text)}" title="Cutaway"></iframe>'


def export_page(model: Model, trace: DrawableTrace, selection: Selection, checkpoint_bytes: int = 0) -> ExportedPage:
    """The explorer of one trace, with its figures for the layer, head and position of the selection."""
    chosen = select(trace.config, len(trace), selection)
    files = {name: path.read_text(encoding="utf-8") for name, path in assets().items()}
    modules = {name: _module(name, text).encode() for name, text in files.items() if _is_module(name)}
    packed = _packed(modules | dict(_answers(model, trace, chosen, checkpoint_bytes)))
    return ExportedPage(_PAGE.format(policy=POLICY, style=files["style.css"], packed=packed, unpack=files[UNPACK]))


def _is_module(name: str) -> bool:
    return name.endswith(".js") and name != UNPACK


def _module(name: str, text: str) -> str:
    """A module that will have no folder: what it imports is called by its whole name."""
    folder = posixpath.dirname(name)

    def whole(match: re.Match[str]) -> str:
        return f'{match[1]}"cutaway/{posixpath.normpath(posixpath.join(folder, match[2]))}"'

    return _IMPORT.sub(whole, text)


def _packed(files: Mapping[str, bytes]) -> str:
    """Files as one safetensors file of bytes, compressed; the numbers of figures are in a file of their own."""
    rows: dict[bytes, int] = {}
    bodies = {name: _without_numbers(body, rows) if "/figures/" in name else body for name, body in files.items()}
    tensors = {name: np.frombuffer(body, np.uint8) for name, body in bodies.items()}
    tensors["numbers"] = (
        np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 4).T.copy()
    )  # first bytes first: they repeat
    return base64.b64encode(gzip.compress(tensors_content(tensors).body, 9, mtime=0)).decode()


def _without_numbers(figure: bytes, rows: dict[bytes, int]) -> bytes:
    """A figure's document that says where among the `rows`, each kept once, those of its cells begin, in numbers."""
    document = json.loads(figure)
    for cells in (panel["cells"] for panel in document["panels"] if "cells" in panel):
        values = [np.array(row, np.float32).tobytes() for row in cells["values"]]  # null becomes NaN
        for row in values:
            if row not in rows:
                rows[row] = _end(rows)
        cells["values"] = {"columns": len(cells["values"][0]), "rows": [rows[row] for row in values]}
    return json_content(document).body


def _end(rows: dict[bytes, int]) -> int:
    """How many numbers there are."""
    row, first = next(reversed(rows.items()), (b"", 0))
    return first + len(row) // 4


def _answers(
    model: Model, trace: DrawableTrace, chosen: Selection, checkpoint_bytes: int
) -> Iterator[tuple[str, bytes]]:
    """Every question that the page will ask, as "path?name=value&…", and its answer."""
    for name, file in assets().items():
        if name.endswith(".json") and not name.startswith("vendor/"):
            yield f"page/{name}", file.read_bytes()
    yield "api/model", json_content(schemas.model_document(model, checkpoint_bytes)).body
    yield "api/figures", json_content(schemas.figures_document()).body
    yield "api/traces", json_line(schemas.trace_document(TRACE, trace, stored=True))
    if model.tokenizer:
        text = _text(model.tokenizer, trace)
        yield f"api/tokens?text={text}", json_content(schemas.explain_document(model, text)).body
    for path, query in _asked(trace, chosen):
        yield _name(path, query), _answer(trace, path, query).body
    views = ["article", "attention", "tokens"] + (["heads"] if _is_small(trace) else [])
    address = schemas.page_address("article", trace.ids, chosen)
    yield "start", json_content({"address": address, "views": views}).body


def _text(tokenizer: Codec, trace: DrawableTrace) -> str:
    """The text as the view of tokens asks about it: after the start, at most so much of it."""
    after = trace.ids[trace.ids[0] == tokenizer.end_of_text :]
    data = b"".join(schemas.token_bytes(tokenizer, token) or b"" for token in after)
    return data.decode("utf-8", "replace")[:MOST_TEXT]


def _is_small(trace: DrawableTrace) -> bool:
    return trace.config.n_layer * trace.config.n_head * len(trace) ** 2 <= MOST_PATTERNS


def _asked(trace: DrawableTrace, chosen: Selection) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """What is asked of the trace: the path after api/traces/ID/, and the arguments."""
    where = [(name, str(value)) for name, value in vars(chosen).items()]
    for figure in all_figures().values():
        if figure.draw:
            yield f"figures/{figure.id}", where
    yield "surprise", []
    for layer in range(trace.config.n_layer) if _is_small(trace) else ():
        for without_first in "01":
            yield "heads", [("layer", str(layer)), ("without_first", without_first)]
    for sel in _selections(trace, chosen):
        yield "tensors", [("sel", sel), ("enc", "f32")]


def _selections(trace: DrawableTrace, chosen: Selection) -> Iterator[str]:
    """The parts of tensors that the views of attention and of heads ask for."""
    layer, head, position = chosen.layer, chosen.head, chosen.position
    for kind in ("q", "k", "v", "scores_raw", "scores", "masked", "attn", "z"):
        yield f"{kind}.{layer}[{head},:,:]"
    for kind in ("zcat", "attn_out", "resid.pre", "resid.mid"):
        yield f"{kind}.{layer}[{position},:]"
    yield f"h.{layer}.attn.c_proj.bias[:]"
    for other in range(trace.config.n_layer) if _is_small(trace) else ():
        yield from (f"attn.{other}[{h},:,:]" for h in range(trace.config.n_head) if (other, h) != (layer, head))


def _name(path: str, query: list[tuple[str, str]]) -> str:
    written = "&".join(f"{name}={value}" for name, value in query)
    return f"api/traces/{TRACE}/{path}" + (f"?{written}" if written else "")


def _answer(trace: DrawableTrace, path: str, query: list[tuple[str, str]]) -> Content:
    """What the server would answer."""
    kind, _, figure = path.partition("/")
    pattern, given = ("figures/{figure}", [("figure", figure), *query]) if figure else (kind, query)
    request = TraceRequest(trace, QueryParams(given, repeated=["sel"]), {TRACE: trace}.__getitem__, lambda: None)
    return HANDLERS[pattern](request)
