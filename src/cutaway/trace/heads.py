"""What the attention heads of a trace look at, in numbers: statistics, a search, and small pictures.

Everything here reads weights that `Trace.attention` computed, one layer at a time: all heads of all layers would be 600
MB for 1,024 tokens of the smallest GPT-2. Weights are (H, T, T): by head, by the query's position, by the key's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.checks import check_int
from cutaway.errors import UsageError
from cutaway.numerics import FloatArray
from cutaway.trace.trace import Trace

Pairs = NDArray[np.bool_]  # (T, T): which keys count for which query

# A head is called after what it gives most of its weight to, on average over the queries that have any such key.
LABEL_FROM = 0.5


@dataclass(frozen=True)
class HeadStatistics:
    """Where one head looks in one text; a number is None where the text has no query to measure it on.

    `entropy` is in nats, the others are shares of a query's weight, 0 to 1, averaged over queries except `largest`:

    - `entropy`: of a query's weights; 0 looks at one token, ln n at n tokens alike;
    - `first`: on the first token, by all later ones;
    - `previous`: on the token just before;
    - `duplicate`: on all earlier tokens that are the same, by the queries that have one;
    - `induction`: on all tokens that follow such an earlier one (the query itself where it stands twice in a row);
    - `largest`: the largest weight on any token but the first.
    """

    layer: int
    head: int
    entropy: float
    first: float | None
    previous: float | None
    duplicate: float | None
    induction: float | None
    largest: float | None

    @property
    def labels(self) -> Mapping[str, float]:
        """What the head may be called, each name with its number: those of at least `LABEL_FROM`."""
        named = {
            "first token": self.first,
            "previous token": self.previous,
            "duplicate token": self.duplicate,
            "induction": self.induction,
        }
        return {name: share for name, share in named.items() if share is not None and share >= LABEL_FROM}


def head_statistics(trace: Trace, layer: int) -> list[HeadStatistics]:
    """The statistics of each head of a layer."""
    return _statistics(trace, layer, _weights(trace, layer))


def atlas(
    trace: Trace, layer: int, size: int = 64, leave_first: bool = False
) -> tuple[list[HeadStatistics], NDArray[np.uint8]]:
    """The statistics of a layer's heads, and small pictures of them (H, n, n) with n = min(T, size).

    A picture has 255 times the square root of each weight. In a text longer than `size` a cell is the largest of the
    weights that it stands for, so that a strong link between two tokens stays as bright as it is. With `leave_first`
    the pictures, not the statistics, are of the weights `without_first`.
    """
    n = min(len(trace), check_int("size", size, 1))
    attn = _weights(trace, layer)
    return _statistics(trace, layer, attn), _pictures(without_first(attn) if leave_first else attn, n)


def _statistics(trace: Trace, layer: int, attn: FloatArray) -> list[HeadStatistics]:
    same = _earlier_equal(trace.ids)
    return [
        HeadStatistics(
            layer,
            head,
            entropy=_entropy(weights),
            first=_mean_share(weights, _to_first(len(trace))),
            previous=_mean_share(weights, np.eye(len(trace), k=-1, dtype=bool)),
            duplicate=_mean_share(weights, same),
            induction=_mean_share(weights, _one_later(same)),
            largest=float(weights[:, 1:].max()) if len(trace) > 1 else None,
        )
        for head, weights in enumerate(attn)
    ]


def search(trace: Trace, query: int, key_positions: Sequence[int]) -> list[tuple[int, int, float]]:
    """Every (layer, head, weight), the heaviest first: how much of its weight `query` gives to those positions."""
    query = trace.check_position(query, "query")
    keys = sorted({trace.check_position(key, "a key position") for key in key_positions})
    if not keys:
        raise UsageError("a search needs at least one key position")
    found = []
    for layer in range(trace.config.n_layer):
        shares = trace.attention_of(layer, query)[:, keys].sum(axis=-1)  # (H,)
        found += [(layer, head, float(share)) for head, share in enumerate(shares)]
    return sorted(found, key=lambda place: -place[2])


def without_first(attn: FloatArray) -> FloatArray:
    """Weights (..., T, T) to be looked at without the first token, where many heads put what they have no use for.

    Each row's other weights sum to 1 again. The first row stays, and a row with no other weight is all zero.
    """
    shown = attn.copy()
    shown[..., 1:, 0] = 0
    rest = shown.sum(axis=-1, keepdims=True)
    shown /= np.where(rest > 0, rest, 1)
    return shown


def _pictures(attn: FloatArray, n: int) -> NDArray[np.uint8]:
    """(H, T, T) -> (H, n, n)."""
    starts = np.arange(n) * attn.shape[-1] // n
    pooled = np.maximum.reduceat(np.maximum.reduceat(attn, starts, axis=1), starts, axis=2)
    cells: NDArray[np.uint8] = np.rint(255 * np.sqrt(pooled)).astype(np.uint8)
    return cells


def _weights(trace: Trace, layer: int) -> FloatArray:
    return trace.attention(layer, 0, trace.config.n_head)["attn"]


def _entropy(weights: FloatArray) -> float:
    """Mean entropy of the rows, in nats; a weight of 0 adds nothing."""
    logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    return float(-(weights * logs).sum(axis=-1).mean())


def _mean_share(weights: FloatArray, pairs: Pairs) -> float | None:
    """The weight (T, T) on the chosen keys, averaged over the queries that have one."""
    queries = pairs.any(axis=-1)
    return float((weights * pairs).sum(axis=-1)[queries].mean()) if queries.any() else None


def _to_first(tokens: int) -> Pairs:
    """The first token for every later one."""
    pairs = np.zeros((tokens, tokens), dtype=bool)
    pairs[1:, 0] = True
    return pairs


def _earlier_equal(ids: Sequence[int]) -> Pairs:
    """For each query, the keys before it that are the same token."""
    tokens = np.asarray(ids)
    return np.tril(tokens[:, None] == tokens, k=-1)


def _one_later(pairs: Pairs) -> Pairs:
    """The key after each chosen one."""
    later = np.zeros_like(pairs)
    later[:, 1:] = pairs[:, :-1]
    return later
