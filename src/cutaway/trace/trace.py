"""A trace: every intermediate of a text by its name, computed when it is asked for, and other traces made from it.

There is no arithmetic here. `forward.py` keeps a few tensors of each layer; all others come from these through the same
functions of `reference.py` that made them.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cutaway.checks import check_int
from cutaway.config import GPT2Config
from cutaway.engines.protocol import check_sequences
from cutaway.engines.reference import (
    Hook,
    attention,
    embed,
    head,
    linear,
    merge_heads,
    mlp,
    project_qkv,
)
from cutaway.errors import UsageError
from cutaway.numerics import FloatArray, softmax
from cutaway.tokenizer.codec import Codec
from cutaway.trace.forward import Progress, ReuseStats, TracedForward, boundary, forward
from cutaway.trace.interventions import KINDS, Edits, Intervention, check_intervention, made_in
from cutaway.trace.names import ATTENDED, FINAL, MERGED, PROJECTED, Shape, split_name, trace_shapes

DERIVED_BYTES = 64 << 20  # of tensors that were asked for and are not kept, so many stay in memory


class Trace:
    """All that a GPT-2 computes for some tokens: `trace["attn.3"]`; the names are those of `trace.shapes()`.

    Arrays are read-only, and float32 but for `ids`. Raises UsageError for an empty or too long text and an unknown
    name.
    """

    def __init__(
        self,
        config: GPT2Config,
        weights: Mapping[str, FloatArray],
        tokenizer: Codec | None,
        ids: Sequence[int],
        interventions: Sequence[Intervention] = (),
        *,
        base: Self | None = None,
        progress: Progress | None = None,
    ) -> None:
        check_text(config, ids)
        for intervention in interventions:
            check_intervention(config, intervention, len(ids))
        self.config, self.weights, self.tokenizer = config, weights, tokenizer
        self._check_cancelled: Callable[[], None] = base._check_cancelled if base else _nothing
        self._forward: TracedForward = forward(
            config, weights, ids, interventions, base._forward if base else None, progress or self.on_progress
        )
        self._derived: OrderedDict[str, FloatArray] = OrderedDict()

    @property
    def ids(self) -> tuple[int, ...]:
        """The token ids that were read."""
        return self._forward.ids

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        return self._forward.interventions

    @property
    def work(self) -> ReuseStats:
        """What had to be computed for this trace, and what was taken over from the one that it was made from."""
        return self._forward.work

    @property
    def final_residual(self) -> str:
        """Name of the residual stream after the last block, which the final LayerNorm reads: "resid.post.11"."""
        return boundary(self.config, self.config.n_layer)

    @property
    def n_bytes(self) -> int:
        """Size of the arrays in memory: those that are kept, and what was computed from them and is still there."""
        return sum(array.nbytes for array in (*self._forward.cached.values(), *self._derived.values()))

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        """Every name, in the order of computing."""
        return iter(self.shapes())

    def __contains__(self, name: object) -> bool:
        return name in self.shapes() or name in self.config.tensor_shapes()

    def __repr__(self) -> str:
        config, changes = self.config, len(self.interventions)
        shape = f"{config.n_layer} layers, {config.n_head} heads, {config.n_embd} wide"
        return (
            f"<{type(self).__name__} of {len(self)} tokens: {shape}{f', {changes} interventions' if changes else ''}>"
        )

    def place(self, position: int, name: str = "position") -> int:
        """A position counted from 0, of one that may be counted from the end: -1 is the last token's. UsageError, which
        calls it by that name, where the text has no such.
        """
        return check_int(name, position, -len(self), len(self) - 1) % len(self)

    def shapes(self) -> dict[str, Shape]:
        """Every name and its shape, in the order of computing; nothing is computed for it."""
        return trace_shapes(self.config, len(self.ids))

    def edits(self, start: int = 0) -> Edits:
        """The interventions as a `hook` for `reference.py`, for tokens from that position on."""
        patches = [intervention for intervention in self.interventions if intervention.source]
        return Edits(
            self.interventions, start, {each: self[f"resid.post.{each.layer}"][each.position] for each in patches}
        )

    def with_cancellation(self, check: Callable[[], None]) -> Self:
        """This trace, but that `check` is called before whatever is computed; what it raises ends the computing."""
        cancellable = copy(self)
        cancellable._check_cancelled = check
        return cancellable

    def on_progress(self, done: int, layers: int) -> None:
        """The `progress` of traces that are made from this one on the way to something else."""
        self._check_cancelled()

    # Other traces from this one: they take over what did not change.

    def edit(self, ids: Sequence[int], progress: Progress | None = None) -> Self:
        """The trace of other tokens; positions before the first difference are not computed again."""
        return self._next(ids, self.interventions, progress)

    def append(self, token: int) -> Self:
        """The trace with one token more, as a model with a KV cache reads it."""
        return self.edit([*self.ids, token])

    def intervene(self, *interventions: Intervention, progress: Progress | None = None) -> Self:
        """The trace of the same tokens with these interventions and no others; layers before them are taken over."""
        return self._next(self.ids, interventions, progress)

    def _next(self, ids: Sequence[int], interventions: Sequence[Intervention], progress: Progress | None) -> Self:
        cls = type(self)
        return cls(self.config, self.weights, self.tokenizer, ids, interventions, base=self, progress=progress)

    # Tensors by name.

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name == "ids":
            return _read_only(np.array(self.ids))
        return _read_only(self._find(name))

    def attention(self, layer: int, first: int, stop: int) -> dict[str, FloatArray]:
        """scores_raw, scores, masked, attn and z of heads `first` to `stop` - 1, by these names: (heads, T, ...).

        One head of 1,024 tokens takes milliseconds where a layer takes tenths of a second.
        """
        check_int("layer", layer, 0, self.config.n_layer - 1)
        check_int("first", first, 0, self.config.n_head - 1)
        check_int("stop", stop, first + 1, self.config.n_head)
        arrays = self._attended(layer, first, stop)
        return {kind: _read_only(arrays[f"{kind}.{layer}"]) for kind in ATTENDED}

    def attention_of(self, layer: int, position: int) -> FloatArray:
        """The weights (H, T) that one token gives in each head of a layer, -1 being the last token; for one row no
        other is computed.
        """
        check_int("layer", layer, 0, self.config.n_layer - 1)
        position = self.place(position)
        if self.interventions:
            return _read_only(self._attended(layer, 0, self.config.n_head)[f"attn.{layer}"][:, position])
        q, k, v = (self._forward.cached[f"{kind}.{layer}"][:, : position + 1] for kind in "qkv")
        weights = np.zeros((self.config.n_head, len(self)), np.float32)
        weights[:, : position + 1] = self._seen(lambda hook: attention(q[:, -1:], k, v, layer, hook))[f"attn.{layer}"][
            :, 0
        ]
        return _read_only(weights)

    def logits_at(self, position: int) -> FloatArray:
        """The logits (V,) after one token; -1 is the last."""
        last: FloatArray = self.read_out(self._residual(self.config.n_layer)[self.place(position)][None])["logits"][0]
        return last

    def read_out(self, x: FloatArray) -> dict[str, FloatArray]:
        """ln_f.mean, ln_f.rstd, ln_f and logits of any x (N, d), as if that were the residual stream after the last
        block.
        """
        edits = Edits(self.interventions)
        edits.remember(boundary(self.config, self.config.n_layer), x)
        seen = self._seen(lambda hook: head(self.config, self.weights, x, hook), edits)
        return {name: _read_only(array) for name, array in seen.items()}

    def _find(self, name: str) -> FloatArray:
        if name in self._forward.cached:
            return self._forward.cached[name]
        if name in self.weights:
            return self.weights[name]
        if name not in self._derived:
            self._remember(self._compute(name))
        self._derived.move_to_end(name)
        return self._derived[name]

    def _remember(self, arrays: Mapping[str, FloatArray]) -> None:
        """Keep what was computed, and as much of what was computed before as there is room for."""
        self._derived |= arrays
        size = sum(array.nbytes for array in self._derived.values())
        while size > DERIVED_BYTES and len(self._derived) > len(arrays):
            size -= self._derived.popitem(last=False)[1].nbytes

    def _compute(self, name: str) -> dict[str, FloatArray]:
        """A tensor that is not kept, and those that come with it."""
        if name in ("cache.k", "cache.v"):
            layers = range(self.config.n_layer)
            return {name: np.stack([self._forward.cached[f"{name[-1]}.{layer}"] for layer in layers])}
        if name in ("tok_emb", "pos_emb"):
            return self._seen(lambda hook: embed(self.weights, self.ids, 0, hook))
        if name in FINAL:
            read = self.read_out(self._residual(self.config.n_layer))
            return read | {"probs": softmax(read["logits"])}
        kind, layer = split_name(self.config, name)
        if kind == "resid.post":
            return {name: self._residual(layer + 1)}
        if kind in PROJECTED:
            return self._projected(layer)
        if kind in ATTENDED:
            return self._attended(layer, 0, self.config.n_head)
        if kind in MERGED:
            return self._merged(layer)
        middle = self._forward.cached[f"resid.mid.{layer}"]
        return self._seen(lambda hook: mlp(self.config, self.weights, layer, middle, hook))

    def _residual(self, layer: int) -> FloatArray:
        return self._forward.cached[boundary(self.config, layer)]

    def _seen(self, compute: Callable[[Hook], object], edits: Edits | None = None) -> dict[str, FloatArray]:
        """Everything that passes by while `compute` runs, with the interventions made."""
        edits = edits or Edits(self.interventions)
        seen: dict[str, FloatArray] = {}

        def hook(name: str, array: FloatArray) -> FloatArray:
            seen[name] = edits(name, array)
            return seen[name]

        self._check_cancelled()
        compute(hook)
        return seen

    def _attended(self, layer: int, first: int, stop: int) -> dict[str, FloatArray]:
        q, k, v = (self._forward.cached[f"{kind}.{layer}"] for kind in "qkv")
        chosen = slice(first, stop)
        if not self.interventions:
            return self._seen(lambda hook: attention(q[chosen], k[chosen], v[chosen], layer, hook))
        seen = self._seen(lambda hook: attention(q, k, v, layer, hook))  # an intervention counts heads from the first
        return {name: array[chosen] for name, array in seen.items()}

    def _projected(self, layer: int) -> dict[str, FloatArray]:
        """What leads to the queries, keys and values. `qkv` is those that are kept: computed again for all tokens at
        once it would differ in the last bits from what was computed for some at a time.
        """
        seen = self._seen(lambda hook: project_qkv(self.config, self.weights, layer, self._residual(layer), hook))
        parts = np.split(seen[f"qkv.{layer}"], 3, axis=-1)  # each (T, d)
        for part, kind in zip(parts, "qkv", strict=True):
            if not any(KINDS[intervention.kind].tensor == kind for intervention in made_in(layer, self.interventions)):
                part[:] = merge_heads(self._forward.cached[f"{kind}.{layer}"])
        return seen

    def _merged(self, layer: int) -> dict[str, FloatArray]:
        zcat = merge_heads(self._find(f"z.{layer}"))
        name = f"attn_out.{layer}"
        return {f"zcat.{layer}": zcat} | self._seen(
            lambda hook: hook(name, linear(self.weights, f"h.{layer}.attn.c_proj", zcat))
        )


def _nothing() -> None:
    pass


def check_text(config: GPT2Config, ids: Sequence[int]) -> None:
    """Raises UsageError unless these are token ids that the context can hold, at least one."""
    if len(ids) > config.n_ctx:
        raise UsageError(f"the text is {len(ids)} tokens long; the context holds {config.n_ctx}; shorten it")
    check_sequences(config, [ids], [0])


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers; who writes into them is told."""
    view = array.view()
    view.flags.writeable = False
    return view
