"""Decoding on CUDA as one graph: the next token of rows that lie anywhere, replayed instead of launched.

A token takes some 150 kernels that run for microseconds each, and launching them from Python takes ten times as long as
they run. What a graph reads has fixed addresses, so it holds its own few inputs: for each row a token, a length, and
the addresses of the row's keys and values. So one graph, captured once, serves all rows of all caches of an engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor

from cutaway.engines.pytorch.decoding import attend_next_at
from cutaway.engines.pytorch.model import GPT2, KVCache, LayerCache
from cutaway.engines.pytorch.products import output_product

# A sequence's bits depend on the number of rows that are multiplied together, so it is always the same. So few more
# rows than one take hardly longer: reading the weights does.
GRAPH_ROWS = 32


@dataclass
class ScatteredLayer(LayerCache):
    """One layer of rows that lie anywhere: k and v (B,) are their addresses in the first layer."""

    n_slots: int = 0
    offset: int = 0  # from the first layer to this one, in numbers

    def attend_next(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        assert self.arrived is not None
        return attend_next_at(q, k, v, self.k, self.v, self.lengths, self.arrived, self.n_slots, self.offset)


@dataclass
class ScatteredCache(KVCache):
    """Rows that lie anywhere, in caches of one shape: k and v (B,) are their addresses, 0 for a row without any."""

    n_slots: int = 0
    layer_stride: int = 0  # numbers from one layer to the next

    def layer(self, number: int) -> LayerCache:
        offset = number * self.layer_stride
        return ScatteredLayer(self.k, self.v, self.lengths, self.arrived, self.n_slots, offset)


@dataclass(frozen=True)
class Row:
    """A row that reads a token: the tokens it holds, and the addresses of its keys and values in the first layer."""

    length: int
    k: int
    v: int


class NextToken:
    """The reading of one token in each of up to `GRAPH_ROWS` rows: launched once, then captured and replayed.

    Where it cannot be captured, as when memory is short, it is launched each time, with the same results. Rows are of
    caches with `layer_stride` numbers from one layer to the next. The model must stay as it is: the same parameters, in
    the same memory.
    """

    def __init__(self, model: GPT2, layer_stride: int) -> None:
        self._model = model
        weight = model.wpe.weight
        self._inputs = torch.zeros(4, GRAPH_ROWS, dtype=torch.long, device=weight.device)
        ids, lengths, k, v = self._inputs
        arrived = torch.zeros(GRAPH_ROWS, model.config.n_head, dtype=torch.int32, device=weight.device)
        self._ids = ids[:, None]
        self._cache = ScatteredCache(k, v, lengths, arrived, model.config.n_ctx, layer_stride)
        # Logits, and in the last column 1 for a row that is finite.
        self._found = torch.zeros(GRAPH_ROWS, model.config.n_vocab + 1, device=weight.device)
        self._staged = torch.zeros(4, GRAPH_ROWS, dtype=torch.long, pin_memory=weight.is_cuda)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._was_launched = False  # which allocates and compiles what a capture must not
        self._may_capture = weight.is_cuda
        self._lock = Lock()  # threads share what is above

    def read(self, tokens: Sequence[int], rows: Sequence[Row]) -> Tensor | None:
        """Read a token in each row; return float32 logits (rows, V) on the CPU, or None if numbers overflowed.

        Keys and values are written; lengths are the caller's.
        """
        places = [(row.length, row.k, row.v) for row in rows]
        inputs = torch.tensor([(token, *place) for token, place in zip(tokens, places, strict=True)])
        with self._lock:
            self._staged.zero_()
            self._staged[:, : len(rows)] = inputs.t()
            self._inputs.copy_(self._staged, non_blocking=True)
            self._run()
            found = self._found[: len(rows)]
            received = torch.empty_like(found, device="cpu", pin_memory=found.is_cuda)
            received.copy_(found, non_blocking=True)
            if found.is_cuda:
                torch.cuda.current_stream().synchronize()
        return received[:, :-1] if received[:, -1].all() else None

    def _run(self) -> None:
        if self._was_launched and self._may_capture:
            self._may_capture = False
            self._graph = self._capture()
        if self._graph is None:
            self._launch()
            self._was_launched = True
        else:
            self._graph.replay()

    def _launch(self) -> None:
        hidden = self._model.hidden(self._ids, self._cache)[:, 0]  # (GRAPH_ROWS, d)
        self._found[:, :-1] = output_product(hidden, self._model.lm_head.weight)
        self._found[:, -1] = hidden.isfinite().all(-1)

    def _capture(self) -> torch.cuda.CUDAGraph | None:
        """Capture the launches; return None where that fails.

        Unlike `torch.cuda.graph` it collects no garbage and empties no caches, which would take longer than the rest,
        and lets other threads use the GPU meanwhile.
        """
        try:
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    self._launch()
                finally:
                    graph.capture_end()
        except RuntimeError:
            return None
        return graph
