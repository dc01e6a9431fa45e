"""Export of the page to a single HTML file that needs no server: its modules, and recorded responses for one text.

The file works from disk, as an attachment and in a notebook. Modules and responses are one compressed safetensors
block, which a short script unpacks; the content security policy forbids every request.
"""

import base64
import html
import json
import os
import re
import secrets
import stat
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutaway.explore import schemas
from cutaway.explore.assets import COLOURS, WORDS, text_of, words_document
from cutaway.explore.encoding import tensor_parts
from cutaway.explore.handlers import HANDLERS, TraceRequest
from cutaway.explore.modules import IMPORT, imported_name, module_texts
from cutaway.explore.translation import directions, translate, translation_document
from cutaway.figures import DrawnFigure, Selection, all_figures, draw
from cutaway.model import Model
from cutaway.music.codecs import music_codec
from cutaway.numerics import FloatArray, top_k
from cutaway.tasks.task import FROM, TO
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.library import LibraryTokenizer
from cutaway.trace import Trace
from cutaway.trace.names import attended
from cutaway.web.params import QueryParams
from cutaway.web.responses import Content, json_content, json_line
from cutaway.web.worker import Document

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src data: blob:"
)
UNPACK = "unpack.js"  # a classic script, not a module
INDEX = "views/index.js"
SHARED = ("app", "glossary", "prose")  # words that belong to no single view
TRACE = "text"  # the name of the trace in the file
ABOUT_TRACE = f"api/traces/{TRACE}/"  # prefix of the names of files about it
MAX_POSITIONS = 20  # longest text whose next tokens are all in the file
CANDIDATES = 10  # next tokens at each position
LENS_TOKENS = 5  # tokens shown for the vector of a layer
MAX_NUMBERS = 12  # of each vector in the picture of the whole machine
MAX_LAYER_WEIGHTS = 2**16  # of the heads of one layer; above it, a file of music has only those of the chosen note
FREE = ("overview", "play", "heads", "stack", "translation")  # views that have every position in a file
MAX_ATTENTION_WEIGHTS = 18_000  # of all heads together; above it, the file holds those of one layer
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>Cutaway</title></head><body>
<script type="application/gzip" id="packed">{packed}</script><script>{unpack}</script></body></html>
"""
GZIP = 31  # the window bits that make zlib write a gzip file
CHUNK_BYTES = 1 << 20  # compressed at a time
HEIGHT = 900  # pixels, height of the frame in a notebook

_COMMENT = re.compile(r"^\s*(//|/\*\*.*\*/$).*\n", re.MULTILINE)  # lines with nothing else
_VIEW = re.compile(r"""^(import \{ (\w+) \} from "\./(\w+)\.js";\n)""", re.MULTILINE)


PageFile = bytes | DrawnFigure  # figures are packed without their JSON, which takes megabytes for a long text


@dataclass(frozen=True, repr=False)
class ExportedPage:
    """The text of the file; a notebook displays it in a sandboxed frame."""

    text: str

    def save(self, path: str | Path) -> None:
        """Write the file atomically, with the mode of the file that it replaces. A link stays, and its target is
        replaced. A device or a pipe is written to. Raises OSError with the file's name.
        """
        try:
            _write(Path(os.path.realpath(path)), self.text.encode("utf-8"))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.text):,} characters>"

    def _repr_html_(self) -> str:
        frame = f'<iframe sandbox="allow-scripts allow-downloads" width="100%" height="{HEIGHT}" srcdoc='
        return f'{frame}"{html.escape(self.text)}" title="Cutaway"></iframe>'


def _write(target: Path, data: bytes) -> None:
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        target.write_bytes(data)
        return
    unfinished = target.with_name(f".cutaway-{os.getpid()}-{secrets.token_hex(4)}")  # the longest name fits too
    try:
        with unfinished.open("xb") as file:
            if mode is not None:
                unfinished.chmod(stat.S_IMODE(mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def export_page(
    model: Model,
    trace: Trace,
    selection: Selection,
    checkpoint_bytes: int = 0,
    view: str = "",
    settings: schemas.Settings = (),
) -> ExportedPage:
    """Export the explorer of one trace, with the figures for the layer, head and position of the selection.

    The file opens on `view`, with its `settings` as in `schemas.page_address`, if the file has that view, else on its
    first one.

    >>> import cutaway
    >>> model = cutaway.load()
    >>> export_page(model, model.trace("A robot"), Selection(layer=5, head=1)).text[:15]
    '<!doctype html>'
    """
    packer = PagePacker()
    for name, file in PageSource(model, trace, selection, checkpoint_bytes, view, settings).files():
        packer.add(name, file)
    return packer.page()


@dataclass(frozen=True)
class PageSource:
    """Source of a page as one file: the arguments of `export_page`.

    >>> import cutaway
    >>> model = cutaway.load()
    >>> source = PageSource(model, model.trace("A robot"), Selection(layer=5, head=1))
    >>> next(source.files())[0]
    'main.js'
    >>> source.count_parts() > 100
    True
    """

    model: Model
    trace: Trace
    selection: Selection
    checkpoint_bytes: int = 0
    view: str = ""
    settings: schemas.Settings = ()

    def files(self) -> Iterator[tuple[str, PageFile]]:
        """Yield the files of the page with their names; each is computed when it is requested."""
        chosen = self._chosen()
        views = _views(self.model, self.trace)
        for name, text in _modules(views).items():
            yield name, _module(name, text).encode()
        yield "style.css", text_of("style.css").encode()
        yield "start", _start(self, chosen, views)
        yield from _responses(self, chosen, views)

    def count_parts(self) -> int:
        """Return a lower bound of the number of files about the trace."""
        return len(all_figures()) + sum(1 for _ in _requests(self.trace, self._chosen()))

    def _chosen(self) -> Selection:
        return self.selection.resolve(self.trace.config, len(self.trace))


class PagePacker:
    """Packs the files of a page into one file, one after the other, so that no figure stays in memory.

    All files of `PageSource.files` are needed, or the page shows nothing.

    >>> packer = PagePacker()
    >>> packer.add("style.css", b"body {}")
    >>> "</html>" in packer.page().text
    True
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, int] = {}  # row of numbers, in the order of the file -> number of floats before it
        self._bodies: dict[str, bytes] = {}

    def add(self, name: str, file: PageFile) -> None:
        """Pack a file."""
        self._bodies[name] = _packed_file(name, file, self._rows)

    def page(self) -> ExportedPage:
        """Make the page from all files, and release them: one safetensors block, with the numbers of all figures and
        tensors in one tensor, compressed and encoded in parts.
        """
        tensors = {name: np.frombuffer(body, np.uint8) for name, body in self._bodies.items()}
        tensors["numbers"] = _shuffled(self._rows)
        self._bodies = {}
        self._rows = {}
        first, last = _PAGE.format(policy=POLICY, packed="\0", unpack=text_of(UNPACK)).split("\0")
        return ExportedPage("".join([first, *_base64(_compressed(tensor_parts(tensors))), last]))


def _start(source: PageSource, chosen: Selection, views: Sequence[str]) -> bytes:
    """Describe the file: the address that it opens on, its views, the views in which any token can be chosen, the
    titles of the views that it lacks, and the view that was requested.
    """
    view = source.view
    kept = [(name, value) for name, value in source.settings if view in views or name == "language"]
    opened = view if view in views else views[0]
    address = schemas.page_address(opened, source.trace.ids, chosen, source.trace.interventions, kept)
    others = [name for _, _, name in _VIEW.findall(text_of(INDEX)) if name not in views]
    absent = {name: words_document([name])[f"{name}.title"] for name in others}
    free = [*FREE, *(["music"] if _has_all_notes(source.trace) else [])]
    return json_content({"address": address, "views": views, "free": free, "absent": absent, "asked": view}).body


def _views(model: Model, trace: Trace) -> list[str]:
    """List the views whose data is all in the file."""
    return [
        *(["overview", "play"] if len(trace) <= MAX_POSITIONS else []),
        *("article", "attention", "tokens"),
        *(["heads"] if _is_small(trace) else []),
        *(["stack", "output"] if len(trace) <= MAX_POSITIONS else []),
        *(["music"] if music_codec(model.codec) else []),
        *(["translation"] if directions(model) else []),
    ]


def _modules(views: Collection[str]) -> dict[str, str]:
    """Return the modules, by name, that the page imports with these views only."""
    return module_texts(lambda name: _without_views(text_of(name), views) if name == INDEX else text_of(name))


def _without_views(index: str, views: Collection[str]) -> str:
    """Drop the views that are not in the file from the list of views in `index`; a view's id is its file's name."""
    dropped = {name: line for line, name, view in _VIEW.findall(index) if view not in views}
    for line in dropped.values():
        index = index.replace(line, "")
    start, names, end = re.split(r"(?<=VIEWS = \[)(.+)(?=\])", index)
    return start + ", ".join(name for name in names.split(", ") if name not in dropped) + end


def _module(name: str, text: str) -> str:
    """Make the import specifiers of a module absolute, "cutaway/lib/cells.js", and drop its comments."""

    def absolute(match: re.Match[str]) -> str:
        return f'{match[1]}"cutaway/{imported_name(name, match[2])}"'

    return IMPORT.sub(absolute, _COMMENT.sub("", text))


def _shuffled(rows: dict[bytes, int]) -> NDArray[np.uint8]:
    """Return the bytes of all rows of float32 as (4, floats), first bytes first: exponents repeat, so they compress."""
    shuffled = np.empty((4, _end(rows)), np.uint8)
    for row, first in rows.items():
        shuffled[:, first : first + len(row) // 4] = np.frombuffer(row, np.uint8).reshape(-1, 4).T
    return shuffled


def _compressed(parts: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Yield a gzip file of the parts, without a timestamp."""
    compressor = zlib.compressobj(9, wbits=GZIP)
    for part in parts:
        for start in range(0, len(part), CHUNK_BYTES):
            yield compressor.compress(part[start : start + CHUNK_BYTES])
    yield compressor.flush()


def _base64(parts: Iterable[bytes]) -> Iterator[str]:
    """Yield the parts as one base64 text."""
    rest = b""
    for part in parts:
        data = rest + part
        whole = len(data) - len(data) % 3
        rest = data[whole:]
        yield base64.b64encode(data[:whole]).decode()
    yield base64.b64encode(rest).decode()


def _packed_file(name: str, body: PageFile, rows: dict[bytes, int]) -> bytes:
    """Store the numbers of a file in as few bytes as possible; files that are not about the trace are unchanged."""
    if isinstance(body, DrawnFigure):
        return json_content(body.document(lambda values: _store(_with_gaps(values), rows))).body
    if not name.startswith(ABOUT_TRACE):
        return body
    if "/tensors?" in name:
        return _packed_tensor(body, rows)
    return json_content(json.loads(body, parse_float=_shorter)).body


def _shorter(number: str) -> float:
    """Round to nine significant digits, which distinguish all float32 numbers."""
    return float(f"{float(number):.9g}")


def _with_gaps(values: FloatArray) -> FloatArray:
    """Replace numbers that are not finite by NaN, as JSON figures have null for them."""
    return np.where(np.isfinite(values), values, np.float32(np.nan))


def _packed_tensor(file: bytes, rows: dict[bytes, int]) -> bytes:
    """Replace the numbers of a file with one float32 tensor, which is not empty, by their positions in `rows`."""
    start = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:start])
    metadata = header.pop("__metadata__")
    [(name, entry)] = header.items()
    values = np.frombuffer(file[start:], np.float32).reshape(-1, entry["shape"][-1])
    document = {"name": name, "shape": entry["shape"], "metadata": metadata, "values": _store(values, rows)}
    return json_content(document).body


def _store(values: FloatArray, rows: dict[bytes, int]) -> Document:
    """Return the number of columns and the offset of each row in `rows`; add rows that are not yet in it."""
    stored = [row.tobytes() for row in values]
    for row in stored:
        if row not in rows:
            rows[row] = _end(rows)
    return {"columns": values.shape[1], "rows": [rows[row] for row in stored]}


def _end(rows: dict[bytes, int]) -> int:
    """Return the number of floats in all rows, which are in insertion order."""
    row, first = next(reversed(rows.items()), (b"", 0))
    return first + len(row) // 4


def _responses(source: PageSource, chosen: Selection, views: Sequence[str]) -> Iterator[tuple[str, PageFile]]:
    """Yield the response to each request that the page will make, under "path?name=value&…"."""
    model = source.model
    trace = source.trace
    yield f"page/{COLOURS.name}", json_content(json.loads(text_of(COLOURS.name))).body
    yield f"page/{WORDS}", json_content(words_document([*SHARED, *views])).body
    yield "api/model", json_content(schemas.model_document(model, source.checkpoint_bytes)).body
    yield "api/figures", json_content(schemas.figures_document()).body
    yield "api/traces", json_line(_trace_document(trace))
    if isinstance(model.tokenizer, Tokenizer | LibraryTokenizer):
        text = _text(model, trace)
        for each in dict.fromkeys([text, *(value for name, value in source.settings if name == "x-text")]):
            yield (
                f"api/tokens?text={each}",
                json_content(schemas.explain_document(model, each[: schemas.MAX_TEXT])).body,
            )
    for figure in all_figures():
        yield _name(f"figures/{figure}", _where(chosen)), draw(trace, figure, **vars(chosen))
    for path, query in _requests(trace, chosen):
        yield _name(path, query), _response(trace, path, query).body
    if "music" in views:
        yield from _music_responses(trace, chosen)
    if "translation" in views:
        yield from _translation_responses(model, trace, chosen)


def _music_responses(trace: Trace, chosen: Selection) -> Iterator[tuple[str, bytes]]:
    """Yield the notes, and the attention of all heads of the layer from the chosen note; for a short piece from any
    token, for a very short one in all layers.
    """
    yield _name("notes", []), _response(trace, "notes", []).body
    for layer in range(trace.config.n_layer) if _has_all_heads(trace) else [chosen.layer]:
        for position in range(len(trace)) if _has_all_notes(trace) else [chosen.position]:
            yield _tensor_response(trace, f"attn.{layer}[:,{position},:]")


def _translation_responses(model: Model, trace: Trace, chosen: Selection) -> Iterator[tuple[str, bytes]]:
    """Yield the trace read as a translation, what the model writes, and the map (of all heads for a short text)."""
    reading = translation_document(model, trace)
    yield _name("translation", []), json_content(reading).body
    if reading["source"] is None:
        return
    n_source = int(str(reading["n_source"]))
    rows = f"{n_source - 1}:{len(trace)},0:{n_source}"
    if not trace.interventions:
        fields = {name: str(reading[name]) for name in (FROM, TO, "source")}
        query = "&".join(f"{name}={value}" for name, value in fields.items())
        yield f"api/translations?{query}", json_content(translate(model, fields)).body
    if n_source == len(trace):
        return
    yield _tensor_response(trace, f"attn.{chosen.layer}[{chosen.head},{rows}]")
    for layer in range(trace.config.n_layer) if _has_all_heads(trace) else ():
        yield _tensor_response(trace, f"attn.{layer}[:,{rows}]")
        yield from (_tensor_response(trace, f"attn.{layer}[{head},{rows}]") for head in range(trace.config.n_head))


def _tensor_response(trace: Trace, sel: str) -> tuple[str, bytes]:
    query = [("sel", sel), ("enc", "f32")]
    return _name("tensors", query), _response(trace, "tensors", query).body


def _trace_document(trace: Trace) -> Document:
    """Describe the trace without the time that it took, so that two exports have the same bytes."""
    document = schemas.trace_document(TRACE, trace, stored=True)
    work = {name: count for name, count in vars(trace.work).items() if name != "seconds"}
    return {**document, "work": work}


def _text(model: Model, trace: Trace) -> str:
    """Return the text that the tokens view requests: without the start token, at most `MAX_TEXT` characters."""
    after = trace.ids[trace.ids[0] == model.bos :]
    data = b"".join(schemas.joined_bytes(model.tokenizer, after))
    return data.decode("utf-8", "replace")[: schemas.MAX_TEXT]


def _is_small(trace: Trace) -> bool:
    return trace.config.n_layer * trace.config.n_head * len(trace) ** 2 <= MAX_ATTENTION_WEIGHTS


def _has_all_heads(trace: Trace) -> bool:
    """Return True for a text for which the file holds all heads."""
    return _is_small(trace) and len(trace) <= MAX_POSITIONS


def _has_all_notes(trace: Trace) -> bool:
    """Return True for a piece for which the file holds all notes."""
    return trace.config.n_head * len(trace) ** 2 <= MAX_LAYER_WEIGHTS


def _requests(trace: Trace, chosen: Selection) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the requests about the trace, except for figures: the path after api/traces/ID/, and the parameters."""
    yield "surprisal", []
    for position in range(len(trace)) if len(trace) <= MAX_POSITIONS else ():
        yield "summary", [("position", str(position))]
        yield "logit_lens", [("position", str(position)), ("k", str(min(LENS_TOKENS, trace.config.n_vocab)))]
        yield "next_tokens", [("position", str(position)), ("k", str(min(CANDIDATES, trace.config.n_vocab)))]
    for token in _candidates(trace, chosen.position):
        yield "direct_logit_attribution", [("position", str(chosen.position)), ("token", str(token))]
    for layer in range(trace.config.n_layer) if _is_small(trace) else ():
        for without_first in "01":
            yield "heads", [("layer", str(layer)), ("without_first", without_first)]
    for sel in _slices(trace, chosen):
        yield "tensors", [("sel", sel), ("enc", "f32")]


def _candidates(trace: Trace, position: int) -> list[int]:
    """Return the most likely next tokens, whose logit attribution is in the file; none for a text that is too long."""
    if len(trace) > MAX_POSITIONS:
        return []
    return [int(token) for token in top_k(trace.logits_at(position), min(CANDIDATES, trace.config.n_vocab))]


def _slices(trace: Trace, chosen: Selection) -> Iterator[str]:
    """Yield the tensor slices that the views request."""
    layer = chosen.layer
    head = chosen.head
    position = chosen.position
    for kind in ("q", "k", "v", *attended(trace.config)):
        yield f"{kind}.{layer}[{head},:,:]"
    for kind in ("zcat", "attn_out", "resid.pre", "resid.mid", "resid.post"):
        yield f"{kind}.{layer}[{position},:]"
    yield f"h.{layer}.attn.c_proj.bias[:]"
    yield f"ln_f[{position},:]"
    matrix = "wte.weight" if trace.config.tie_word_embeddings else "lm_head.weight"
    yield from (f"{matrix}[{token},:]" for token in _candidates(trace, position))
    yield f"resid.pre.0[:,0:{min(MAX_NUMBERS, trace.config.n_embd)}]"
    for other in range(trace.config.n_layer) if _is_small(trace) else ():
        yield from (f"attn.{other}[{h},:,:]" for h in range(trace.config.n_head) if (other, h) != (layer, head))


def _name(path: str, query: list[tuple[str, str]]) -> str:
    written = "&".join(f"{name}={value}" for name, value in query)
    return f"{ABOUT_TRACE}{path}" + (f"?{written}" if written else "")


def _where(chosen: Selection) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in vars(chosen).items()]


def _response(trace: Trace, kind: str, query: list[tuple[str, str]]) -> Content:
    """Return the server's response."""
    return HANDLERS[kind](
        TraceRequest(trace, QueryParams(query, repeated=["sel"]), {TRACE: trace}.__getitem__, lambda: None)
    )
