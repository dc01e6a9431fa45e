"""The traces that are kept, each under a name made from what it is of: the model, the tokens, the interventions.

Asked for again, it is there; on another day or in another process it has the same name. When there are too many bytes
of them the one that was used longest ago goes first.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict

from cutaway.errors import UsageError
from cutaway.figures import DrawableTrace
from cutaway.model import Model
from cutaway.trace import Intervention

MAX_BYTES = 1 << 30


class UnknownTrace(UsageError):
    """There is no trace of that name here, or no longer."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no trace {name!r:.40} here, or no longer; post its token ids again")


def fingerprint(model: Model) -> str:
    """What tells a model from others: its shape, its precision, and numbers of its weights.

    All biases and LayerNorms and a row of `wte` are read, not every number: a large model has gigabytes of them, and no
    two that were trained share these.
    """
    digest = hashlib.sha256(repr((model.config, model.engine.dtype)).encode())
    for name, shape in model.config.tensor_shapes().items():
        if len(shape) == 1:
            digest.update(model.weights[name].tobytes())
    digest.update(model.weights["wte.weight"][-1].tobytes())
    return digest.hexdigest()


def trace_name(model_fingerprint: str, ids: Sequence[int], interventions: Sequence[Intervention]) -> str:
    """16 hexadecimal digits, the same for the same model, tokens and interventions."""
    content = json.dumps([model_fingerprint, list(ids), [asdict(intervention) for intervention in interventions]])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


class TraceStore:
    """Traces by their names, at most `limit` bytes of them; the last two used stay, however large, to be compared."""

    def __init__(self, limit: int = MAX_BYTES) -> None:
        self._limit = limit
        self._traces: OrderedDict[str, DrawableTrace] = OrderedDict()

    def find(self, name: str) -> DrawableTrace | None:
        """The trace of that name, if it is here."""
        if name in self._traces:
            self._use(name)
        return self._traces.get(name)

    def __getitem__(self, name: str) -> DrawableTrace:
        trace = self.find(name)
        if trace is None:
            raise UnknownTrace(name)
        return trace

    def put(self, name: str, trace: DrawableTrace) -> None:
        """Keep a trace."""
        self._traces[name] = trace
        self._use(name)

    def _use(self, name: str) -> None:
        """Let go of the oldest ones that there is no room for; a trace grows when its tensors are asked for."""
        self._traces.move_to_end(name)
        size = sum(each.n_bytes for each in self._traces.values())
        while size > self._limit and len(self._traces) > 2:
            size -= self._traces.popitem(last=False)[1].n_bytes

    def __len__(self) -> int:
        return len(self._traces)
