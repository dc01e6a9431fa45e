"""What can be asked of a trace: each answer takes its arguments from the question and gives back a body."""

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import UsageError
from cutaway.explore.arguments import Arguments
from cutaway.explore.encoding import ENCODINGS, Content, encode, json_content, tensors_content
from cutaway.explore.schemas import candidates, token_text
from cutaway.explore.slices import select
from cutaway.explore.worker import Document
from cutaway.figures import DrawableTrace
from cutaway.numerics import FloatArray
from cutaway.trace.heads import HeadStatistics, atlas, search
from cutaway.trace.interventions import fitting
from cutaway.trace.lens import (
    boundaries,
    direct_logit_attribution,
    divergence,
    logit_lens,
    neuron_logit_effects,
    surprisal,
)

MAX_CANDIDATES = 100
MAX_POSITIONS = 64  # that are read early at a time
MAX_UNITS = 64  # of an MLP at a time
MAX_PIXELS = 1024  # along the side of a head's picture


@dataclass(frozen=True)
class Question:
    """A trace, the arguments of what is asked of it, how to find another, and how to hear that nobody waits."""

    trace: DrawableTrace
    query: Arguments
    find: Callable[[str], DrawableTrace]
    check: Callable[[], None]

    def layer(self) -> int:
        """The layer that was named, or the first."""
        return self.query.whole("layer", 0, self.trace.config.n_layer - 1, 0)

    def head(self) -> int:
        """The head that was named, or the first."""
        return self.query.whole("head", 0, self.trace.config.n_head - 1, 0)

    def position(self) -> int:
        """The position that was named, or the last."""
        return self.position_in("position", self.trace)

    def position_in(self, name: str, trace: DrawableTrace) -> int:
        """The same of another argument and trace."""
        tokens = len(trace)
        return self.query.whole(name, -tokens, tokens - 1, -1) % tokens

    def candidates(self) -> int:
        """How many tokens to name."""
        most = min(MAX_CANDIDATES, self.trace.config.n_vocab)
        return self.query.whole("k", 1, most, min(10, most))


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


def heads(question: Question) -> Content:
    """Where each head of a layer looks, in numbers and as a picture, and what it may be called."""
    layer, size = question.layer(), question.query.whole("size", 1, MAX_PIXELS, 64)
    leave_first = question.query.one_of("without_first", ("0", "1"), "0") == "1"
    question.query.end()
    found = zip(*atlas(question.trace, layer, size, leave_first), strict=True)
    return json_content({"heads": [_head(statistics, picture) for statistics, picture in found]})


def _head(found: HeadStatistics, picture: NDArray[np.uint8]) -> Document:
    label = max(found.labels, key=lambda name: found.labels[name], default=None)
    return {**asdict(found), "label": label, "picture": base64.b64encode(picture.tobytes()).decode()}


def found_heads(question: Question) -> Content:
    """All heads, by how much one token looks at some others."""
    query = question.query.whole("query", 0, len(question.trace) - 1)
    keys = question.query.wholes("keys", len(question.trace))
    question.query.end()
    ranking = search(question.trace, query, keys)
    return json_content({"heads": [{"layer": layer, "head": head, "weight": w} for layer, head, w in ranking]})


def early_readings(question: Question) -> Content:
    """What the model would say if it ended between any two of its parts, after some tokens."""
    trace, position, k = question.trace, question.position(), question.candidates()
    count = question.query.whole("count", 1, min(MAX_POSITIONS, len(trace) - position), 1)
    question.query.end()
    found = logit_lens(trace, k, position, count)

    def document(row: int) -> Document:
        tops = [candidates(trace.tokenizer, each.ids[row], each.probabilities[row]) for each in found]
        read = [{"name": each.boundary, "top": top} for each, top in zip(found, tops, strict=True)]
        return {"position": position + row, "boundaries": read}

    return json_content({"positions": [document(row) for row in range(count)]})


def divergences(question: Question) -> Content:
    """How far what the model would say there is from what it would say in another trace: KL, in nats."""
    other = question.find(question.query.text("with"))
    places = question.position(), question.position_in("other_position", other)
    question.query.end()
    apart = divergence(question.trace, other, *places).tolist()
    names = boundaries(question.trace.config.n_layer)
    return json_content({"boundaries": [{"name": name, "nats": nats} for name, nats in zip(names, apart, strict=True)]})


def units(question: Question) -> Content:
    """The tokens that some units of an MLP promote."""
    trace, layer, k = question.trace, question.layer(), question.candidates()
    chosen = question.query.wholes("units", MAX_UNITS)
    question.query.end()

    def top(ids: NDArray[np.intp], amounts: FloatArray) -> list[Document]:
        pairs = zip(ids.tolist(), amounts.tolist(), strict=True)
        return [{"id": token, "text": token_text(trace.tokenizer, token), "adds": amount} for token, amount in pairs]

    found = zip(chosen, *neuron_logit_effects(trace, layer, chosen, k), strict=True)
    return json_content({"units": [{"unit": unit, "top": top(ids, amounts)} for unit, ids, amounts in found]})


def parts_of_a_logit(question: Question) -> Content:
    """How much each part of the model adds to a token's logit."""
    position = question.position()
    token = question.query.whole("token", 0, question.trace.config.n_vocab - 1)
    question.query.end()
    found = direct_logit_attribution(question.trace, position, token)
    parts = {name: np.asarray(part).tolist() for name, part in vars(found).items()}
    return json_content({"position": position, "token": token, **parts, "logit": found.logit})


def surprises(question: Question) -> Content:
    """How little the model expected each token after the first."""
    question.query.end()
    return json_content({"nats": surprisal(question.trace).tolist()})


def proof(question: Question) -> Content:
    """What a KV cache saves and that it changes nothing: the last token read after the others, and all read anew."""
    question.query.end()
    trace = question.trace
    if len(trace) < 2:
        raise UsageError("a text of one token has no other tokens to keep; the proof needs at least two")
    before = trace.intervene(*fitting(trace.interventions, len(trace) - 1)).edit(trace.ids[:-1])
    logits, measured = zip(*(_measured(trace, base, question.check) for base in (before, None)), strict=True)
    difference = float(np.abs(logits[0] - logits[1]).max())
    return json_content({"with_cache": measured[0], "without_cache": measured[1], "max_difference": difference})


def _measured(
    trace: DrawableTrace, base: DrawableTrace | None, check: Callable[[], None]
) -> tuple[FloatArray, Document]:
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
    "heads": heads,
    "search": found_heads,
    "lens": early_readings,
    "divergence": divergences,
    "units": units,
    "attribution": parts_of_a_logit,
    "surprise": surprises,
}
