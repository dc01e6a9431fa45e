"""Request handlers of a trace: each reads its parameters from the request and returns a response body."""

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import UsageError
from cutaway.explore.encoding import ENCODINGS, encode, tensors_content
from cutaway.explore.schemas import candidates, token_text
from cutaway.explore.slices import read_slices
from cutaway.figures import draw
from cutaway.music.codecs import music_codec
from cutaway.numerics import FloatArray, negative_log_likelihood, softmax, top_k
from cutaway.trace import Trace, lens
from cutaway.trace.heads import HeadStatistics, atlas, search
from cutaway.trace.interventions import fitting
from cutaway.web.params import Params
from cutaway.web.responses import Content, json_content
from cutaway.web.worker import Document

MAX_CANDIDATES = 100
MAX_LENS_POSITIONS = 64
MAX_NEURONS = 64
MAX_THUMBNAIL = 1024  # pixels along a side
THUMBNAIL = 64
FEW_TOKENS = 8  # whose surprisal is computed one by one


@dataclass(frozen=True)
class TraceRequest:
    """A request about a trace.

    `find` looks up another trace by name; `check` raises Cancelled once the client has disconnected.
    """

    trace: Trace
    params: Params
    find: Callable[[str], Trace]
    check: Callable[[], None]

    def layer(self) -> int:
        """Return the parameter `layer`; the default is 0."""
        return self.params.integer("layer", 0, self.trace.config.n_layer - 1, 0)

    def head(self) -> int:
        """Return the parameter `head`; the default is 0."""
        return self.params.integer("head", 0, self.trace.config.n_head - 1, 0)

    def position(self) -> int:
        """Return the parameter `position`, from 0; the default is the last token."""
        return self.position_in("position", self.trace)

    def position_in(self, name: str, trace: Trace) -> int:
        """Return a position in another trace, from 0; the default is its last token."""
        length = len(trace)
        return self.params.integer(name, -length, length - 1, -1) % length

    def top_k(self) -> int:
        """Return the number of candidates, `k`; the default is 10."""
        most = min(MAX_CANDIDATES, self.trace.config.n_vocab)
        return self.params.integer("k", 1, most, min(10, most))


Handler = Callable[[TraceRequest], Content]


def tensors(request: TraceRequest) -> Content:
    """Return tensor slices, each named by its slice, in one encoding.

    The metadata says, under the same names, which part of which tensor each is: `tensor, shape, offset, steps`.
    """
    texts = request.params.array("sel")
    encoding = request.params.choice("enc", ENCODINGS, "f32")
    request.params.end()
    found = read_slices(request.trace, list(map(str, texts)), request.check)
    encoded = {text: encode(text, part.values, encoding) for text, part in found.items()}
    metadata = {text: json.dumps(asdict(part.origin), separators=(",", ":")) for text, part in found.items()}
    return tensors_content(encoded, metadata)


def figure(request: TraceRequest) -> Content:
    """Return a figure as JSON, SVG or text."""
    params = request.params
    name = params.text("figure")
    form = params.choice("format", ("json", "svg", "text"), "json")
    language = params.choice("language", ("en", "zh"), "en")
    layer = request.layer()
    head = request.head()
    position = request.position()
    params.end()
    drawn = draw(request.trace, name, layer=layer, head=head, position=position)
    if form == "svg":
        return Content(drawn.svg(language).encode(), "image/svg+xml")
    if form == "text":
        return Content(drawn.text(language).encode(), "text/plain; charset=utf-8")
    return json_content(drawn.document())


def heads(request: TraceRequest) -> Content:
    """Return the statistics, the label and the thumbnail of each head of a layer."""
    layer = request.layer()
    size = request.params.integer("size", 1, MAX_THUMBNAIL, THUMBNAIL)
    without_first = request.params.choice("without_first", ("0", "1"), "0") == "1"
    request.params.end()
    found = zip(*atlas(request.trace, layer, size, without_first), strict=True)
    return json_content({"heads": [_head(statistics, thumbnail) for statistics, thumbnail in found]})


def _head(statistics: HeadStatistics, thumbnail: NDArray[np.uint8]) -> Document:
    labels = statistics.labels
    label = max(labels, key=lambda name: labels[name], default=None)
    statistic = label.removesuffix(" token") if label else "entropy"  # the statistic that the label is for
    picture = base64.b64encode(thumbnail.tobytes()).decode()
    return {**asdict(statistics), "label": label, "statistic": statistic, "picture": picture}


def search_heads(request: TraceRequest) -> Content:
    """Rank all heads by the attention that one token pays to some others."""
    query = request.params.integer("query", 0, len(request.trace) - 1)
    keys = request.params.integers("keys", len(request.trace))
    request.params.end()
    ranking = search(request.trace, query, keys)
    return json_content({"heads": [{"layer": layer, "head": head, "weight": w} for layer, head, w in ranking]})


def summary(request: TraceRequest) -> Content:
    """Return what each layer does with a token.

    `weights` are the largest weights of any head on each token, and `heads` the heads that have them. `most` is the
    largest weight of each head on a token that is neither the first nor the token itself. `mlp` is the norm of what the
    MLP adds.
    """
    position = request.position()
    request.params.end()
    trace = request.trace
    layers: list[Document] = []
    for layer in range(trace.config.n_layer):
        request.check()
        weights = trace.attention_of(layer, position)  # (H, T)
        others = np.delete(weights, [0, position], axis=1)
        added = trace[f"resid.post.{layer}"][position] - trace[f"resid.mid.{layer}"][position]
        layers.append(
            {
                "weights": _shortest(weights.max(axis=0)),
                "heads": weights.argmax(axis=0).tolist(),
                "most": _shortest(others.max(axis=1, initial=0.0)),
                "mlp": float(np.linalg.norm(added)),
            }
        )
    return json_content({"position": position, "layers": layers})


def _shortest(values: FloatArray) -> list[float]:
    """Return float32 values as the shortest decimals that are the same float32: half as long in JSON."""
    return [float(str(value)) for value in values]


def next_tokens(request: TraceRequest) -> Content:
    """Return the most likely tokens after a position, with their probability and their logit."""
    trace = request.trace
    position = request.position()
    k = request.top_k()
    request.params.end()
    logits = trace.logits_at(position)
    ids = top_k(logits, k)
    found = candidates(trace.tokenizer, ids, softmax(logits)[ids])
    return json_content(
        {"candidates": [{**each, "logit": float(logits[id_])} for each, id_ in zip(found, ids, strict=True)]}
    )


def logit_lens(request: TraceRequest) -> Content:
    """Return the logit lens: the most likely next tokens at each boundary, for `count` tokens from a position."""
    trace = request.trace
    position = request.position()
    k = request.top_k()
    count = request.params.integer("count", 1, min(MAX_LENS_POSITIONS, len(trace) - position), 1)
    request.params.end()
    readings = lens.logit_lens(trace, k, position, count)

    def document(row: int) -> Document:
        tops = [candidates(trace.tokenizer, each.ids[row], each.probabilities[row]) for each in readings]
        rows = [{"name": each.boundary, "top": top} for each, top in zip(readings, tops, strict=True)]
        return {"position": position + row, "boundaries": rows}

    return json_content({"positions": [document(row) for row in range(count)]})


def divergence(request: TraceRequest) -> Content:
    """Return the KL divergence from another trace at each boundary, in nats."""
    other = request.find(request.params.text("with"))
    position = request.position()
    other_position = request.position_in("other_position", other)
    request.params.end()
    nats = lens.divergence(request.trace, other, position, other_position).tolist()
    names = lens.boundaries(request.trace.config.n_layer)
    return json_content(
        {"boundaries": [{"name": name, "nats": value} for name, value in zip(names, nats, strict=True)]}
    )


def neurons(request: TraceRequest) -> Content:
    """Return the tokens whose logits some neurons of an MLP raise most."""
    trace = request.trace
    layer = request.layer()
    k = request.top_k()
    chosen = request.params.integers("units", MAX_NEURONS)
    request.params.end()

    def top(ids: NDArray[np.intp], effects: FloatArray) -> list[Document]:
        pairs = zip(ids.tolist(), effects.tolist(), strict=True)
        return [{"id": token, "text": token_text(trace.tokenizer, token), "adds": effect} for token, effect in pairs]

    found = zip(chosen, *lens.neuron_logit_effects(trace, layer, chosen, k), strict=True)
    return json_content({"units": [{"unit": unit, "top": top(ids, effects)} for unit, ids, effects in found]})


def direct_logit_attribution(request: TraceRequest) -> Content:
    """Return the direct logit attribution of a token: what each component of the model adds to its logit."""
    position = request.position()
    token = request.params.integer("token", 0, request.trace.config.n_vocab - 1)
    request.params.end()
    found = lens.direct_logit_attribution(request.trace, position, token)
    parts = {name: np.asarray(part).tolist() for name, part in vars(found).items()}
    return json_content({"position": position, "token": token, **parts, "logit": found.logit})


def surprisal(request: TraceRequest) -> Content:
    """Return the surprisal of each token from `first` on, in nats; the default is all tokens that have one.

    A few new tokens take a row of logits each, whatever the length of the text.
    """
    trace = request.trace
    first = request.params.integer("first", 1, max(1, len(trace) - 1), 1)
    request.params.end()
    if first == 1 or len(trace) - first > FEW_TOKENS:
        return json_content({"nats": lens.surprisal(trace)[first - 1 :].tolist()})
    logits = np.stack([trace.logits_at(position - 1) for position in range(first, len(trace))])
    nats = negative_log_likelihood(logits, np.array(trace.ids[first:])).astype(np.float32)
    return json_content({"nats": nats.tolist()})


def cache_benchmark(request: TraceRequest) -> Content:
    """Time the last token's forward pass with the others cached, and that of all tokens; compare the logits."""
    request.params.end()
    trace = request.trace
    if len(trace) < 2:
        raise UsageError("a cache needs a token before the last one: use a text of at least two tokens")
    before = trace.intervene(*fitting(trace.interventions, len(trace) - 1)).edit(trace.ids[:-1])
    cached_logits, with_cache = _timed(trace, before, request.check)
    logits, without_cache = _timed(trace, None, request.check)
    difference = float(np.abs(cached_logits - logits).max())
    return json_content({"with_cache": with_cache, "without_cache": without_cache, "max_difference": difference})


def _timed(trace: Trace, base: Trace | None, check: Callable[[], None]) -> tuple[FloatArray, Document]:
    """Return the last token's logits (V,), reusing the cache of `base`, and the measurements."""
    began = time.perf_counter()
    copy = Trace(
        trace.config,
        trace.weights,
        trace.tokenizer,
        trace.ids,
        trace.interventions,
        base=base,
        progress=lambda done, layers: check(),
        n_prefix=trace.n_prefix,
    )
    logits = copy.logits_at(-1)
    return logits, {"seconds": time.perf_counter() - began, "positions": copy.work.positions_computed}


def notes(request: TraceRequest) -> Content:
    """Return the notes of a piece, [onset, offset, pitch, velocity], and the note (-1: none) and time of each token."""
    request.params.end()
    codec = music_codec(request.trace.tokenizer)
    if codec is None:
        raise UsageError("this model's ids are no music")
    reading = codec.read(request.trace.ids)
    return json_content({**vars(reading), "notes": [list(note) for note in reading.notes]})


# By the path after api/traces/ID/.
HANDLERS: Mapping[str, Handler] = {
    "tensors": tensors,
    "figures/{figure}": figure,
    "heads": heads,
    "search": search_heads,
    "summary": summary,
    "next_tokens": next_tokens,
    "logit_lens": logit_lens,
    "divergence": divergence,
    "units": neurons,
    "direct_logit_attribution": direct_logit_attribution,
    "surprisal": surprisal,
    "notes": notes,
}
