"""Interventions: each replaces one tensor of a forward pass, and everything after it follows from the replacement.

Nothing here computes a forward pass. `Edits` is a hook for `reference.py`. An intervention returns an array that
replaces the computed one. It is often an array computed just before: the raw scores replace the scaled scores, or the
keys the values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cutaway.checks import check_float, check_int, show
from cutaway.config import GPT2Config
from cutaway.engines.reference import MASKED
from cutaway.errors import UsageError
from cutaway.numerics import FloatArray

# The score of a knocked-out edge. It is above MASKED, so that a token that loses all its edges attends to them equally,
# and still not to later tokens.
KNOCKED_OUT = MASKED / np.float32(2)
LARGEST = 1e12  # magnitude of a value; its square, and a sum of many values, still fit into a float32


@dataclass(frozen=True)
class Intervention:
    """A change to one tensor of a forward pass, in all layers unless `layer` is given, in all heads unless `head` is.

    `query`, `key` and `position` are token positions, from 0. `value` is the factor or the score of kinds that have
    one. `source` holds the token ids of the text from which a patch is taken. `KINDS` lists the kinds and their fields.

    >>> Intervention("zero_ablate_head", layer=5, head=1).layer
    5
    """

    kind: str
    layer: int | None = None
    head: int | None = None
    query: int | None = None
    key: int | None = None
    position: int | None = None
    value: float | None = None
    source: tuple[int, ...] | None = None


# Tensors computed earlier, by kind, and the rows that patches insert, by intervention.
Before = Mapping[str | Intervention, FloatArray]
# The last argument is the position of the array's first row.
Change = Callable[[FloatArray, Before, Intervention, int], FloatArray]


@dataclass(frozen=True)
class Kind:
    """The tensor that a kind of intervention replaces, the function that does it, and the fields it needs and allows.

    `needs_all`: the change needs the rows of all tokens at once, so that nothing of another text can be reused.
    `breaks_sum`: after the change a logit is no longer the sum of the contributions of the components.
    """

    tensor: str
    change: Change
    needs: tuple[str, ...] = ()
    allows: tuple[str, ...] = ("layer",)
    needs_all: bool = False
    breaks_sum: bool = False


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
    np.minimum(edge, KNOCKED_OUT, out=edge)
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
    """Replace a tensor by a tensor of another kind, computed just before."""

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
    "no_residual_attention": Kind("resid.mid", _instead("attn_out"), breaks_sum=True),
    "no_residual_mlp": Kind("resid.post", _instead("mlp_out"), breaks_sum=True),
    "no_final_norm": Kind("ln_f", _instead("resid.post"), allows=(), breaks_sum=True),
    "patch_residual": Kind(
        "resid.post", _patch_residual, needs=("layer", "position", "source"), allows=("layer", "position", "source")
    ),
}


def check_intervention(config: GPT2Config, intervention: Intervention, tokens: int) -> None:
    """Validate an intervention for this model and a text of `tokens` tokens; raises UsageError.

    >>> check_intervention(GPT2Config(), Intervention("zero_ablate_mlp", layer=12), 5)
    Traceback (most recent call last):
    cutaway.errors.UsageError: layer must be from 0 to 11, not 12
    """
    if not isinstance(intervention, Intervention):
        raise UsageError(f"each intervention must be an Intervention, not {show(intervention)}")
    kind = KINDS.get(intervention.kind)
    if kind is None:
        raise UsageError(f"unknown intervention {show(intervention.kind)}: use one of {', '.join(KINDS)}")
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
            f" not {show(source)}"
        )
    for token in source:
        check_int("a token id of the source", token, 0, config.n_vocab - 1)


def fitting(interventions: Sequence[Intervention], tokens: int) -> list[Intervention]:
    """Select the interventions whose positions exist in a text of `tokens` tokens.

    >>> edges = [Intervention("attention_knockout", query=query, key=0) for query in (2, 8)]
    >>> [edge.query for edge in fitting(edges, tokens=5)]
    [2]
    """
    return [each for each in interventions if max(each.query or 0, each.key or 0, each.position or 0) < tokens]


def made_in(layer: int, interventions: Sequence[Intervention]) -> list[Intervention]:
    """Select the interventions that change a layer's tensors, in the given order.

    >>> interventions = [Intervention("zero_ablate_mlp", layer=3), Intervention("no_mask")]
    >>> [each.kind for each in made_in(3, interventions)], [each.kind for each in made_in(4, interventions)]
    (['zero_ablate_mlp', 'no_mask'], ['no_mask'])
    """
    return [each for each in interventions if each.layer in (None, layer) and KINDS[each.kind].tensor != "ln_f"]


class Edits:
    """A hook that applies interventions. `start` is the position of the first computed token; `patches` holds the row
    that each patch inserts.

    >>> edits = Edits([Intervention("scale_head", layer=0, head=1, value=0.5)])
    >>> edits("z.0", np.ones((2, 1, 1), np.float32)).tolist()
    [[[1.0]], [[0.5]]]
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
        """Remember a tensor for changes that replace a later tensor by it."""
        self._before[_parts(name)[0]] = array


def _parts(name: str) -> tuple[str, int | None]:
    """Split "attn.5" into ("attn", 5), and "ln_f" into ("ln_f", None)."""
    kind, _, number = name.rpartition(".")
    return (kind, int(number)) if number.isdecimal() else (name, None)
