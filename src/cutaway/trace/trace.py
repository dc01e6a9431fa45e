"""Trace: every intermediate tensor of a forward pass by name, computed on demand, and further traces that reuse it.

There is no arithmetic here. `forward.py` caches a few tensors of each layer. The same functions of `reference.py`
compute all others from these.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cutaway.checks import check_int
from cutaway.config import GPT2Config
from cutaway.engines.protocol import check_causal, check_sequences
from cutaway.engines.reference import (
    Hook,
    attention,
    embed,
    linear,
    lm_head,
    merge_heads,
    mlp,
    project_qkv,
    relative_table,
)
from cutaway.errors import NonFiniteError, UsageError
from cutaway.numerics import FloatArray, read_only, reserve_blas, softmax
from cutaway.tokenizer.codec import TokenCodec
from cutaway.trace.forward import Progress, ReuseStats, TracedForward, boundary, forward
from cutaway.trace.interventions import KINDS, Edits, Intervention, check_intervention, made_in
from cutaway.trace.names import FINAL, MERGED, PROJECTED, Shape, attended, split_name, trace_names, trace_shapes

DERIVED_BYTES = 64 << 20  # size of the LRU cache of tensors computed on demand


class Trace:
    """All tensors that a GPT-2 computes for T tokens, by the names of `trace.shapes()`: `trace["attn.3"]`.

    The first `n_prefix` tokens see each other, as in a task with prefix attention, where they precede the target.
    Arrays are read-only, and float32 except `ids`. Raises UsageError for a text that is empty or exceeds the context,
    an invalid intervention, a prefix in a model with relative positions, and an unknown name. Raises NonFiniteError if
    the weights make numbers too large for float32.

    >>> import cutaway
    >>> trace = cutaway.load().trace([464, 9379, 318])
    >>> trace["attn.3"].shape, trace["resid.post.7"].shape
    ((6, 3, 3), (3, 384))
    >>> trace.append(257).work.positions_computed
    1
    """

    def __init__(
        self,
        config: GPT2Config,
        weights: Mapping[str, FloatArray],
        tokenizer: TokenCodec | None,
        ids: Sequence[int],
        interventions: Sequence[Intervention] = (),
        *,
        base: Self | None = None,
        progress: Progress | None = None,
        n_prefix: int = 0,
    ) -> None:
        check_text(config, ids)
        check_causal(config, check_int("n_prefix", n_prefix, 0, len(ids)) > 0)
        for intervention in interventions:
            check_intervention(config, intervention, len(ids))
        self.config = config
        self.weights = weights
        self.tokenizer = tokenizer
        self._check_cancelled: Callable[[], None] = base._check_cancelled if base else _nothing
        reserve_blas()
        with np.errstate(over="ignore", invalid="ignore"):
            self._forward: TracedForward = forward(
                config,
                weights,
                ids,
                interventions,
                base._forward if base else None,
                progress or self.on_progress,
                n_prefix=n_prefix,
            )
        self._derived: OrderedDict[str, FloatArray] = OrderedDict()
        self.results: dict[object, object] = {}  # of `once_for_a_trace`, shared with copies
        self._check_finite(self.final_residual, self._residual(config.n_layer))

    @property
    def ids(self) -> tuple[int, ...]:
        """Token ids of the text."""
        return self._forward.ids

    @property
    def n_prefix(self) -> int:
        """Number of first tokens that see each other; 0 if attention is causal."""
        return self._forward.n_prefix

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        """Interventions, in the order in which they are applied."""
        return self._forward.interventions

    @property
    def work(self) -> ReuseStats:
        """Tokens and layers that were computed for this trace or reused from its base."""
        return self._forward.work

    @property
    def final_residual(self) -> str:
        """Name of the residual stream after the last block, the input of the final LayerNorm: "resid.post.11"."""
        return boundary(self.config, self.config.n_layer)

    @property
    def n_bytes(self) -> int:
        """Size in bytes of the arrays in memory: the cached tensors, and the derived tensors still held."""
        return sum(array.nbytes for array in (*self._forward.cached.values(), *self._derived.values()))

    def __len__(self) -> int:
        """Count the tokens."""
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        """Yield every name, in order of computation."""
        return iter(self.shapes())

    def __contains__(self, name: object) -> bool:
        return name in trace_names(self.config) or name in self.config.tensor_shapes()

    def __repr__(self) -> str:
        config = self.config
        changes = len(self.interventions)
        shape = f"{config.n_layer} layers, {config.n_head} heads, {config.n_embd} wide"
        return (
            f"<{type(self).__name__} of {len(self)} tokens: {shape}{f', {changes} interventions' if changes else ''}>"
        )

    def check_position(self, position: int, name: str = "position") -> int:
        """Validate a position, which may count from the end (-1 is the last token); return it counted from 0.

        Raises UsageError, with `name` in its message, if it is outside the text.

        >>> import cutaway
        >>> cutaway.load().trace([464, 9379, 318]).check_position(-1)
        2
        """
        return check_int(name, position, -len(self), len(self) - 1) % len(self)

    def shapes(self) -> dict[str, Shape]:
        """List every name and its shape, in order of computation; computes nothing.

        >>> import cutaway
        >>> shapes = cutaway.load().trace([464, 9379, 318]).shapes()
        >>> list(shapes)[:3], shapes["logits"]
        (['ids', 'tok_emb', 'pos_emb'], (3, 50257))
        """
        return trace_shapes(self.config, len(self.ids))

    def edits(self, start: int = 0) -> Edits:
        """Make a hook for `reference.py` that applies the interventions to the tokens from position `start` on.

        >>> import cutaway
        >>> trace = cutaway.load().trace([464, 9379, 318]).intervene(Intervention("zero_ablate_head", layer=0, head=0))
        >>> trace.edits()("z.0", np.ones((2, 1, 1), np.float32)).tolist()
        [[[0.0]], [[1.0]]]
        """
        patches = [intervention for intervention in self.interventions if intervention.source]
        return Edits(
            self.interventions, start, {each: self[f"resid.post.{each.layer}"][each.position] for each in patches}
        )

    def with_cancellation(self, check: Callable[[], None]) -> Self:
        """Copy this trace so that `check()` is called before each computation; its exception cancels the computation.

        >>> import cutaway
        >>> def check() -> None:
        ...     raise TimeoutError
        >>> cutaway.load().trace([464, 9379, 318]).with_cancellation(check)["logits"]
        Traceback (most recent call last):
        TimeoutError
        """
        cancellable = copy(self)
        cancellable._check_cancelled = check
        return cancellable

    def on_progress(self, done: int, layers: int) -> None:
        """Check for cancellation. This is the default `progress` of traces made from this one.

        >>> import cutaway
        >>> trace = cutaway.load().trace([464, 9379, 318])
        >>> trace.with_cancellation(lambda: print("still wanted")).on_progress(done=1, layers=8)
        still wanted
        """
        self._check_cancelled()

    # Further traces, which reuse tensors that do not change.

    def edit(self, ids: Sequence[int], progress: Progress | None = None) -> Self:
        """Trace other tokens with the same interventions, reusing the positions before the first difference.

        A prefix keeps its length; in a shorter text it is the whole text.

        >>> import cutaway
        >>> trace = cutaway.load().trace([464, 9379, 318])
        >>> trace.edit([464, 9379, 373]).work.positions_computed
        1
        """
        return self._next(ids, self.interventions, progress)

    def append(self, token: int) -> Self:
        """Trace the text with one more token, reusing all others as a KV cache does.

        >>> import cutaway
        >>> trace = cutaway.load().trace([464, 9379, 318])
        >>> longer = trace.append(257)
        >>> longer.ids, longer.work.positions_reused
        ((464, 9379, 318, 257), 3)
        """
        return self.edit([*self.ids, token])

    def intervene(self, *interventions: Intervention, progress: Progress | None = None) -> Self:
        """Trace the same tokens with these interventions and no others, reusing the layers before them.

        >>> import cutaway
        >>> trace = cutaway.load().trace([464, 9379, 318])
        >>> without = trace.intervene(Intervention("zero_ablate_head", layer=5, head=1))
        >>> without.work.layers_reused, without["z.5"][1].any()
        (5, np.False_)
        """
        return self._next(self.ids, interventions, progress)

    def _next(self, ids: Sequence[int], interventions: Sequence[Intervention], progress: Progress | None) -> Self:
        cls = type(self)
        n_prefix = min(self.n_prefix, len(ids))
        return cls(
            self.config,
            self.weights,
            self.tokenizer,
            ids,
            interventions,
            base=self,
            progress=progress,
            n_prefix=n_prefix,
        )

    # Tensors by name.

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name == "ids":
            return read_only(np.array(self.ids))
        return read_only(self._find(name))

    def attention(self, layer: int, first: int, stop: int) -> dict[str, FloatArray]:
        """Compute scores_raw, scores, masked, attn and z of heads `first` to `stop` - 1, by name: (heads, T, ...). With
        relative positions also scores_rel.

        One head of 1,024 tokens takes milliseconds, a whole layer tenths of a second.

        >>> import cutaway
        >>> heads = cutaway.load().trace([464, 9379, 318]).attention(layer=3, first=1, stop=3)
        >>> list(heads), heads["attn"].shape
        (['scores_raw', 'scores', 'masked', 'attn', 'z'], (2, 3, 3))
        """
        check_int("layer", layer, 0, self.config.n_layer - 1)
        check_int("first", first, 0, self.config.n_head - 1)
        check_int("stop", stop, first + 1, self.config.n_head)
        arrays = self._attended(layer, first, stop)
        return {kind: read_only(arrays[f"{kind}.{layer}"]) for kind in attended(self.config)}

    def attention_of(self, layer: int, position: int) -> FloatArray:
        """Compute only the attention weights (H, T) of one query position in each head of a layer.

        >>> import cutaway
        >>> weights = cutaway.load().trace([464, 9379, 318]).attention_of(layer=3, position=0)
        >>> weights[0].tolist()  # the first token has only itself to attend to
        [1.0, 0.0, 0.0]
        """
        check_int("layer", layer, 0, self.config.n_layer - 1)
        position = self.check_position(position)
        if self.interventions:
            return read_only(self._attended(layer, 0, self.config.n_head)[f"attn.{layer}"][:, position])
        seen = max(position + 1, self.n_prefix)
        q, k, v = (self._forward.cached[f"{kind}.{layer}"][:, :seen] for kind in "qkv")
        weights = np.zeros((self.config.n_head, len(self)), np.float32)
        table = relative_table(self.config, self.weights, layer)
        own = q[:, position : position + 1]
        recorded = self._record(lambda hook: attention(self.config, own, k, v, layer, hook, relative=table))
        weights[:, :seen] = recorded[f"attn.{layer}"][:, 0]
        return read_only(weights)

    def logits_at(self, position: int) -> FloatArray:
        """Compute the logits (V,) after the token at a position.

        >>> import cutaway
        >>> cutaway.load().trace([464, 9379, 318]).logits_at(-1).shape
        (50257,)
        """
        x = self._residual(self.config.n_layer)[self.check_position(position)]
        logits: FloatArray = self.read_out(x[None])["logits"][0]
        return logits

    def read_out(self, x: ArrayLike) -> dict[str, FloatArray]:
        """Apply the final LayerNorm and the output matrix to any x (N, d): ln_f.mean, ln_f.rstd, ln_f and logits.

        Other dtypes are converted to float32. Raises UsageError for vectors of another width.

        >>> import cutaway
        >>> trace = cutaway.load().trace([464, 9379, 318])
        >>> early = trace.read_out(trace["resid.post.2"])
        >>> list(early), early["logits"].shape
        (['ln_f.mean', 'ln_f.rstd', 'ln_f', 'logits'], (3, 50257))
        """
        vectors = np.asarray(x, np.float32)
        if vectors.shape[-1:] != (self.config.n_embd,):
            raise UsageError(f"x must be vectors of {self.config.n_embd} numbers, not of the shape {vectors.shape}")
        edits = Edits(self.interventions)
        edits.remember(boundary(self.config, self.config.n_layer), vectors)
        recorded = self._record(lambda hook: lm_head(self.config, self.weights, vectors, hook), edits)
        return {name: read_only(array) for name, array in recorded.items()}

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
        """Cache these arrays, and evict the least recently used ones beyond DERIVED_BYTES."""
        self._derived |= arrays
        size = sum(array.nbytes for array in self._derived.values())
        while size > DERIVED_BYTES and len(self._derived) > len(arrays):
            size -= self._derived.popitem(last=False)[1].nbytes

    def _compute(self, name: str) -> dict[str, FloatArray]:
        """Compute a tensor that is not cached, and the others that the same function computes."""
        if name in ("cache.k", "cache.v"):
            layers = range(self.config.n_layer)
            return {name: np.stack([self._forward.cached[f"{name[-1]}.{layer}"] for layer in layers])}
        if name in ("tok_emb", "pos_emb"):
            return self._record(lambda hook: embed(self.weights, self.ids, 0, hook))
        if name in FINAL:
            read = self.read_out(self._residual(self.config.n_layer))
            return read | {"probs": softmax(read["logits"])}
        kind, layer = split_name(self.config, name)
        if kind == "resid.post":
            return {name: self._residual(layer + 1)}
        if kind in PROJECTED:
            return self._projected(layer)
        if kind in attended(self.config):
            return self._attended(layer, 0, self.config.n_head)
        if kind in MERGED:
            return self._merged(layer)
        middle = self._forward.cached[f"resid.mid.{layer}"]
        return self._record(lambda hook: mlp(self.config, self.weights, layer, middle, hook))

    def _residual(self, layer: int) -> FloatArray:
        return self._forward.cached[boundary(self.config, layer)]

    def _record(self, compute: Callable[[Hook], object], edits: Edits | None = None) -> dict[str, FloatArray]:
        """Run `compute` with a hook that applies the interventions and records every tensor."""
        edits = edits or Edits(self.interventions)
        recorded: dict[str, FloatArray] = {}

        def hook(name: str, array: FloatArray) -> FloatArray:
            recorded[name] = edits(name, array)
            return recorded[name]

        self._check_cancelled()
        with np.errstate(over="ignore", invalid="ignore"):
            compute(hook)
        for name, array in recorded.items():
            self._check_finite(name, array)
        return recorded

    def _check_finite(self, name: str, array: FloatArray) -> None:
        if np.isfinite(array).all():
            return
        if self.interventions:
            raise UsageError("with these interventions numbers grow too large for float32; use smaller values")
        raise NonFiniteError(f"{name} is not finite: the weights make numbers too large for float32")

    def _attended(self, layer: int, first: int, stop: int) -> dict[str, FloatArray]:
        q, k, v = (self._forward.cached[f"{kind}.{layer}"] for kind in "qkv")
        table = relative_table(self.config, self.weights, layer)
        chosen = slice(first, stop)
        n_prefix = self.n_prefix
        if self.interventions:  # interventions index all heads
            recorded = self._record(lambda hook: attention(self.config, q, k, v, layer, hook, n_prefix, relative=table))
            return {name: array[chosen] for name, array in recorded.items()}
        some = None if table is None else table[chosen]
        heads = (q[chosen], k[chosen], v[chosen])
        return self._record(lambda hook: attention(self.config, *heads, layer, hook, n_prefix, relative=some))

    def _projected(self, layer: int) -> dict[str, FloatArray]:
        """Compute the first LayerNorm and qkv of a layer. `qkv` is filled from the cache: recomputed for all tokens at
        once, it would differ in the last bits from values computed for a few tokens at a time.
        """
        recorded = self._record(lambda hook: project_qkv(self.config, self.weights, layer, self._residual(layer), hook))
        parts = np.split(recorded[f"qkv.{layer}"], 3, axis=-1)  # each (T, d)
        for part, kind in zip(parts, "qkv", strict=True):
            if not any(KINDS[intervention.kind].tensor == kind for intervention in made_in(layer, self.interventions)):
                part[:] = merge_heads(self._forward.cached[f"{kind}.{layer}"])
        return recorded

    def _merged(self, layer: int) -> dict[str, FloatArray]:
        zcat = merge_heads(self._find(f"z.{layer}"))
        name = f"attn_out.{layer}"
        return {f"zcat.{layer}": zcat} | self._record(
            lambda hook: hook(name, linear(self.weights, f"h.{layer}.attn.c_proj", zcat))
        )


def _nothing() -> None:
    pass


def check_text(config: GPT2Config, ids: Sequence[int]) -> None:
    """Validate a text: known token ids, at least one, that fit the context. Raises UsageError.

    >>> check_text(GPT2Config(n_ctx=2), [464, 9379, 318])
    Traceback (most recent call last):
    cutaway.errors.UsageError: the text is 3 tokens long; the context holds 2; shorten it
    """
    if len(ids) > config.n_ctx:
        raise UsageError(f"the text is {len(ids)} tokens long; the context holds {config.n_ctx}; shorten it")
    check_sequences(config, [ids], [0])
