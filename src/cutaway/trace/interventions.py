"""Interventions: each replaces one tensor of a forward pass, and everything after it follows from the replacement.

Nothing here computes a forward pass. `Edits` is a hook for `reference.py`; an intervention returns another array in
place of the one that was computed, often one computed just before it: the raw scores for the scaled ones, the keys for
the values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cutaway.checks import check_float, check_int
from cutaway.config import GPT2Config
from cutaway.engines.reference import MASKED
from cutaway.errors import UsageError
from cutaway.numerics import FloatArray

# The score of a cut edge. It is above MASKED, so that a token whose every edge is cut looks at all of them alike and
# still at no later one.
CUT = MASKED / np.float32(2)
LARGEST = 1e12  # of a value; its square and the sum of many still fit into a float32


@dataclass(frozen=True)
class Intervention:
    """One change. Without a layer it is made in all of them, without a head in all heads of the layer.

    `query`, `key` and `position` are those of tokens, from 0; `value` is the factor or the score, where the kind has
    one; `source` are the token ids of the text that a patch is taken from.
    """

    kind: str
    layer: int | None = None
    head: int | None = None
    query: int | None = None
    key: int | None = None
    position: int | None = None
    value: float | None = None
    source: tuple[int, ...] | None = None


# What was seen on the way to this tensor, by its kind; and what a patch puts in, by the intervention.
Before = Mapping[str | Intervention, FloatArray]
# The last argument is the position of the array's first row.
Change = Callable[[FloatArray, Before, Intervention, int], FloatArray]


@dataclass(frozen=True)
class Kind:
    """What an intervention does: to which tensor, and which of its fields say where.

    `needs_all`: it must have the rows of all tokens at once, so nothing of another text can be reused.
    """

    tensor: str
    change: Change
    needs: tuple[str, ...] = ()
    allows: tuple[str, ...] = ("layer",)
    needs_all: bool = False


def _heads(array: FloatArray, head: int | None) -> slice:
    return slice(None) if head is None else slice(head, head + 1)


def _zero_ablate_head(z: FloatArray, before: Before, intervention: Intervention, start: int) -> FloatArray:
    return _scaled(z, intervention.head, 0.0)


def _scale_head(z: FloatArray, before: Before, intervention: Intervention, start: int) -> FloatArray:
    return _scaled(z, intervention.head, intervention.value or 0.0)


def _scaled(z: FloatArray, head: int | None, factor: float) -> FloatArray:
    z = z.copy()
    z[_heads(z, head)] *= np.float32(factor)
    return z


def _mean_ablate_head(z: FloatArray, before: Before, intervention: Intervention, start: int) -> FloatArray:
    z = z.copy()
    chosen = _heads(z, intervention.head)
    z[chosen] = z[chosen].mean(axis=1, keepdims=True)
    return z


def _zero(array: FloatArray, before: Before, intervention: Intervention, start: int) -> FloatArray:
    return np.zeros_like(array)


def _attention_knockout(masked: FloatArray, before: Before, intervention: Intervention, start: int) -> FloatArray:
    assert intervention.query is not None
    row = intervention.query - start
    if not 0 <= row < masked.shape[1]:
        return masked
    masked = masked.copy()
    edge = masked[_heads(masked, intervention.head), row, intervention.key]
    np.minimum(edge, CUT, out=edge)
    return masked


def _no_mask(masked: FloatArray, before: Before, intervention: Intervention, start: int) -> FloatArray:
    return np.where(masked == MASKED, before["scores"], masked)


def _mask_value(masked: FloatArray, before: Before, intervention: Intervention, start: int) -> FloatArray:
    return np.where(masked == MASKED, np.float32(intervention.value or 0.0), masked)


def _previous_queries(q: FloatArray, before: Before, intervention: Intervention, start: int) -> FloatArray:
    return np.concatenate([q[:, :1], q[:, :-1]], axis=1)


def _patch_residual(x: FloatArray, before: Before, intervention: Intervention, start: int) -> FloatArray:
    assert intervention.position is not None
    row = intervention.position - start
    if not 0 <= row < len(x):
        return x
    x = x.copy()
    x[row] = before[intervention]
    return x


def _instead(other: str) -> Change:
    """The tensor of that kind that was computed just before, in place of this one."""

    def change(array: FloatArray, before: Before, intervention: Intervention, start: int) -> FloatArray:
        return before[other]

    return change


KINDS: Mapping[str, Kind] = {
    "zero_ablate_head": Kind("z", _zero_ablate_head, needs=("layer", "head"), allows=("layer", "head")),
    "mean_ablate_head": Kind("z", _mean_ablate_head, needs=("layer", "head"), allows=("layer", "head"), needs_all=True),
    "scale_head": Kind("z", _scale_head, needs=("layer", "head", "value"), allows=("layer", "head", "value")),
    "zero_ablate_attention": Kind("attn_out", _zero),
    "zero_ablate_mlp": Kind("mlp_out", _zero),
    "attention_knockout": Kind(
        "masked", _attention_knockout, needs=("query", "key"), allows=("layer", "head", "query", "key")
    ),
    "no_mask": Kind("masked", _no_mask, needs_all=True),
    "mask_value": Kind("masked", _mask_value, needs=("value",), allows=("layer", "value"), needs_all=True),
    "no_scale": Kind("scores", _instead("scores_raw")),
    "values_are_keys": Kind("v", _instead("k")),
    "previous_queries": Kind("q", _previous_queries, needs_all=True),
    "no_positions": Kind("pos_emb", _zero, allows=()),
    "no_residual_attention": Kind("resid.mid", _instead("attn_out")),
    "no_residual_mlp": Kind("resid.post", _instead("mlp_out")),
    "no_final_norm": Kind("ln_f", _instead("resid.post"), allows=()),
    "patch_residual": Kind(
        "resid.post", _patch_residual, needs=("layer", "position", "source"), allows=("layer", "position", "source")
    ),
}


def check_intervention(config: GPT2Config, intervention: Intervention, tokens: int) -> None:
    """Raises UsageError unless that can be done to this model with so many tokens."""
    if not isinstance(intervention, Intervention):
        raise UsageError(f"interventions are given one by one, each an Intervention, not {intervention!r:.60}")
    kind = KINDS.get(intervention.kind)
    if kind is None:
        raise UsageError(f"an intervention is one of {', '.join(KINDS)}, not {intervention.kind!r:.60}")
    limits = {"layer": config.n_layer - 1, "head": config.n_head - 1}
    limits |= dict.fromkeys(("query", "key", "position"), tokens - 1)
    for name in (*limits, "value", "source"):
        given = getattr(intervention, name)
        if given is None and name in kind.needs:
            raise UsageError(f"the intervention {intervention.kind} needs a {name}")
        if given is not None and name not in kind.allows:
            raise UsageError(f"the intervention {intervention.kind} has no {name}")
        if given is not None and name in limits:
            check_int(name, given, 0, limits[name])
        elif name == "value" and given is not None:
            check_float(name, given, -LARGEST, LARGEST)
    if intervention.source is not None:
        _check_source(config, intervention.source, intervention.position or 0)


def _check_source(config: GPT2Config, source: Sequence[int], position: int) -> None:
    if not isinstance(source, tuple) or not position < len(source) <= config.n_ctx:
        raise UsageError(
            f"the source of a patch must be token ids, {position + 1} to {config.n_ctx} of them in a tuple,"
            f" not {source!r:.60}"
        )
    for token in source:
        check_int("a token id of the source", token, 0, config.n_vocab - 1)


def fitting(interventions: Sequence[Intervention], tokens: int) -> list[Intervention]:
    """Select the interventions whose positions exist in a text of `tokens` tokens."""
    return [each for each in interventions if max(each.query or 0, each.key or 0, each.position or 0) < tokens]


def made_in(layer: int, interventions: Sequence[Intervention]) -> list[Intervention]:
    """Select the interventions that change a layer's tensors, in their order."""
    return [each for each in interventions if each.layer in (None, layer) and KINDS[each.kind].tensor != "ln_f"]


class Edits:
    """A hook that applies interventions; `start` is the position of the first token that is computed, `patches` the
    rows that each patch inserts.
    """

    def __init__(
        self,
        interventions: Sequence[Intervention],
        start: int = 0,
        patches: Before | None = None,
    ) -> None:
        self._by_tensor: dict[str, list[Intervention]] = {}
        for intervention in interventions:
            self._by_tensor.setdefault(KINDS[intervention.kind].tensor, []).append(intervention)
        self._start = start
        self._before = dict(patches or {})

    def __call__(self, name: str, array: FloatArray) -> FloatArray:
        if not self._by_tensor:
            return array
        kind, layer = _parts(name)
        for intervention in self._by_tensor.get(kind, ()):
            if intervention.layer in (None, layer):
                array = KINDS[intervention.kind].change(array, self._before, intervention, self._start)
        self.remember(name, array)
        return array

    def remember(self, name: str, array: FloatArray) -> None:
        """Take note of a tensor that was computed elsewhere, for a change that puts it in place of another."""
        self._before[_parts(name)[0]] = array


def _parts(name: str) -> tuple[str, int | None]:
    """("attn", 5) of "attn.5", and ("ln_f", None) of "ln_f"."""
    kind, _, number = name.rpartition(".")
    return (kind, int(number)) if number.isdecimal() else (name, None)
