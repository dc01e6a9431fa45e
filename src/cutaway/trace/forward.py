"""A forward pass of `reference.py` that caches what is expensive to recompute and reuses a previous pass's cache.

The cache holds the residual stream before, inside and after each block, and each layer's queries, keys and values:
about 200 MB for 1,024 tokens of the smallest GPT-2. One function call computes any other tensor from these.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cutaway.config import GPT2Config
from cutaway.engines.reference import block, embed
from cutaway.numerics import FloatArray, count_shared
from cutaway.trace.interventions import KINDS, Before, Edits, Intervention, made_in

Progress = Callable[[int, int], None]  # called with (layers done, layers in total); an exception from it ends the pass


@dataclass(frozen=True)
class ReuseStats:
    """Tokens and layers that a pass computed and reused, and its duration.

    `changed_layer` is the first layer in which the interventions differ. Computed layers before it computed
    `positions_computed` tokens and reused the others; layers from it on computed every token. Forward passes of the
    source texts of patches are counted in `seconds` only.
    """

    positions_computed: int
    positions_reused: int
    layers_computed: int
    layers_reused: int
    changed_layer: int
    seconds: float


@dataclass(frozen=True)
class TracedForward:
    """Tokens, interventions and cached tensors of a pass: residual stream (T, d); q, k and v (H, T, dh).

    The first `n_prefix` tokens see each other.
    """

    ids: tuple[int, ...]
    interventions: tuple[Intervention, ...]
    cached: Mapping[str, FloatArray]
    work: ReuseStats
    n_prefix: int = 0


def boundary(config: GPT2Config, layer: int) -> str:
    """Name the residual stream before a layer; for layer == n_layer, the output of the last block.

    >>> boundary(GPT2Config(), 0), boundary(GPT2Config(), 12)
    ('resid.pre.0', 'resid.post.11')
    """
    return f"resid.pre.{layer}" if layer < config.n_layer else f"resid.post.{layer - 1}"


def forward(
    config: GPT2Config,
    weights: Mapping[str, FloatArray],
    ids: Sequence[int],
    interventions: Sequence[Intervention] = (),
    base: TracedForward | None = None,
    progress: Progress | None = None,
    *,
    n_layers: int | None = None,
    n_prefix: int = 0,
) -> TracedForward:
    """Run T token ids, at least one, through the model, reusing all tensors of `base` that are the same.

    The first `n_prefix` tokens see each other. With `n_layers` the pass ends after that many layers.

    >>> config = GPT2Config(n_vocab=3, n_ctx=4, n_embd=2, n_head=1, n_layer=1)
    >>> weights = {name: np.ones(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    >>> base = forward(config, weights, [0, 1])
    >>> longer = forward(config, weights, [0, 1, 2], base=base)
    >>> longer.work.positions_reused, longer.cached["resid.post.0"].shape
    (2, (3, 2))
    """
    began = time.perf_counter()
    n_layers = config.n_layer if n_layers is None else n_layers
    ids = tuple(int(i) for i in ids)
    interventions = tuple(interventions)
    shared = _shared_positions(ids, interventions, base, n_prefix)
    changed = _changed_layer(config, interventions, base)
    starts = [shared if layer < changed else 0 for layer in range(n_layers)]
    patches = _patches(config, weights, interventions, starts, progress, n_prefix)
    x = embed(weights, ids[starts[0] :], starts[0], Edits(interventions, starts[0]))
    cached = {"resid.pre.0": _joined(base, "resid.pre.0", x, starts[0])}
    for layer, start in enumerate(starts):
        edits = Edits(interventions, start, patches)
        cached |= _read_layer(config, weights, layer, cached[f"resid.pre.{layer}"], start, edits, base, n_prefix)
        if progress:
            progress(layer + 1, n_layers)
    reused = starts.count(len(ids))
    work = ReuseStats(
        positions_computed=len(ids) - starts[0],
        positions_reused=starts[0],
        layers_computed=n_layers - reused,
        layers_reused=reused,
        changed_layer=changed,
        seconds=time.perf_counter() - began,
    )
    return TracedForward(ids, interventions, cached, work, n_prefix)


def _patches(
    config: GPT2Config,
    weights: Mapping[str, FloatArray],
    interventions: Sequence[Intervention],
    starts: Sequence[int],
    progress: Progress | None,
    n_prefix: int,
) -> Before:
    """Compute the rows that patches insert, except rows that are reused; each source text is run once."""
    patches: dict[str | Intervention, FloatArray] = {}
    by_source: dict[tuple[int, ...], list[Intervention]] = {}
    for each in interventions:
        if each.source and _target(each)[1] >= starts[_target(each)[0]]:
            by_source.setdefault(each.source, []).append(each)
    for source, own in by_source.items():
        patches |= _source_rows(config, weights, source, own, progress, min(n_prefix, len(source)))
    return patches


def _source_rows(
    config: GPT2Config,
    weights: Mapping[str, FloatArray],
    source: Sequence[int],
    patches: Sequence[Intervention],
    progress: Progress | None,
    n_prefix: int,
) -> dict[str | Intervention, FloatArray]:
    """Compute the residual stream (d,) of a source text after the layer and at the position of each patch only.

    Its first `n_prefix` tokens see each other, as in the patched text.
    """
    targets = {patch: _target(patch) for patch in patches}
    n_layers = 1 + max(layer for layer, _ in targets.values())
    n_tokens = max(n_prefix, 1 + max(position for _, position in targets.values()))
    ids = source[:n_tokens]
    cached = forward(config, weights, ids, progress=progress, n_layers=n_layers, n_prefix=n_prefix).cached
    return {patch: cached[boundary(config, layer + 1)][position].copy() for patch, (layer, position) in targets.items()}


def _target(patch: Intervention) -> tuple[int, int]:
    """Return the layer and the position of a patch."""
    assert patch.layer is not None
    assert patch.position is not None
    return patch.layer, patch.position


def _read_layer(
    config: GPT2Config,
    weights: Mapping[str, FloatArray],
    layer: int,
    x: FloatArray,
    start: int,
    edits: Edits,
    base: TracedForward | None,
    n_prefix: int,
) -> dict[str, FloatArray]:
    """Run a layer on its input x (T, d) from position `start` on; return its cached tensors for all T tokens."""
    cached = {f"{kind}.{layer}": x[:0] for kind in ("q", "k", "v", "resid.mid")} | {boundary(config, layer + 1): x[:0]}
    if base is not None and start == len(x):
        return {name: _first(base.cached[name], start) for name in cached}

    def hook(name: str, array: FloatArray) -> FloatArray:
        array = edits(name, array)
        if name in cached:
            cached[name] = array
        return array

    past = (base.cached[f"k.{layer}"][:, :start], base.cached[f"v.{layer}"][:, :start]) if base and start else None
    cached[boundary(config, layer + 1)], _ = block(config, weights, layer, x[start:], past, hook, n_prefix)
    return {name: _joined(base, name, array, start) for name, array in cached.items()}


def _first(array: FloatArray, tokens: int) -> FloatArray:
    """Return the rows of the first tokens; a copy if there are more, because a view would keep all rows in memory."""
    return array if array.shape[-2] == tokens else array[..., :tokens, :].copy()


def _joined(base: TracedForward | None, name: str, new: FloatArray, start: int) -> FloatArray:
    """Concatenate the reused rows before `start` with the new ones."""
    return np.concatenate([base.cached[name][..., :start, :], new], axis=-2) if base and start else new


def _shared_positions(
    ids: tuple[int, ...], interventions: tuple[Intervention, ...], base: TracedForward | None, n_prefix: int
) -> int:
    """Count the leading tokens that can be reused: none if an intervention needs all tokens at once, or if a token of
    the prefix differs.
    """
    if base is None:
        return 0
    # Interventions of `base` alone do not matter: layers from the first of them on are not reused.
    if ids != base.ids and any(KINDS[each.kind].needs_all for each in interventions):
        return 0
    shared = count_shared(ids, base.ids)
    return shared if n_prefix == base.n_prefix and shared >= n_prefix else 0


def _changed_layer(config: GPT2Config, interventions: tuple[Intervention, ...], base: TracedForward | None) -> int:
    """Find the first layer in which the interventions differ from those of `base`; n_layer if none does."""
    if base is None:
        return 0
    same = (made_in(layer, interventions) == made_in(layer, base.interventions) for layer in range(config.n_layer))
    return next((layer for layer, unchanged in enumerate(same) if not unchanged), config.n_layer)
