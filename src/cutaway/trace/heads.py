"""Attention patterns of the heads of a trace: statistics, a search by query and keys, and thumbnails.

Everything here reads attention weights that `Trace.attention` computes one layer at a time: the weights of all layers
would take 600 MB for 1,024 tokens of the smallest GPT-2. Weights are (H, T, T): head, query position, key position.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.checks import check_int
from cutaway.errors import UsageError
from cutaway.numerics import FloatArray
from cutaway.trace.trace import Trace

Pairs = NDArray[np.bool_]  # (T, T): True for the keys that count for a query

# A head gets the label of keys that receive at least this share of its weight, averaged over queries with such keys.
LABEL_FROM = 0.5
NEARLY = 0.9  # of the best coverage


@dataclass(frozen=True)
class HeadStatistics:
    """Statistics of the attention pattern of one head in one text; None if no query of the text has such a key.

    `entropy` is in nats; the others are shares of a query's weight, 0 to 1. All but `largest` are means over queries:

    - `entropy`: entropy of a query's weights: 0 on a single token, ln n on n tokens equally;
    - `first`: share on the first token, from all later queries;
    - `previous`: share on the token just before the query;
    - `duplicate`: share on all earlier occurrences of the same token, from queries that have one;
    - `induction`: share on all tokens after such an occurrence (the query itself if it occurs twice in a row);
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
        """Labels of the head with a share of at least `LABEL_FROM`, each with its share."""
        named = {
            "first token": self.first,
            "previous token": self.previous,
            "duplicate token": self.duplicate,
            "induction": self.induction,
        }
        return {name: share for name, share in named.items() if share is not None and share >= LABEL_FROM}


def head_statistics(trace: Trace, layer: int) -> list[HeadStatistics]:
    """Compute the statistics of each head of a layer.

    >>> import cutaway
    >>> trace = cutaway.load().trace([464, 9379, 318])
    >>> [head.head for head in head_statistics(trace, layer=3)]
    [0, 1, 2, 3, 4, 5]
    """
    return _statistics(trace, layer, _weights(trace, layer))


def atlas(
    trace: Trace, layer: int, size: int = 64, leave_first: bool = False
) -> tuple[list[HeadStatistics], NDArray[np.uint8]]:
    """Compute the statistics of a layer's heads and thumbnails of their patterns, (H, n, n) with n = min(T, size).

    A thumbnail holds 255 times the square root of each weight. In a text longer than `size` a cell is the maximum of
    the weights that it covers (max pooling), so that a strong link between two tokens stays visible. `leave_first`
    applies `without_first` to the weights of the thumbnails, not of the statistics.

    >>> import cutaway
    >>> trace = cutaway.load().trace([464, 9379, 318])
    >>> statistics, thumbnails = atlas(trace, layer=3)
    >>> thumbnails.shape, thumbnails.dtype
    ((6, 3, 3), dtype('uint8'))
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
    """Rank all heads by the share of its weight that `query` puts on some keys: (layer, head, share), largest first.

    Raises UsageError for a position outside the text, and if no key is given.

    >>> import cutaway
    >>> trace = cutaway.load().trace([464, 9379, 318])
    >>> layer, head, share = search(trace, query=2, key_positions=[1])[0]
    >>> 0 < share <= 1
    True
    """
    query = trace.check_position(query, "query")
    keys = sorted({trace.check_position(key, "a key position") for key in key_positions})
    if not keys:
        raise UsageError("a search needs at least one key position")
    found = []
    for layer in range(trace.config.n_layer):
        shares = trace.attention_of(layer, query)[:, keys].sum(axis=-1)  # (H,)
        found += [(layer, head, float(share)) for head, share in enumerate(shares)]
    return sorted(found, key=lambda each: -each[2])


def aligner(trace: Trace, n_source: int) -> tuple[int, int, list[tuple[int, int, float]]]:
    """Find the head whose attention aligns the target with the source: (layer, head, links).

    The coverage of a head is the mean, over the source tokens, of the largest weight that any query puts on the token.
    Of the best heads of each layer, this is the last whose coverage is at least `NEARLY` times the largest. A link
    (query, key, weight) goes from each token that predicts a target token to the source token with the largest weight;
    links are sorted by weight, largest first. The first and last of the `n_source` tokens, at least 3, are not words.

    >>> import cutaway
    >>> model = cutaway.load("builtin-translation")
    >>> trace = model.trace_example({"from": "en", "to": "de", "source": "Where is the station?"})
    >>> layer, head, [(query, key, weight), *others] = aligner(trace, trace.n_prefix)
    >>> model.codec.label(trace.ids[query + 1]), model.codec.label(trace.ids[key]), weight > 0.8
    ('␣ist', '␣is', True)
    """
    check_int("n_source", n_source, 3, len(trace))
    layers = []
    for layer in range(trace.config.n_layer):
        inside = _weights(trace, layer)[:, n_source - 1 :, 1 : n_source - 1]  # (H, queries, keys)
        coverage = inside.max(axis=1).mean(axis=-1)  # (H,)
        head = int(coverage.argmax())
        layers.append((float(coverage[head]), layer, head, inside[head]))
    enough = NEARLY * max(best for best, *_ in layers)
    _, layer, head, inside = [each for each in layers if each[0] >= enough][-1]
    links = [(n_source - 1 + i, 1 + int(row.argmax()), float(row.max())) for i, row in enumerate(inside)]
    return layer, head, sorted(links, key=lambda link: -link[2])


def without_first(attn: FloatArray) -> FloatArray:
    """Renormalise weights (..., T, T) without the first token, on which many heads put unused weight.

    The first row is unchanged. A row with no other weight becomes all zero.

    >>> without_first(np.array([[1, 0], [0.75, 0.25]], np.float32)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    weights = attn.copy()
    weights[..., 1:, 0] = 0
    rest = weights.sum(axis=-1, keepdims=True)
    weights /= np.where(rest > 0, rest, 1)
    return weights


def _pictures(attn: FloatArray, n: int) -> NDArray[np.uint8]:
    """Make thumbnails of patterns: (H, T, T) -> (H, n, n)."""
    starts = np.arange(n) * attn.shape[-1] // n
    pooled = np.maximum.reduceat(np.maximum.reduceat(attn, starts, axis=1), starts, axis=2)
    cells: NDArray[np.uint8] = np.rint(255 * np.sqrt(pooled)).astype(np.uint8)
    return cells


def _weights(trace: Trace, layer: int) -> FloatArray:
    return trace.attention(layer, 0, trace.config.n_head)["attn"]


def _entropy(weights: FloatArray) -> float:
    """Compute the mean entropy of the rows, in nats; a weight of 0 adds nothing."""
    logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    return float(-(weights * logs).sum(axis=-1).mean())


def _mean_share(weights: FloatArray, pairs: Pairs) -> float | None:
    """Compute the share of the weights (T, T) on the selected keys, averaged over the queries that have one."""
    queries = pairs.any(axis=-1)
    return float((weights * pairs).sum(axis=-1)[queries].mean()) if queries.any() else None


def _to_first(tokens: int) -> Pairs:
    """Select the first token for every later query."""
    pairs = np.zeros((tokens, tokens), dtype=bool)
    pairs[1:, 0] = True
    return pairs


def _earlier_equal(ids: Sequence[int]) -> Pairs:
    """Select, for each query, the earlier keys with the same token."""
    tokens = np.asarray(ids)
    return np.tril(tokens[:, None] == tokens, k=-1)


def _one_later(pairs: Pairs) -> Pairs:
    """Select the key after each selected key."""
    later = np.zeros_like(pairs)
    later[:, 1:] = pairs[:, :-1]
    return later
