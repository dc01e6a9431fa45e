"""GPT-2 in NumPy, in the article's order: the reference against which the other engines are tested.

Every intermediate tensor passes through `hook(name, array)`, which may record or replace it. Tracing and interventions
need nothing else. Shapes: T new tokens, P earlier tokens, S = P + T, d = n_embd, H heads of dh = d / H, V = n_vocab.
Names are those of OpenAI's `src/model.py`.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cutaway.checkpoints.weights import Weights
from cutaway.checks import check_int
from cutaway.config import GPT2Config
from cutaway.engines.protocol import (
    Cache,
    Logits,
    check_prefixes,
    check_row,
    check_rows,
    check_sequences,
    check_truncate,
)
from cutaway.errors import UsageError
from cutaway.numerics import FloatArray, erfc, reserve_blas, softmax

KeysValues = tuple[FloatArray, FloatArray]  # each (H, S, dh)
Hook = Callable[[str, FloatArray], FloatArray]

MASKED = np.float32(-1e10)  # OpenAI's value; after softmax it is exactly zero


def no_hook(name: str, array: FloatArray) -> FloatArray:
    """Return the array unchanged: the default hook.

    >>> no_hook("attn.0", np.ones(2, np.float32))
    array([1., 1.], dtype=float32)
    """
    return array


def linear(weights: Mapping[str, FloatArray], name: str, x: FloatArray) -> FloatArray:
    """Multiply x (T, in) by the named matrix (in, out) and add its bias: (T, out).

    >>> weights = {"c_fc.weight": np.array([[1, 2], [3, 4]], np.float32), "c_fc.bias": np.array([10, 20], np.float32)}
    >>> linear(weights, "c_fc", np.array([[1, 1]], np.float32))
    array([[14., 26.]], dtype=float32)
    """
    out: FloatArray = x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return out


def layer_norm(weights: Mapping[str, FloatArray], name: str, x: FloatArray, epsilon: float, hook: Hook) -> FloatArray:
    """Normalise each row of x (T, d) to mean 0 and variance 1, then scale and shift.

    `hook` receives the mean and the reciprocal standard deviation of each row.
    >>> weights = {"ln_f.weight": np.ones(2, np.float32), "ln_f.bias": np.zeros(2, np.float32)}
    >>> layer_norm(weights, "ln_f", np.array([[3, 5]], np.float32), 1e-5, no_hook).round(3)
    array([[-1.,  1.]], dtype=float32)
    """
    mean = hook("mean", x.mean(axis=-1, keepdims=True))
    variance = np.square(x - mean).mean(axis=-1, keepdims=True)
    rstd = hook("rstd", 1 / np.sqrt(variance + np.float32(epsilon)))
    return (x - mean) * rstd * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu_new(x: FloatArray) -> FloatArray:
    """Apply OpenAI's GELU, the tanh approximation.

    >>> gelu_new(np.array([-10, 0, 10], np.float32)).tolist()
    [-0.0, 0.0, 10.0]
    """
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    gate: FloatArray = 1 + np.tanh(inner)
    return np.float32(0.5) * x * gate


def gelu(x: FloatArray) -> FloatArray:
    """Apply the exact GELU: x times the normal distribution function of x.

    >>> gelu(np.array([-1, 0, 1], np.float32)).round(2)
    array([-0.16,  0.  ,  0.84], dtype=float32)
    """
    tail: FloatArray = np.float32(0.5) * erfc(np.abs(x) * np.float32(np.sqrt(0.5)))
    return np.maximum(x, 0) - np.abs(x) * tail


def relu(x: FloatArray) -> FloatArray:
    """Replace negative numbers by 0.

    >>> relu(np.array([-1, 0, 1], np.float32)).tolist()
    [0.0, 0.0, 1.0]
    """
    return np.maximum(x, 0)


def silu(x: FloatArray) -> FloatArray:
    """Apply SiLU, also called swish: x times its logistic sigmoid.

    >>> silu(np.array([-1, 0, 1], np.float32)).round(2)
    array([-0.27,  0.  ,  0.73], dtype=float32)
    """
    odds: FloatArray = np.exp(-np.maximum(x, np.float32(-88)))  # below -88, exp would overflow
    return x / (1 + odds)


def tanh(x: FloatArray) -> FloatArray:
    """Apply the hyperbolic tangent.

    >>> tanh(np.array([-1, 0, 1], np.float32)).round(2)
    array([-0.76,  0.  ,  0.76], dtype=float32)
    """
    out: FloatArray = np.tanh(x)
    return out


ACTIVATE: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "gelu_new": gelu_new,
    "gelu": gelu,
    "relu": relu,
    "silu": silu,
    "tanh": tanh,
}


def split_heads(x: FloatArray, n_head: int) -> FloatArray:
    """Split each token's vector into one vector per head: (T, d) -> (H, T, dh).

    >>> split_heads(np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32), 2).tolist()
    [[[1.0, 2.0], [5.0, 6.0]], [[3.0, 4.0], [7.0, 8.0]]]
    """
    return x.reshape(len(x), n_head, -1).swapaxes(0, 1)


def merge_heads(x: FloatArray) -> FloatArray:
    """Concatenate the vectors of all heads, the inverse of `split_heads`: (H, T, dh) -> (T, d).

    >>> merge_heads(np.array([[[1, 2]], [[3, 4]]], np.float32)).tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    """
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)


def embed(weights: Mapping[str, FloatArray], ids: Sequence[int], start: int, hook: Hook = no_hook) -> FloatArray:
    """Sum each token's row of wte and its position's row of wpe; positions begin at `start`: (T, d).

    >>> wte = np.array([[1, 2], [3, 4]], np.float32)
    >>> wpe = np.array([[0, 10], [0, 20]], np.float32)
    >>> weights = {"wte.weight": wte, "wpe.weight": wpe}
    >>> embed(weights, [1, 0], start=0).tolist()
    [[3.0, 14.0], [1.0, 22.0]]
    """
    tok_emb = hook("tok_emb", weights["wte.weight"][list(ids)])
    pos_emb = hook("pos_emb", weights["wpe.weight"][start : start + len(ids)])
    return tok_emb + pos_emb


def block(
    config: GPT2Config,
    weights: Mapping[str, FloatArray],
    layer: int,
    x: FloatArray,
    past: KeysValues | None = None,
    hook: Hook = no_hook,
    n_prefix: int = 0,
) -> tuple[FloatArray, KeysValues]:
    """Run one decoder block on x (T, d), with the cached keys and values of P earlier tokens.

    Returns x and all keys and values. The first `n_prefix` of all tokens see each other.
    >>> config = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
    >>> weights = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    >>> x, (k, v) = block(config, weights, 0, np.array([[1, 2], [3, 4]], np.float32))
    >>> x.tolist(), k.shape  # a block of zeros adds nothing to the residual stream
    ([[1.0, 2.0], [3.0, 4.0]], (1, 2, 2))
    """
    x = hook(f"resid.pre.{layer}", x)
    q, k, v = project_qkv(config, weights, layer, x, hook)
    if past is not None:
        k = np.concatenate([past[0], k], axis=1)  # (H, S, dh)
        v = np.concatenate([past[1], v], axis=1)
    z = attention(config, q, k, v, layer, hook, n_prefix, relative_table(config, weights, layer))
    zcat = hook(f"zcat.{layer}", merge_heads(z))  # (T, d)
    attn_out = hook(f"attn_out.{layer}", linear(weights, f"h.{layer}.attn.c_proj", zcat))
    x = hook(f"resid.mid.{layer}", x + attn_out)
    mlp_out = mlp(config, weights, layer, x, hook)
    x = hook(f"resid.post.{layer}", x + mlp_out)
    return x, (k, v)


def project_qkv(
    config: GPT2Config, weights: Mapping[str, FloatArray], layer: int, x: FloatArray, hook: Hook = no_hook
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Project x (T, d) to queries, keys and values of every head: q, k and v, each (H, T, dh).

    >>> config = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
    >>> weights = {name: np.ones(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    >>> q, k, v = project_qkv(config, weights, 0, np.array([[3, 5]], np.float32))
    >>> q.round(3).tolist()
    [[[3.0, 3.0]]]
    """
    x = block_norm(config, weights, layer, 1, x, hook)
    qkv = hook(f"qkv.{layer}", linear(weights, f"h.{layer}.attn.c_attn", x))  # (T, 3d)
    q, k, v = (split_heads(part, config.n_head) for part in np.split(qkv, 3, axis=-1))
    return hook(f"q.{layer}", q), hook(f"k.{layer}", k), hook(f"v.{layer}", v)


def attention(
    config: GPT2Config,
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    layer: int,
    hook: Hook = no_hook,
    n_prefix: int = 0,
    relative: FloatArray | None = None,
) -> FloatArray:
    """Apply masked self-attention: q (H, T, dh) of the last T tokens, k and v (H, S, dh) of all S -> z (H, T, dh).

    Every token attends to itself, to earlier tokens and to the first `n_prefix` tokens. `relative` holds the embeddings
    of distances (H, M, dh) if the model has them. H may be a subset of the heads.

    >>> config = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
    >>> q = k = np.zeros((1, 2, 2), np.float32)
    >>> v = np.array([[[1, 0], [0, 1]]], np.float32)
    >>> attention(config, q, k, v, layer=0).tolist()
    [[[1.0, 0.0], [0.5, 0.5]]]
    """
    raw = q @ k.swapaxes(1, 2)  # (H, T, S)
    if relative is not None:
        raw = raw + hook(f"scores_rel.{layer}", relative_scores(q, relative, k.shape[1]))
    scores_raw = hook(f"scores_raw.{layer}", raw)
    scores = hook(f"scores.{layer}", scores_raw / np.float32(config.attention_divisor(layer)))
    n_new, n_all = scores.shape[1:]
    visible = np.tri(n_new, n_all, n_all - n_new, dtype=bool)  # a token itself and earlier ones
    visible[:, :n_prefix] = True
    masked = hook(f"masked.{layer}", np.where(visible, scores, MASKED))
    attn = hook(f"attn.{layer}", softmax(masked))
    return hook(f"z.{layer}", weighted_sum(attn, v))


def relative_table(config: GPT2Config, weights: Mapping[str, FloatArray], layer: int) -> FloatArray | None:
    """Return the embeddings of distances (H, M, dh) of a block; None if the model, like GPT-2, has none.

    >>> relative_table(GPT2Config(), {}, layer=0)
    """
    return weights[f"h.{layer}.attn.relative.weight"] if config.relative_positions else None


def relative_scores(q: FloatArray, relative: FloatArray, n_all: int) -> FloatArray:
    """Multiply queries by the embeddings of their distances to all S tokens: (H, T, S), 0 for a distance without one.

    q (H, T, dh) holds queries of the last T of the S = `n_all` tokens, and `relative` (H, M, dh) embeddings of the
    distances 0 to M - 1. Each query is multiplied by all embeddings, (H, T, M); then the products are moved to the keys
    at those distances.

    >>> q = np.array([[[1], [10], [100]]], np.float32)
    >>> relative = np.array([[[0.5], [0.25]]], np.float32)  # of the token itself, and of the one before
    >>> relative_scores(q, relative, 3).tolist()
    [[[0.5, 0.0, 0.0], [2.5, 5.0, 0.0], [0.0, 25.0, 50.0]]]
    """
    by_distance = q @ relative.swapaxes(1, 2)  # (H, T, M)
    n_new = q.shape[1]
    distances = np.arange(n_all - n_new, n_all)[:, None] - np.arange(n_all)  # (T, S), negative for later tokens
    known = (distances >= 0) & (distances < relative.shape[1])
    scores: FloatArray = np.take_along_axis(by_distance, np.where(known, distances, 0)[None], axis=2)
    scores[:, ~known] = 0
    return scores


def weighted_sum(attn: FloatArray, v: FloatArray) -> FloatArray:
    """Sum v (H, S, dh) with the weights attn (H, T, S) -> (H, T, dh); values with weight 0 are left out.

    Otherwise a token that overflows would reach earlier tokens through the mask, because 0 times infinity is NaN.

    >>> v = np.array([[[1, 2], [np.inf, np.nan]]], np.float32)
    >>> weighted_sum(np.array([[[1, 0], [0.5, 0.5]]], np.float32), v).tolist()
    [[[1.0, 2.0], [nan, nan]]]
    """
    finite = np.isfinite(v)
    if finite.all():
        return attn @ v
    total: FloatArray = attn @ np.where(finite, v, 0)
    total[(attn != 0).astype(np.float32) @ (~finite).astype(np.float32) > 0] = np.nan
    return total


def mlp(
    config: GPT2Config, weights: Mapping[str, FloatArray], layer: int, x: FloatArray, hook: Hook = no_hook
) -> FloatArray:
    """Run the MLP, with a hidden layer of width 4d: x (T, d) -> the update of the residual stream (T, d).

    >>> config = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
    >>> weights = {name: np.ones(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    >>> mlp(config, weights, 0, np.array([[3, 5]], np.float32)).round().tolist()
    [[25.0, 25.0]]
    """
    x = block_norm(config, weights, layer, 2, x, hook)
    mlp_pre = hook(f"mlp_pre.{layer}", linear(weights, f"h.{layer}.mlp.c_fc", x))  # (T, 4d)
    mlp_act = hook(f"mlp_act.{layer}", ACTIVATE[config.activation_function](mlp_pre))
    return hook(f"mlp_out.{layer}", linear(weights, f"h.{layer}.mlp.c_proj", mlp_act))


def block_norm(
    config: GPT2Config, weights: Mapping[str, FloatArray], layer: int, number: int, x: FloatArray, hook: Hook
) -> FloatArray:
    """Apply LayerNorm 1 or 2 of a block: (T, d) -> (T, d).

    >>> config = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
    >>> weights = {name: np.ones(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    >>> block_norm(config, weights, 0, 1, np.array([[3, 5]], np.float32), no_hook).round(3).tolist()
    [[0.0, 2.0]]
    """

    def part_hook(part: str, array: FloatArray) -> FloatArray:
        return hook(f"ln{number}.{part}.{layer}", array)

    normal = layer_norm(weights, f"h.{layer}.ln_{number}", x, config.layer_norm_epsilon, part_hook)
    return hook(f"ln{number}.{layer}", normal)


def lm_head(config: GPT2Config, weights: Mapping[str, FloatArray], x: FloatArray, hook: Hook = no_hook) -> FloatArray:
    """Apply the final LayerNorm and the output matrix, which is wte unless untied: (T, d) -> logits (T, V).

    >>> config = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
    >>> weights = {name: np.ones(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    >>> lm_head(config, weights, np.array([[3, 5]], np.float32)).round(3).tolist()
    [[2.0, 2.0, 2.0]]
    """

    def part_hook(part: str, array: FloatArray) -> FloatArray:
        return hook(f"ln_f.{part}", array)

    x = hook("ln_f", layer_norm(weights, "ln_f", x, config.layer_norm_epsilon, part_hook))
    matrix = weights["wte.weight" if config.tie_word_embeddings else "lm_head.weight"]
    return hook("logits", x @ matrix.T)


class ReferenceCache:
    """Keys and values as plain arrays, one pair per row and layer. Arrays are replaced, never written to, so that rows
    can share them.
    """

    def __init__(self, rows: Sequence[list[KeysValues] | None]) -> None:
        self.rows = list(rows)

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(0 if layers is None else layers[0][0].shape[1] for layers in self.rows)

    def add_rows(self, count: int) -> None:
        self.rows += [None] * check_int("rows to add", count, 1)

    def copy_row(self, source: int, target: int) -> None:
        count = len(self.rows)
        self.rows[check_row(target, count)] = self.rows[check_row(source, count)]

    def truncate(self, lengths: Sequence[int]) -> None:
        kept = check_truncate(lengths, self.lengths)
        for row, (layers, length) in enumerate(zip(self.rows, kept, strict=True)):
            self.rows[row] = [(k[:, :length], v[:, :length]) for k, v in layers] if layers and length else None


class ReferenceEngine:
    """The functions above as an engine: one sequence at a time, all in float32.

    >>> from cutaway.checkpoints import ArrayWeights
    >>> config = GPT2Config(n_vocab=3, n_ctx=4, n_embd=2, n_head=1, n_layer=1)
    >>> ones = {name: np.ones(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    >>> engine = ReferenceEngine(ArrayWeights(config, ones))
    >>> cache = engine.new_cache(rows=2)
    >>> engine.forward([[0, 1], [2]], cache).shape, cache.lengths
    ((2, 3), (2, 1))
    """

    name = "reference"
    is_split_invariant = False  # NumPy's matrix products round differently for different numbers of tokens
    dtype = "float32"
    threads: int | None = None  # NumPy manages its own

    def __init__(self, weights: Weights) -> None:
        reserve_blas()
        self.config = weights.config
        self.weights = {name: weights.read(name) for name in self.config.tensors}

    def new_cache(self, rows: int) -> ReferenceCache:
        return ReferenceCache([None] * check_int("rows of a cache", rows, 1))

    def forward(
        self,
        sequences: Sequence[Sequence[int]],
        cache: Cache | None = None,
        logits: Logits = "last",
        *,
        rows: Sequence[int] | None = None,
        exact: bool = False,
        n_prefix: Sequence[int] | None = None,
    ) -> FloatArray:
        cache = ReferenceCache([None] * len(sequences)) if cache is None else cache
        if not isinstance(cache, ReferenceCache):
            raise UsageError("a cache serves only the engine that made it")
        lengths = cache.lengths
        rows = check_rows(rows, len(lengths))
        past = [lengths[row] for row in rows]
        check_sequences(self.config, sequences, past, logits)
        prefixes = check_prefixes(self.config, n_prefix, sequences, past)
        with np.errstate(over="ignore", invalid="ignore"):  # the caller checks the logits
            each = zip(sequences, rows, prefixes, strict=True)
            found = [self._forward_row(ids, row, cache, logits, count) for ids, row, count in each]
        return np.concatenate(found)

    def _forward_row(
        self, ids: Sequence[int], row: int, cache: ReferenceCache, logits: Logits, n_prefix: int
    ) -> FloatArray:
        x = embed(self.weights, ids, cache.lengths[row])
        past = cache.rows[row]
        present = []
        for layer in range(self.config.n_layer):
            before = past[layer] if past else None
            x, keys_values = block(self.config, self.weights, layer, x, before, n_prefix=n_prefix)
            present.append(keys_values)
        cache.rows[row] = present
        return lm_head(self.config, self.weights, x if logits == "all" else x[-1:])
