"""The request body of `POST /api/traces`, and the service that computes and caches traces."""

from dataclasses import dataclass
from functools import cached_property

from cutaway.checks import check_int
from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.explore.schemas import trace_document
from cutaway.explore.trace_cache import TraceCache, fingerprint, trace_name
from cutaway.model import Model, Prompt
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Intervention, Trace
from cutaway.trace.interventions import LARGEST, check_intervention, fitting
from cutaway.trace.trace import check_text
from cutaway.untrusted import quote
from cutaway.web.params import Params
from cutaway.web.worker import Send

MAX_INTERVENTIONS = 256


@dataclass(frozen=True)
class TraceRequestBody:
    """The text to trace, and the interventions.

    - `fitting`: drop interventions at positions that the text does not have;
    - `against`: trace with the second model;
    - `base`: the name of a trace whose cache is reused, "" for none;
    - `view`, `sequence`: of two requests of one view, the one with the higher number cancels the other.
    """

    prompt: Prompt
    prepend_bos: bool
    against: bool
    interventions: tuple[Intervention, ...]
    fitting: bool
    base: str
    view: str
    sequence: int


def read_trace_request(config: GPT2Config, params: Params) -> TraceRequestBody:
    """Parse a request body; raises UsageError if it is invalid.

    >>> read_trace_request(GPT2Config(), Params({"ids": [50256, 32]})).prompt
    [50256, 32]
    """
    if ("text" in params) == ("ids" in params):
        raise UsageError("give either text or ids")
    body = TraceRequestBody(
        prompt=params.text("text") if "text" in params else params.token_ids("ids", config),
        prepend_bos=params.flag("prepend_bos"),
        against=params.flag("against"),
        interventions=_interventions(params.array("interventions", [])),
        fitting=params.flag("fitting"),
        base=params.text("base", ""),
        view=params.text("view", ""),
        sequence=params.integer("sequence", 0, None, 0),
    )
    params.end()
    return body


def _interventions(items: list[object]) -> tuple[Intervention, ...]:
    if len(items) > MAX_INTERVENTIONS:
        raise UsageError(f"at most {MAX_INTERVENTIONS} interventions are allowed, not {len(items)}")
    return tuple(map(_intervention, items))


def _intervention(item: object) -> Intervention:
    if not isinstance(item, dict):
        raise UsageError(f"an intervention must be an object, not {quote(item)}")
    fields = Params(item)
    value = fields.number("value", -LARGEST, LARGEST) if "value" in fields else None
    indices = {
        name: fields.integer(name, 0) for name in ("layer", "head", "query", "key", "position") if name in fields
    }
    source = [check_int("a token id of the source", token, 0) for token in fields.array("source", [])]
    intervention = Intervention(fields.text("kind"), value=value, source=tuple(source) or None, **indices)
    fields.end()
    return intervention


def resolve_ids(model: Model, body: TraceRequestBody) -> list[int]:
    """Return the token ids to trace; raises UsageError if they do not fit the model.

    >>> import cutaway
    >>> model = cutaway.load()
    >>> resolve_ids(model, read_trace_request(model.config, Params({"text": "A robot", "prepend_bos": True})))
    [50256, 32, 9379]
    """
    _check_length(model, body.prompt)
    ids = model.encode(body.prompt)
    has_none = isinstance(body.prompt, str) and model.bos is None  # then a text is read without one
    if (body.prepend_bos and not has_none) or not ids:
        ids = [*model.prompt_ids(""), *ids]
    check_text(model.config, ids)
    return ids


def _check_length(model: Model, prompt: Prompt) -> None:
    """Raise UsageError for a text whose bytes cannot fit the context, before encoding it, which may take seconds."""
    if isinstance(prompt, str) and isinstance(model.tokenizer, Tokenizer):  # tokenizers of other kinds drop characters
        n_bytes = len(prompt.encode(errors="replace"))
        least = -(-n_bytes // model.tokenizer.max_token_bytes)
        if least > model.config.n_ctx:
            raise UsageError(
                f"the text is at least {least} tokens long; the context holds {model.config.n_ctx}; shorten it"
            )


def resolve_interventions(model: Model, body: TraceRequestBody, length: int) -> tuple[Intervention, ...]:
    """Return the interventions for a text of `length` tokens; raises UsageError if they do not fit the model or text.

    >>> import cutaway
    >>> model = cutaway.load()
    >>> knockout = {"kind": "attention_knockout", "query": 8, "key": 0}
    >>> body = read_trace_request(model.config, Params({"ids": [32], "interventions": [knockout], "fitting": True}))
    >>> resolve_interventions(model, body, length=9) == body.interventions, resolve_interventions(model, body, length=5)
    (True, ())
    """
    interventions = tuple(fitting(body.interventions, length)) if body.fitting else body.interventions
    for intervention in interventions:
        check_intervention(model.config, intervention, length)
    return interventions


class TraceService:
    """Computes the traces of one model, and caches them.

    >>> import cutaway
    >>> model = cutaway.load()
    >>> service = TraceService(model, TraceCache())
    >>> sent = []
    >>> service.run(read_trace_request(model.config, Params({"ids": [32, 9379]})), sent.append)
    >>> sent[0]["layers_done"], sent[-1]["ids"]
    (1, (32, 9379))
    """

    def __init__(self, model: Model, cache: TraceCache) -> None:
        self._model = model
        self._cache = cache

    def run(self, body: TraceRequestBody, send: Send) -> None:
        """Send the progress after each layer, then the trace; a cached trace is not computed again."""
        ids = resolve_ids(self._model, body)
        interventions = resolve_interventions(self._model, body, len(ids))
        name = trace_name(self._fingerprint, ids, interventions)
        cached = self._cache.find(name)
        trace = cached
        if trace is None:
            trace = self._trace(ids, interventions, body.base, send)
            self._cache.put(name, trace)
        send(trace_document(name, trace, stored=cached is not None))

    def _trace(self, ids: list[int], interventions: tuple[Intervention, ...], base: str, send: Send) -> Trace:
        return Trace(
            self._model.config,
            self._model.weights,
            self._model.codec,
            ids,
            interventions,
            base=self._base(base),
            progress=lambda done, layers: send({"layers_done": done, "layers": layers}),
            n_prefix=self._model.n_prefix(ids),
        )

    def _base(self, name: str) -> Trace | None:
        """Return the trace with that name if it is cached and from this model."""
        base = self._cache.find(name)
        return base if base is not None and base.weights is self._model.weights else None

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self._model)
