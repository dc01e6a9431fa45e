"""What a model is about to say: read early (the raw logit lens), taken apart (logit attribution), and held against the
text (surprise).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.checks import whole
from cutaway.engine import Float32
from cutaway.errors import UsageError
from cutaway.reference import softmax
from cutaway.trace.interventions import made_in
from cutaway.trace.trace import Trace

Float64 = NDArray[np.float64]

CHUNK = 128  # tokens whose logits are in memory at a time


@dataclass(frozen=True)
class Reading:
    """The likeliest next tokens if the model ended at a boundary between its parts ("resid.mid.3")."""

    boundary: str
    ids: NDArray[np.intp]  # (N, k), the likeliest first
    probabilities: Float32  # (N, k)


def boundaries(layers: int) -> list[str]:
    """The 2 L + 1 points between a model's parts, by what the residual stream is called there."""
    return ["resid.pre.0", *(f"resid.{part}.{layer}" for layer in range(layers) for part in ("mid", "post"))]


def lens(trace: Trace, k: int = 10, position: int | None = None) -> list[Reading]:
    """The raw logit lens: the last LayerNorm and the output matrix, applied to the residual stream at each boundary.

    After every token (N = T), or after the one at `position` (N = 1). Nothing is trained for it: early layers do not
    write for this reader, and what it reads there says little. The last reading is what the model says.
    """
    whole("k", k, 1, trace.config.n_vocab)
    rows = slice(None)
    if position is not None:
        rows = slice(whole("position", position, 0, len(trace) - 1), position + 1)
    return [_read(trace, name, trace[name][rows], k) for name in boundaries(trace.config.n_layer)]


def _read(trace: Trace, boundary: str, x: Float32, k: int) -> Reading:
    best = [_likeliest(softmax(logits), k) for logits in _logits(trace, x)]
    return Reading(boundary, np.concatenate([ids for ids, _ in best]), np.concatenate([p for _, p in best]))


def _likeliest(probabilities: Float32, k: int) -> tuple[NDArray[np.intp], Float32]:
    """The k largest of each row of (N, V), and where they stand."""
    some = np.sort(np.argpartition(probabilities, -k, axis=-1)[:, -k:], axis=-1)  # the right ones, by id
    falling = np.argsort(-np.take_along_axis(probabilities, some, axis=-1), axis=-1, kind="stable")
    ids = np.take_along_axis(some, falling, axis=-1)
    return ids, np.take_along_axis(probabilities, ids, axis=-1)


def _logits(trace: Trace, x: Float32) -> Iterator[Float32]:
    """What the model says at any x (N, d), some rows at a time."""
    return (trace.read_out(x[start : start + CHUNK])["logits"] for start in range(0, len(x), CHUNK))


@dataclass(frozen=True)
class Attribution:
    """How much each part of a model adds to one logit, the last LayerNorm's scale held fixed; all in logits.

    Each layer's `attention` is the sum of its `heads` and its `attention_bias`.
    """

    token_embedding: float
    position_embedding: float
    attention: Float64  # (L,)
    heads: Float64  # (L, H)
    attention_bias: Float64  # (L,), of c_proj
    mlp: Float64  # (L,), its biases included
    final_bias: float  # of ln_f

    @property
    def logit(self) -> float:
        """The sum of all parts: the logit, but for rounding."""
        embeddings = self.token_embedding + self.position_embedding
        return embeddings + float(self.attention.sum() + self.mlp.sum()) + self.final_bias


def attribution(trace: Trace, position: int, token: int) -> Attribution:
    """Take apart the logit of `token` after the token at `position`.

    The residual stream is a sum, and the output matrix is linear. So is the LayerNorm between them once its divisor is
    given; that depends on all parts together and is taken from the trace. Raises UsageError where an intervention
    took the sum or the LayerNorm away.
    """
    whole("position", position, 0, len(trace) - 1)
    whole("token", token, 0, trace.config.n_vocab - 1)
    _check_sum(trace)
    layers = range(trace.config.n_layer)
    direction = _direction(trace, position, token)
    stream = np.stack([trace[name][position] for name in boundaries(len(layers))]).astype(np.float64)
    added = np.diff(stream @ direction)  # what attention and MLP of each layer add, in turn
    heads = np.stack([_heads(trace, layer, position, direction) for layer in layers])
    return Attribution(
        token_embedding=float(trace["tok_emb"][position] @ direction),
        position_embedding=float(trace["pos_emb"][position] @ direction),
        attention=added[::2],
        heads=heads,
        attention_bias=np.array([_attention_bias(trace, layer, direction) for layer in layers]),
        mlp=added[1::2],
        final_bias=float(_output_row(trace, token) @ trace["ln_f.bias"]),
    )


def _check_sum(trace: Trace) -> None:
    for where in trace.interventions:
        if where.kind in ("no_residual_attention", "no_residual_mlp", "no_final_norm"):
            raise UsageError(f"a logit cannot be taken apart with the intervention {where.kind}: it is no sum of parts")


def _direction(trace: Trace, position: int, token: int) -> Float64:
    """(d,): what the residual stream is multiplied by to give the logit, but for ln_f's bias.

    LayerNorm takes the mean away first; taking it from the direction instead comes to the same.
    """
    last = trace[boundaries(trace.config.n_layer)[-1]][position]
    rstd = float(trace.read_out(last[None])["ln_f.rstd"][0, 0])
    direction: Float64 = rstd * trace["ln_f.weight"] * _output_row(trace, token)
    direction -= direction.mean()
    return direction


def _output_row(trace: Trace, token: int) -> Float64:
    """A token's row of the output matrix, (d,)."""
    matrix = trace["wte.weight" if trace.config.tie_word_embeddings else "lm_head.weight"]
    row: Float64 = matrix[token].astype(np.float64)
    return row


def _heads(trace: Trace, layer: int, position: int, direction: Float64) -> Float64:
    """What each head adds through its rows of c_proj, (H,); nothing where the layer's attention is taken away."""
    if _is_silent(trace, layer):
        return np.zeros(trace.config.n_head)
    z = trace.attention(layer, 0, trace.config.n_head)["z"][:, position]  # (H, dh)
    rows = (trace[f"h.{layer}.attn.c_proj.weight"] @ direction).reshape(z.shape)
    parts: Float64 = (z * rows).sum(axis=-1)
    return parts


def _attention_bias(trace: Trace, layer: int, direction: Float64) -> float:
    return 0.0 if _is_silent(trace, layer) else float(trace[f"h.{layer}.attn.c_proj.bias"] @ direction)


def _is_silent(trace: Trace, layer: int) -> bool:
    return any(where.kind == "zero_attention" for where in made_in(layer, trace.interventions))


def surprise(trace: Trace) -> Float32:
    """How little the model expected each token after the first, in nats, (T - 1,): minus the log of its probability."""
    said = trace[boundaries(trace.config.n_layer)[-1]][:-1]
    came = trace["ids"][1:]
    nats = [np.empty(0), *(_nats(logits, came[CHUNK * i :]) for i, logits in enumerate(_logits(trace, said)))]
    return np.concatenate(nats).astype(np.float32)


def _nats(logits: Float32, tokens: NDArray[np.intp]) -> Float64:
    """Minus the log-probability (N,) that each row of logits (N, V) gives to the first N tokens, each its own."""
    logits = logits - logits.max(axis=-1, keepdims=True)
    chosen = logits[np.arange(len(logits)), tokens[: len(logits)]]
    nats: Float64 = np.log(np.exp(logits, dtype=np.float64).sum(axis=-1)) - chosen
    return nats
