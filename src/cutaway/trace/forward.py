"""One pass of `reference.py` that keeps what cannot be had again cheaply, and takes over what another pass has kept.

Kept are the residual stream before each block, in the middle of it and at the end, and each layer's queries, keys and
values: about 200 MB for 1,024 tokens of the smallest GPT-2. From these every other tensor is one step away.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cutaway.config import GPT2Config
from cutaway.engines.reference import block, embed
from cutaway.numerics import FloatArray
from cutaway.trace.interventions import KINDS, Before, Edits, Intervention, made_in

Progress = Callable[[int, int], None]  # called with the layers done, of how many; what it raises ends the pass


@dataclass(frozen=True)
class ReuseStats:
    """What a pass computed and what it took over, in tokens and layers, and how long it took.

    Of the layers that were computed, those before `changed_layer` computed `positions_computed` tokens and took over
    the others; those from it on, in which the interventions differ, computed every token. Texts that patches are taken
    from are read besides, and only `seconds` knows of it.
    """

    positions_computed: int
    positions_reused: int
    layers_computed: int
    layers_reused: int
    changed_layer: int
    seconds: float


@dataclass(frozen=True)
class TracedForward:
    """The tokens that were read, the interventions made, and the arrays kept: (T, d), or (H, T, dh) of q, k and v."""

    ids: tuple[int, ...]
    interventions: tuple[Intervention, ...]
    cached: Mapping[str, FloatArray]
    work: ReuseStats


def boundary(config: GPT2Config, layer: int) -> str:
    """The name of the residual stream before a layer; before layer L, which there is not, it is after the last."""
    return f"resid.pre.{layer}" if layer < config.n_layer else f"resid.post.{layer - 1}"


def forward(
    config: GPT2Config,
    weights: Mapping[str, FloatArray],
    ids: Sequence[int],
    interventions: Sequence[Intervention] = (),
    base: TracedForward | None = None,
    progress: Progress | None = None,
) -> TracedForward:
    """Read T token ids, at least one, taking over from `base` whatever is the same there."""
    began = time.perf_counter()
    ids, interventions = tuple(int(i) for i in ids), tuple(interventions)
    shared, changed = _shared_positions(ids, interventions, base), _changed_layer(config, interventions, base)
    starts = [shared if layer < changed else 0 for layer in range(config.n_layer)]
    patches = _patches(config, weights, interventions, starts, progress)
    x = embed(weights, ids[starts[0] :], starts[0], Edits(interventions, starts[0]))
    cached = {"resid.pre.0": _joined(base, "resid.pre.0", x, starts[0])}
    for layer, start in enumerate(starts):
        edits = Edits(interventions, start, patches)
        cached |= _read_layer(config, weights, layer, cached[f"resid.pre.{layer}"], start, edits, base)
        if progress:
            progress(layer + 1, config.n_layer)
    reused = starts.count(len(ids))
    work = ReuseStats(
        len(ids) - starts[0], starts[0], config.n_layer - reused, reused, changed, time.perf_counter() - began
    )
    return TracedForward(ids, interventions, cached, work)


def _patches(
    config: GPT2Config,
    weights: Mapping[str, FloatArray],
    interventions: Sequence[Intervention],
    starts: Sequence[int],
    progress: Progress | None,
) -> Before:
    """What each patch puts in, where it is not taken over; the other texts are read one after another."""
    needed = [
        intervention
        for intervention in interventions
        if intervention.source and _place(intervention)[1] >= starts[_place(intervention)[0]]
    ]
    patches: dict[str | Intervention, FloatArray] = {}
    for source in dict.fromkeys(intervention.source for intervention in needed if intervention.source):
        own = [intervention for intervention in needed if intervention.source == source]
        patches |= _rows_of(config, weights, source, own, progress)
    return patches


def _rows_of(
    config: GPT2Config,
    weights: Mapping[str, FloatArray],
    source: Sequence[int],
    patches: Sequence[Intervention],
    progress: Progress | None,
) -> dict[str | Intervention, FloatArray]:
    """The residual stream (d,) of one text after each patch's layer at its position; no more of the text is read."""
    places = dict(zip(patches, map(_place, patches), strict=True))
    layers, tokens = (1 + max(place[axis] for place in places.values()) for axis in (0, 1))
    below = replace(config, n_layer=layers)
    cached = forward(below, weights, source[:tokens], progress=progress).cached
    return {
        intervention: cached[boundary(below, layer + 1)][position].copy()
        for intervention, (layer, position) in places.items()
    }


def _place(patch: Intervention) -> tuple[int, int]:
    """Its layer and position."""
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
) -> dict[str, FloatArray]:
    """What is kept of a layer that x (T, d) enters, computed from position `start` on."""
    cached = {f"{kind}.{layer}": x[:0] for kind in ("q", "k", "v", "resid.mid")} | {boundary(config, layer + 1): x[:0]}
    if base is not None and start == len(x):
        return {name: _first(base.cached[name], start) for name in cached}

    def hook(name: str, array: FloatArray) -> FloatArray:
        array = edits(name, array)
        if name in cached:
            cached[name] = array
        return array

    past = (base.cached[f"k.{layer}"][:, :start], base.cached[f"v.{layer}"][:, :start]) if base and start else None
    cached[boundary(config, layer + 1)], _ = block(config, weights, layer, x[start:], past, hook)
    return {name: _joined(base, name, array, start) for name, array in cached.items()}


def _first(array: FloatArray, tokens: int) -> FloatArray:
    """The rows of the first tokens; a copy where there are more, which would stay in memory behind a view."""
    return array if array.shape[-2] == tokens else array[..., :tokens, :].copy()


def _joined(base: TracedForward | None, name: str, new: FloatArray, start: int) -> FloatArray:
    """The rows before `start` as they were, and the new ones."""
    return np.concatenate([base.cached[name][..., :start, :], new], axis=-2) if base and start else new


def _shared_positions(ids: tuple[int, ...], interventions: tuple[Intervention, ...], base: TracedForward | None) -> int:
    """How many tokens at the beginning were read before; none where an intervention must have all tokens at once."""
    if base is None:
        return 0
    if (
        any(KINDS[intervention.kind].needs_all for intervention in (*interventions, *base.interventions))
        and ids != base.ids
    ):
        return 0
    n = min(len(ids), len(base.ids))
    return next((i for i in range(n) if ids[i] != base.ids[i]), n)


def _changed_layer(config: GPT2Config, interventions: tuple[Intervention, ...], base: TracedForward | None) -> int:
    """The first layer in which the two passes' interventions differ; L where none does."""
    if base is None:
        return 0
    same = (made_in(layer, interventions) == made_in(layer, base.interventions) for layer in range(config.n_layer))
    return next((layer for layer, unchanged in enumerate(same) if not unchanged), config.n_layer)
