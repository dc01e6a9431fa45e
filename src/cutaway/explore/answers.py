"""What can be asked of a trace: each answer takes its arguments from the question and gives back a body."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from cutaway.engine import Float32
from cutaway.errors import UsageError
from cutaway.explore.arguments import Arguments
from cutaway.explore.documents import candidates
from cutaway.explore.selections import select
from cutaway.explore.wire import ENCODINGS, Content, encode, json_content, tensors_content
from cutaway.explore.worker import Document
from cutaway.figures import DrawableTrace, Selection, all_figures, check_figure
from cutaway.trace.heads import HeadStatistics, head_statistics, search, thumbnails
from cutaway.trace.lens import Reading, attribution, lens, surprise

MAX_CANDIDATES = 100
MAX_PIXELS = 1024  # along a thumbnail's side


@dataclass(frozen=True)
class Question:
    """A trace, the arguments of what is asked of it, and how to hear that nobody waits any more."""

    trace: DrawableTrace
    query: Arguments
    check: Callable[[], None]

    def layer(self) -> int:
        """The layer that was named, or the first."""
        return self.query.whole("layer", 0, self.trace.config.n_layer - 1, 0)

    def head(self) -> int:
        """The head that was named, or the first."""
        return self.query.whole("head", 0, self.trace.config.n_head - 1, 0)

    def position(self) -> int:
        """The position that was named, or the last."""
        tokens = len(self.trace)
        return self.query.whole("position", -tokens, tokens - 1, -1) % tokens


Answer = Callable[[Question], Content]


def tensors(question: Question) -> Content:
    """Parts of tensors by their selections, in one encoding; every one is called by its selection."""
    texts = question.query.items("sel")
    encoding = question.query.one_of("enc", ENCODINGS, "f32")
    question.query.end()
    found = select(question.trace, list(map(str, texts)), question.check)
    return tensors_content({text: encode(text, numbers, encoding) for text, numbers in found.items()})


def figure(question: Question) -> Content:
    """A figure as a document, as SVG or as text."""
    query = question.query
    name, form = query.text("figure"), query.one_of("format", ("json", "svg", "text"), "json")
    language = query.one_of("language", ("en", "zh"), "en")
    layer, head, position = question.layer(), question.head(), question.position()
    query.end()
    drawn = question.trace.figure(name, layer, head, position)
    if form == "svg":
        return Content(drawn.svg(language).encode(), "image/svg+xml")
    if form == "text":
        return Content(drawn.text(language).encode(), "text/plain; charset=utf-8")
    return json_content(drawn.document())


def checks(question: Question) -> Content:
    """Whether each figure's claim holds for this trace, as far as it has one."""
    chosen = Selection(question.layer(), question.head(), question.position())
    question.query.end()
    listed: list[Document] = []
    for each in all_figures().values():
        question.check()
        found = check_figure(each, question.trace, chosen)
        verdict = {"ok": found.ok, "statement": found.statement} if found else {"ok": None, "statement": ""}
        listed.append({"id": each.id, "status": each.status, **verdict})
    return json_content({"figures": listed})


def heads(question: Question) -> Content:
    """Where each head of a layer looks, in numbers, and what it may be called."""
    layer = question.layer()
    question.query.end()
    return json_content({"heads": [_head(found) for found in head_statistics(question.trace, layer)]})


def _head(found: HeadStatistics) -> Document:
    return {**asdict(found), "label": max(found.labels, key=lambda name: found.labels[name], default=None)}


def thumbnail(question: Question) -> Content:
    """Small pictures of a layer's heads."""
    layer, size = question.layer(), question.query.whole("size", 1, MAX_PIXELS, 64)
    question.query.end()
    return tensors_content({"thumbnails": thumbnails(question.trace, layer, size)})


def found_heads(question: Question) -> Content:
    """All heads, by how much one token looks at some others."""
    query = question.query.whole("query", 0, len(question.trace) - 1)
    written = question.query.text("keys").split(",")
    question.query.end()
    if not all(key.isascii() and key.isdigit() and len(key) < 10 for key in written):
        raise UsageError(f"keys must be positions such as 2,3, not {','.join(written)!r:.60}")
    ranking = search(question.trace, query, [int(key) for key in written])
    return json_content({"heads": [{"layer": layer, "head": head, "weight": w} for layer, head, w in ranking]})


def early_readings(question: Question) -> Content:
    """What the model would say if it ended between any two of its parts."""
    trace, position = question.trace, question.position()
    most = min(MAX_CANDIDATES, trace.config.n_vocab)
    k = question.query.whole("k", 1, most, min(10, most))
    question.query.end()

    def document(reading: Reading) -> Document:
        top = candidates(trace.tokenizer, reading.ids[0], reading.probabilities[0])
        return {"name": reading.boundary, "top": top}

    return json_content({"boundaries": [document(reading) for reading in lens(trace, k, position)]})


def parts_of_a_logit(question: Question) -> Content:
    """How much each part of the model adds to a token's logit."""
    position = question.position()
    token = question.query.whole("token", 0, question.trace.config.n_vocab - 1)
    question.query.end()
    found = attribution(question.trace, position, token)
    parts = {name: np.asarray(part).tolist() for name, part in vars(found).items()}
    return json_content({"position": position, "token": token, **parts, "logit": found.logit})


def surprises(question: Question) -> Content:
    """How little the model expected each token after the first."""
    question.query.end()
    return json_content({"nats": surprise(question.trace).tolist()})


def proof(question: Question) -> Content:
    """What a KV cache saves and that it changes nothing: the last token read after the others, and all read anew."""
    question.query.end()
    trace = question.trace
    if len(trace) < 2:
        raise UsageError("a text of one token has no other tokens to keep; the proof needs at least two")
    before = trace.edit(trace.ids[:-1])
    logits, measured = zip(*(_measured(trace, base, question.check) for base in (before, None)), strict=True)
    difference = float(np.abs(logits[0] - logits[1]).max())
    return json_content({"with_cache": measured[0], "without_cache": measured[1], "max_difference": difference})


def _measured(trace: DrawableTrace, base: DrawableTrace | None, check: Callable[[], None]) -> tuple[Float32, Document]:
    """The last token's logits (V,) with what `base` has computed before, and what that took."""
    began = time.perf_counter()
    read = DrawableTrace(
        trace.config,
        trace.weights,
        trace.tokenizer,
        trace.ids,
        trace.interventions,
        base=base,
        progress=lambda done, layers: check(),
    )
    logits = read.logits_at(-1)
    return logits, {"seconds": time.perf_counter() - began, "positions": read.work.positions_computed}


# By the path after api/traces/ID/.
ANSWERS: Mapping[str, Answer] = {
    "tensors": tensors,
    "figures/{figure}": figure,
    "checks": checks,
    "heads": heads,
    "thumbnails": thumbnail,
    "search": found_heads,
    "lens": early_readings,
    "attribution": parts_of_a_logit,
    "surprise": surprises,
}
