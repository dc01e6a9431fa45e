"""GPT-2 in NumPy, in the article's order: the truth that the other engines are tested against.

Every intermediate passes through `see(name, array)`, which may look at it or hand back another: that is all that
tracing and editing need. Shapes: T new tokens, P tokens read before, S = P + T, d = n_embd, H heads of dh = d / H, V
= n_vocab. Names: OpenAI's `src/model.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np

from cutaway.checkpoints.weights import Weights
from cutaway.checks import whole
from cutaway.config import GPT2Config
from cutaway.engines.protocol import Cache, Float32, Logits, check_fork, check_sequences, check_truncate
from cutaway.errors import UsageError

KeysValues = tuple[Float32, Float32]  # each (H, S, dh)
See = Callable[[str, Float32], Float32]

MASKED = np.float32(-1e10)  # OpenAI's value; after softmax it is exactly zero


def unseen(name: str, array: Float32) -> Float32:
    """The `see` that does nothing."""
    return array


def linear(weights: Mapping[str, Float32], name: str, x: Float32) -> Float32:
    """x (T, in) times the matrix of that name (in, out), plus its bias: (T, out)."""
    out: Float32 = x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return out


def layer_norm(weights: Mapping[str, Float32], name: str, x: Float32, epsilon: float, seen: See) -> Float32:
    """Each row of x (T, d) to mean 0 and variance 1, then scaled and shifted; `seen` gets each row's mean and what it
    is multiplied by.
    """
    mean = seen("mean", x.mean(axis=-1, keepdims=True))
    variance = np.square(x - mean).mean(axis=-1, keepdims=True)
    rstd = seen("rstd", 1 / np.sqrt(variance + np.float32(epsilon)))
    return (x - mean) * rstd * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(x: Float32) -> Float32:
    """OpenAI's GELU, the tanh approximation."""
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    gate: Float32 = 1 + np.tanh(inner)
    return np.float32(0.5) * x * gate


def softmax(x: Float32) -> Float32:
    """Numbers of the last axis to shares of one."""
    exp = np.exp(x - x.max(axis=-1, keepdims=True))
    shares: Float32 = exp / exp.sum(axis=-1, keepdims=True)
    return shares


def split_heads(x: Float32, n_head: int) -> Float32:
    """(T, d) -> (H, T, dh)."""
    return x.reshape(len(x), n_head, -1).swapaxes(0, 1)


def merge_heads(x: Float32) -> Float32:
    """(H, T, dh) -> (T, d)."""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)


def embed(weights: Mapping[str, Float32], ids: Sequence[int], start: int, see: See = unseen) -> Float32:
    """A token's row of wte plus its position's row of wpe, from position `start` on: (T, d)."""
    tok_emb = see("tok_emb", weights["wte.weight"][list(ids)])
    pos_emb = see("pos_emb", weights["wpe.weight"][start : start + len(ids)])
    return tok_emb + pos_emb


def block(
    config: GPT2Config,
    weights: Mapping[str, Float32],
    layer: int,
    x: Float32,
    past: KeysValues | None = None,
    see: See = unseen,
) -> tuple[Float32, KeysValues]:
    """One decoder block over x (T, d), after the keys and values of the P tokens before; returns x and all keys and
    values.
    """
    x = see(f"resid.pre.{layer}", x)
    q, k, v = queries_keys_values(config, weights, layer, x, see)
    if past is not None:
        k, v = np.concatenate([past[0], k], axis=1), np.concatenate([past[1], v], axis=1)  # (H, S, dh)
    zcat = see(f"zcat.{layer}", merge_heads(attend(q, k, v, layer, see)))  # (T, d)
    x = see(f"resid.mid.{layer}", x + see(f"attn_out.{layer}", linear(weights, f"h.{layer}.attn.c_proj", zcat)))
    x = see(f"resid.post.{layer}", x + mlp(config, weights, layer, x, see))
    return x, (k, v)


def queries_keys_values(
    config: GPT2Config, weights: Mapping[str, Float32], layer: int, x: Float32, see: See = unseen
) -> tuple[Float32, Float32, Float32]:
    """What each token asks, answers to and tells, for every head: x (T, d) -> q, k and v, each (H, T, dh)."""
    x = block_norm(config, weights, layer, 1, x, see)
    qkv = see(f"qkv.{layer}", linear(weights, f"h.{layer}.attn.c_attn", x))  # (T, 3d)
    q, k, v = (split_heads(part, config.n_head) for part in np.split(qkv, 3, axis=-1))
    return see(f"q.{layer}", q), see(f"k.{layer}", k), see(f"v.{layer}", v)


def attend(q: Float32, k: Float32, v: Float32, layer: int, see: See = unseen) -> Float32:
    """Masked self-attention of any heads: q (H, T, dh) of the last T tokens, k, v (H, S, dh) of all; z (H, T, dh)."""
    scores_raw = see(f"scores_raw.{layer}", q @ k.swapaxes(1, 2))  # (H, T, S)
    scores = see(f"scores.{layer}", scores_raw / np.float32(np.sqrt(q.shape[-1])))
    n_new, n_all = scores.shape[1:]
    may_see = np.tri(n_new, n_all, n_all - n_new, dtype=bool)  # a token sees itself and what came before
    attn = see(f"attn.{layer}", softmax(see(f"masked.{layer}", np.where(may_see, scores, MASKED))))
    return see(f"z.{layer}", attn @ v)


def mlp(config: GPT2Config, weights: Mapping[str, Float32], layer: int, x: Float32, see: See = unseen) -> Float32:
    """The two layers after attention, 4d wide in between: x (T, d) -> what is added to it (T, d)."""
    x = block_norm(config, weights, layer, 2, x, see)
    hidden = see(f"mlp_pre.{layer}", linear(weights, f"h.{layer}.mlp.c_fc", x))  # (T, 4d)
    hidden = see(f"mlp_act.{layer}", gelu(hidden))
    return see(f"mlp_out.{layer}", linear(weights, f"h.{layer}.mlp.c_proj", hidden))


def block_norm(
    config: GPT2Config, weights: Mapping[str, Float32], layer: int, number: int, x: Float32, see: See
) -> Float32:
    """The first or second LayerNorm of a block: (T, d) -> (T, d)."""

    def seen(part: str, array: Float32) -> Float32:
        return see(f"ln{number}.{part}.{layer}", array)

    normal = layer_norm(weights, f"h.{layer}.ln_{number}", x, config.layer_norm_epsilon, seen)
    return see(f"ln{number}.{layer}", normal)


def head(config: GPT2Config, weights: Mapping[str, Float32], x: Float32, see: See = unseen) -> Float32:
    """The last LayerNorm and the output matrix, wte again unless the head is untied: (T, d) -> logits (T, V)."""

    def seen(part: str, array: Float32) -> Float32:
        return see(f"ln_f.{part}", array)

    x = see("ln_f", layer_norm(weights, "ln_f", x, config.layer_norm_epsilon, seen))
    matrix = weights["wte.weight" if config.tie_word_embeddings else "lm_head.weight"]
    return see("logits", x @ matrix.T)


class ReferenceCache:
    """Keys and values as plain arrays, one pair a row and layer; they are replaced, never written into, so rows can
    share them.
    """

    def __init__(self, rows: Sequence[list[KeysValues] | None]) -> None:
        self.rows = list(rows)

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(0 if layers is None else layers[0][0].shape[1] for layers in self.rows)

    def fork(self, rows: Sequence[int]) -> Self:
        return type(self)([self.rows[row] for row in check_fork(rows, len(self.rows))])

    def truncate(self, lengths: Sequence[int]) -> None:
        kept = check_truncate(lengths, self.lengths)
        for row, (layers, length) in enumerate(zip(self.rows, kept, strict=True)):
            self.rows[row] = [(k[:, :length], v[:, :length]) for k, v in layers] if layers and length else None


class ReferenceEngine:
    """The functions above as an engine: one sequence after the other, float32 throughout."""

    name = "reference"
    dtype = "float32"
    threads: int | None = None  # NumPy has its own

    def __init__(self, weights: Weights) -> None:
        self.config = weights.config
        self.weights = {name: weights.read(name) for name in self.config.tensor_shapes()}

    def new_cache(self, rows: int) -> ReferenceCache:
        return ReferenceCache([None] * whole("rows of a cache", rows, 1))

    def forward(
        self,
        sequences: Sequence[Sequence[int]],
        cache: Cache | None = None,
        logits: Logits = "last",
        *,
        exact: bool = False,
    ) -> Float32:
        cache = ReferenceCache([None] * len(sequences)) if cache is None else cache
        if not isinstance(cache, ReferenceCache):
            raise UsageError("a cache serves only the engine that made it")
        check_sequences(self.config, sequences, cache.lengths, logits)
        return np.concatenate([self._forward_row(ids, cache, row, logits) for row, ids in enumerate(sequences)])

    def _forward_row(self, ids: Sequence[int], cache: ReferenceCache, row: int, logits: Logits) -> Float32:
        x = embed(self.weights, ids, cache.lengths[row])
        past = cache.rows[row]
        present = []
        for layer in range(self.config.n_layer):
            x, keys_values = block(self.config, self.weights, layer, x, past[layer] if past else None)
            present.append(keys_values)
        cache.rows[row] = present
        return head(self.config, self.weights, x if logits == "all" else x[-1:])
