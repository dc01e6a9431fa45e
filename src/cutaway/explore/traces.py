"""A text that is to be read: what a request says of it, and the trace that is made."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cutaway.checks import check_int
from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.explore.arguments import Arguments
from cutaway.explore.schemas import trace_document
from cutaway.explore.trace_cache import TraceStore, fingerprint, trace_name
from cutaway.explore.worker import Send
from cutaway.figures import DrawableTrace
from cutaway.model import Model, Prompt
from cutaway.trace import Intervention
from cutaway.trace.interventions import LARGEST, check_intervention
from cutaway.trace.trace import check_text
from cutaway.untrusted import quote

MAX_INTERVENTIONS = 256


@dataclass(frozen=True)
class Wanted:
    """What to read, and what to change in the model meanwhile.

    `against`: by the model that the page's is held against. `base` names a trace to take over from, "" none; of two
    requests for one `view` the one with the higher `sequence` is the newer.
    """

    prompt: Prompt
    prepend_bos: bool
    against: bool
    interventions: tuple[Intervention, ...]
    base: str
    view: str
    sequence: int


def read_wanted(config: GPT2Config, body: Arguments) -> Wanted:
    """What a request asks for; raises UsageError where it is not as it should be."""
    if ("text" in body) == ("ids" in body):
        raise UsageError("give either text or ids")
    wanted = Wanted(
        prompt=body.text("text") if "text" in body else body.token_ids("ids", config),
        prepend_bos=body.flag("prepend_bos"),
        against=body.flag("against"),
        interventions=_interventions(body.items("interventions", [])),
        base=body.text("base", ""),
        view=body.text("view", ""),
        sequence=body.whole("sequence", 0, None, 0),
    )
    body.end()
    return wanted


def _interventions(items: list[object]) -> tuple[Intervention, ...]:
    if len(items) > MAX_INTERVENTIONS:
        raise UsageError(f"there can be {MAX_INTERVENTIONS} interventions at a time, not {len(items)}")
    return tuple(map(_intervention, items))


def _intervention(item: object) -> Intervention:
    if not isinstance(item, dict):
        raise UsageError(f"an intervention must be an object, not {quote(item)}")
    fields = Arguments(item)
    value = fields.real("value", -LARGEST, LARGEST) if "value" in fields else None
    places = {name: fields.whole(name, 0) for name in ("layer", "head", "query", "key", "position") if name in fields}
    source = [check_int("a token id of the source", token, 0) for token in fields.items("source", [])]
    made = Intervention(fields.text("kind"), value=value, source=tuple(source) or None, **places)
    fields.end()
    return made


def token_ids(model: Model, wanted: Wanted) -> list[int]:
    """The tokens that are wanted; raises UsageError where they or the interventions do not fit the model."""
    ids = model.encode(wanted.prompt)
    if wanted.prepend_bos or not ids:
        ids = [*model.prompt_ids(""), *ids]
    check_text(model.config, ids)
    for intervention in wanted.interventions:
        check_intervention(model.config, intervention, len(ids))
    return ids


class Reader:
    """Makes the traces of a model and keeps them in a store."""

    def __init__(self, model: Model, store: TraceStore) -> None:
        self._model, self._store = model, store

    def read(self, wanted: Wanted, send: Send) -> None:
        """Send how far the reading is, and at the end the trace; what was read before is not read again."""
        ids = token_ids(self._model, wanted)
        name = trace_name(self._fingerprint, ids, wanted.interventions)
        trace = stored = self._store.find(name)
        if trace is None:
            trace = self._trace(ids, wanted, send)
            self._store.put(name, trace)
        send(trace_document(name, trace, stored=stored is not None))

    def _trace(self, ids: list[int], wanted: Wanted, send: Send) -> DrawableTrace:
        trace = DrawableTrace(
            self._model.config,
            self._model.weights,
            self._model.tokenizer,
            ids,
            wanted.interventions,
            base=self._base(wanted.base),
            progress=lambda done, layers: send({"layers_done": done, "layers": layers}),
        )
        if not np.isfinite(trace[trace.final_residual]).all():
            raise UsageError("with these interventions numbers grow too large for float32; use smaller values")
        return trace

    def _base(self, name: str) -> DrawableTrace | None:
        """The trace of that name, if it is here and this model's."""
        base = self._store.find(name)
        return base if base is not None and base.weights is self._model.weights else None

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self._model)
