"""A cache of traces, each under a content hash of the model, the token ids and the interventions.

The same content has the same name in every process. When the cache is over its limit, the least recently used trace
is evicted.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict

from cutaway.errors import UsageError
from cutaway.model import Model
from cutaway.trace import Intervention, Trace

MAX_BYTES = 1 << 30


class UnknownTrace(UsageError):
    """A trace that was never cached, or was evicted."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown trace {name!r:.40}; it may have been evicted: post its token ids again")


def fingerprint(model: Model) -> str:
    """Hash a model's shape, its precision and a sample of its weights, to 64 hexadecimal digits.

    The sample is all biases and LayerNorms and a row of `wte`: a large model has gigabytes of weights, and two trained
    models never share all of the sample.

    >>> import cutaway
    >>> fingerprint(cutaway.load()) == fingerprint(cutaway.load())
    True
    """
    digest = hashlib.sha256(repr((model.config, model.engine.dtype)).encode())
    for name, shape in model.config.tensor_shapes().items():
        if len(shape) == 1:
            digest.update(model.weights[name].tobytes())
    digest.update(model.weights["wte.weight"][-1].tobytes())
    return digest.hexdigest()


def trace_name(model_fingerprint: str, ids: Sequence[int], interventions: Sequence[Intervention]) -> str:
    """Hash a trace's content to 16 hexadecimal digits.

    >>> trace_name("0" * 64, [50256, 32], [])
    'f1fca9504078bd24'
    """
    content = json.dumps([model_fingerprint, list(ids), [asdict(intervention) for intervention in interventions]])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


class TraceCache:
    """An LRU cache of at most `limit` bytes; the two most recent ones stay, however large, to be compared.

    >>> import cutaway
    >>> cache = TraceCache()
    >>> cache.put("first", cutaway.load().trace([32, 9379]))
    >>> len(cache["first"]), cache.find("second")
    (2, None)
    """

    def __init__(self, limit: int = MAX_BYTES) -> None:
        self._limit = limit
        self._traces: OrderedDict[str, Trace] = OrderedDict()

    def find(self, name: str) -> Trace | None:
        """Return the trace with that name, or None."""
        if name in self._traces:
            self._touch(name)
        return self._traces.get(name)

    def __getitem__(self, name: str) -> Trace:
        trace = self.find(name)
        if trace is None:
            raise UnknownTrace(name)
        return trace

    def put(self, name: str, trace: Trace) -> None:
        """Add or replace a trace."""
        self._traces[name] = trace
        self._touch(name)

    def _touch(self, name: str) -> None:
        """Mark as used, and evict; on every use, because traces grow as their tensors are computed."""
        self._traces.move_to_end(name)
        size = sum(trace.n_bytes for trace in self._traces.values())
        while size > self._limit and len(self._traces) > 2:
            size -= self._traces.popitem(last=False)[1].n_bytes

    def __len__(self) -> int:
        return len(self._traces)
