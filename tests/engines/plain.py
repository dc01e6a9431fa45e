"""A plain GPT-2 in float64, with prefix attention and relative attention."""

import numpy as np
from numpy.typing import NDArray

from cutaway.checkpoints import ArrayWeights

Float64 = NDArray[np.float64]


def naive_relative_scores(q: Float64, table: Float64) -> Float64:
    """Scores (T, T) of all queries (T, dh) by distance, from a tensor (T, T, dh) of the embedding of each pair."""
    n = len(q)
    distances = np.arange(n)[:, None] - np.arange(n)
    known = (distances >= 0) & (distances < len(table))
    pairs = np.where(known[..., None], table[np.where(known, distances, 0)], 0)  # (T, T, dh)
    scores: Float64 = np.einsum("id,ijd->ij", q, pairs)
    return scores


def plain_logits(weights: ArrayWeights, ids: list[int], n_prefix: int = 0) -> Float64:
    """Logits (T, V) in float64 with the mask and the relative positions written out."""
    w = {name: array.astype(np.float64) for name, array in weights.arrays.items()}
    c = weights.config
    n = len(ids)
    mask = np.tri(n, dtype=bool)
    mask[:n_prefix, :n_prefix] = True

    def norm(x: Float64, name: str) -> Float64:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + c.layer_norm_epsilon)
        out: Float64 = scaled * w[f"{name}.weight"] + w[f"{name}.bias"]
        return out

    def linear(x: Float64, name: str) -> Float64:
        out: Float64 = x @ w[f"{name}.weight"] + w[f"{name}.bias"]
        return out

    x = w["wte.weight"][ids] + w["wpe.weight"][:n]
    for layer in range(c.n_layer):
        q, k, v = np.split(linear(norm(x, f"h.{layer}.ln_1"), f"h.{layer}.attn.c_attn"), 3, -1)
        heads = []
        for head in range(c.n_head):
            part = slice(head * c.d_head, (head + 1) * c.d_head)
            scores = q[:, part] @ k[:, part].T
            if c.relative_positions:
                scores += naive_relative_scores(q[:, part], w[f"h.{layer}.attn.relative.weight"][head])
            scores = np.where(mask, scores / np.sqrt(c.d_head), -np.inf)
            weight = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(weight / weight.sum(-1, keepdims=True) @ v[:, part])
        x = x + linear(np.concatenate(heads, -1), f"h.{layer}.attn.c_proj")
        inner = linear(norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc")
        gelu = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = x + linear(gelu, f"h.{layer}.mlp.c_proj")
    output = w["wte.weight"] if c.tie_word_embeddings else w["lm_head.weight"]
    logits: Float64 = norm(x, "ln_f") @ output.T
    return logits
