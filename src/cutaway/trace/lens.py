"""Logit lens, KL divergence between traces, direct logit attribution, per-neuron logit effects, and surprisal."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cutaway.checks import check_int
from cutaway.errors import UsageError
from cutaway.numerics import (
    Float64Array,
    FloatArray,
    IndexArray,
    log_softmax,
    negative_log_likelihood,
    read_only,
    softmax,
    top_k,
)
from cutaway.trace.interventions import KINDS, made_in
from cutaway.trace.once import once_for_a_trace
from cutaway.trace.trace import Trace

CHUNK = 128  # vectors whose logits are in memory at once


@dataclass(frozen=True)
class LensReading:
    """Most likely next tokens if the model ended at a boundary between its components ("resid.mid.3")."""

    boundary: str
    ids: IndexArray  # (N, k), most likely first
    probabilities: FloatArray  # (N, k)


def boundaries(layers: int) -> list[str]:
    """Name the residual stream at the 2 L + 1 boundaries between a model's components.

    >>> boundaries(1)
    ['resid.pre.0', 'resid.mid.0', 'resid.post.0']
    """
    return ["resid.pre.0", *(f"resid.{part}.{layer}" for layer in range(layers) for part in ("mid", "post"))]


def logit_lens(trace: Trace, k: int = 10, position: int | None = None, count: int = 1) -> list[LensReading]:
    """Apply the final LayerNorm and the output matrix to the residual stream at each boundary (the raw logit lens).

    Gives the `k` most likely tokens after every token (N = T), or after `count` tokens from `position` on (N = count).
    Nothing is trained: early layers do not write for the output matrix, so that early readings mean little. The last
    reading is the model's own prediction. Raises UsageError for arguments out of range.

    >>> import cutaway
    >>> trace = cutaway.load().trace([464, 9379, 318])
    >>> [(reading.boundary, reading.ids.shape) for reading in logit_lens(trace, k=5, position=-1)][-1]
    ('resid.post.8', (1, 5))
    """
    check_int("k", k, 1, trace.config.n_vocab)
    first = 0
    stop = len(trace)
    if position is not None:
        first = trace.check_position(position)
        stop = first + check_int("count", count, 1, len(trace) - first)
    names = boundaries(trace.config.n_layer)
    step = max(1, CHUNK // len(names))  # positions whose vectors fill a chunk
    parts = [_read(trace, slice(start, min(start + step, stop)), k) for start in range(first, stop, step)]
    ids, probabilities = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    return [LensReading(*each) for each in zip(names, ids, probabilities, strict=True)]


def _read(trace: Trace, positions: slice, k: int) -> tuple[IndexArray, FloatArray]:
    """Find the most likely tokens after N positions at each boundary, and their probabilities: (2L + 1, N, k) each."""
    stream = _stream(trace, positions)  # (2L + 1, N, d)
    ids, probabilities = _largest(map(softmax, _logits(trace, stream.reshape(-1, stream.shape[-1]))), k)
    shape = (*stream.shape[:-1], k)
    return ids.reshape(shape), probabilities.reshape(shape)


def _stream(trace: Trace, positions: int | slice) -> FloatArray:
    """Stack the residual stream of a token (2L + 1, d), or of several (2L + 1, N, d), at each boundary."""
    return np.stack([trace[name][positions] for name in boundaries(trace.config.n_layer)])


def _largest(parts: Iterable[FloatArray], k: int) -> tuple[IndexArray, FloatArray]:
    """Find indices and values of the k largest entries of each row: chunks of (N, V) -> (N, k) each."""
    ids: list[IndexArray] = []
    values: list[FloatArray] = []
    for rows in parts:
        ids.append(top_k(rows, k))
        values.append(np.take_along_axis(rows, ids[-1], axis=-1))
    return np.concatenate(ids), np.concatenate(values)


def _logits(trace: Trace, x: FloatArray) -> Iterator[FloatArray]:
    """Compute the logits of any x (N, d) after the final LayerNorm, CHUNK rows at a time."""
    return (trace.read_out(x[start : start + CHUNK])["logits"] for start in range(0, len(x), CHUNK))


def divergence(trace: Trace, other: Trace, position: int, other_position: int) -> Float64Array:
    """Compute the divergence KL(trace ‖ other) of the lens readings of two traces at each boundary, in nats: (2L + 1,).

    It is the sum over the vocabulary of p (log p - log q), where `trace` predicts p after `position`, and `other`
    predicts q after `other_position`. Raises UsageError for models with different numbers of layers or vocabularies.

    >>> import cutaway
    >>> trace = cutaway.load().trace([464, 9379, 318])
    >>> float(divergence(trace, trace, 2, 2).max())
    0.0
    """
    position = trace.check_position(position)
    other_position = other.check_position(other_position, "other_position")
    if (trace.config.n_layer, trace.config.n_vocab) != (other.config.n_layer, other.config.n_vocab):
        raise UsageError("the two traces are of models with different layers or vocabularies, which cannot be compared")
    ours = _logits(trace, _stream(trace, position))
    theirs = _logits(other, _stream(other, other_position))
    pairs = (pair for chunks in zip(ours, theirs, strict=True) for pair in zip(*chunks, strict=True))
    return np.maximum([_divergence(*pair) for pair in pairs], 0)  # rounding can make 0 slightly negative


def _divergence(logits: FloatArray, others: FloatArray) -> float:
    """Compute the KL divergence between the distributions of two rows of logits (V,), in nats."""
    ours = log_softmax(logits.astype(np.float64))
    theirs = log_softmax(others.astype(np.float64))
    return float((np.exp(ours) * (ours - theirs)).sum())


@dataclass(frozen=True)
class Attribution:
    """Contribution of each component to one logit, with the scale of the final LayerNorm held fixed.

    The `attention` of a layer is the sum of its `heads` and its `attention_bias`.
    """

    token_embedding: float
    position_embedding: float
    attention: Float64Array  # (L,)
    heads: Float64Array  # (L, H)
    attention_bias: Float64Array  # (L,), of c_proj
    mlp: Float64Array  # (L,), including its biases
    final_bias: float  # of ln_f

    @property
    def logit(self) -> float:
        """Sum of all contributions: the logit, up to rounding."""
        embeddings = self.token_embedding + self.position_embedding
        return embeddings + float(self.attention.sum() + self.mlp.sum()) + self.final_bias


def direct_logit_attribution(trace: Trace, position: int, token: int) -> Attribution:
    """Split the logit of `token` after `position` into the contributions of embeddings, heads, MLPs and biases.

    The residual stream is a sum and the output matrix is linear. The LayerNorm between them is linear too once its
    divisor, which depends on all components together, is taken from the trace. Raises UsageError if an intervention
    replaced the sum or the LayerNorm.

    >>> import cutaway
    >>> trace = cutaway.load().trace([464, 9379, 318])
    >>> parts = direct_logit_attribution(trace, position=-1, token=257)
    >>> bool(abs(parts.logit - trace.logits_at(-1)[257]) < 1e-3), parts.heads.shape
    (True, (9, 6))
    """
    position = trace.check_position(position)
    check_int("token", token, 0, trace.config.n_vocab - 1)
    _check_sum(trace, position)
    layers = range(trace.config.n_layer)
    direction = _direction(trace, position, token)
    stream = _stream(trace, position).astype(np.float64)
    added = np.diff(stream @ direction)  # contributions of attention and MLP of each layer, in turn
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


def _check_sum(trace: Trace, position: int) -> None:
    for intervention in trace.interventions:
        patched = intervention.kind == "patch_residual" and intervention.position == position
        if patched or KINDS[intervention.kind].breaks_sum:
            raise UsageError(
                f"a logit cannot be attributed with the intervention {intervention.kind}: it is not a sum of parts"
            )


def _direction(trace: Trace, position: int, token: int) -> Float64Array:
    """Compute the direction (d,) whose dot product with the residual stream is the logit without the bias of ln_f.

    LayerNorm subtracts the mean first; subtracting it from the direction instead is equivalent.
    """
    x = trace[trace.final_residual][position]
    rstd = float(trace.read_out(x[None])["ln_f.rstd"][0, 0])
    direction: Float64Array = rstd * trace["ln_f.weight"] * _output_row(trace, token)
    direction -= direction.mean()
    return direction


def _output_row(trace: Trace, token: int) -> Float64Array:
    """Return the row (d,) of the output matrix for a token."""
    row: Float64Array = _output_matrix(trace)[token].astype(np.float64)
    return row


def _output_matrix(trace: Trace) -> FloatArray:
    matrix: FloatArray = trace["wte.weight" if trace.config.tie_word_embeddings else "lm_head.weight"]
    return matrix


def _heads(trace: Trace, layer: int, position: int, direction: Float64Array) -> Float64Array:
    """Compute the contribution (H,) of each head through its rows of c_proj, zero if the attention is ablated."""
    if _is_silent(trace, layer):
        return np.zeros(trace.config.n_head)
    z = trace.attention(layer, 0, trace.config.n_head)["z"][:, position]  # (H, dh)
    rows = (trace[f"h.{layer}.attn.c_proj.weight"] @ direction).reshape(z.shape)
    parts: Float64Array = (z * rows).sum(axis=-1)
    return parts


def _attention_bias(trace: Trace, layer: int, direction: Float64Array) -> float:
    return 0.0 if _is_silent(trace, layer) else float(trace[f"h.{layer}.attn.c_proj.bias"] @ direction)


def _is_silent(trace: Trace, layer: int) -> bool:
    return any(intervention.kind == "zero_ablate_attention" for intervention in made_in(layer, trace.interventions))


def neuron_logit_effects(trace: Trace, layer: int, units: Sequence[int], k: int = 10) -> tuple[IndexArray, FloatArray]:
    """Find the tokens whose logits each of N neurons raises most, and by how much: (N, k) each, largest first.

    A neuron adds its row of `mlp.c_proj`, times its activation, to the residual stream. Its effect on the logits is
    that row minus its mean, times the gain of `ln_f`, times the output matrix. Effects are per unit of activation and
    omit the divisor of `ln_f`, which depends on the text, so that they depend on the weights only. Raises UsageError
    for units, a layer or a number of tokens out of range, and if no unit is given.

    >>> import cutaway
    >>> trace = cutaway.load().trace([464, 9379, 318])
    >>> ids, effects = neuron_logit_effects(trace, layer=3, units=[5, 9], k=4)
    >>> ids.shape, bool((effects[:, 0] >= effects[:, 1]).all())
    ((2, 4), True)
    """
    check_int("layer", layer, 0, trace.config.n_layer - 1)
    check_int("k", k, 1, trace.config.n_vocab)
    chosen = [check_int("a unit", unit, 0, trace.config.n_inner - 1) for unit in units]
    check_int("the number of units", len(chosen), 1)
    rows = trace[f"h.{layer}.mlp.c_proj.weight"][chosen]  # (N, d)
    rows = (rows - rows.mean(axis=-1, keepdims=True)) * trace["ln_f.weight"]
    matrix = _output_matrix(trace).T
    return _largest((rows[start : start + CHUNK] @ matrix for start in range(0, len(rows), CHUNK)), k)


@once_for_a_trace  # the logits of 1,000 tokens take half a second, and a saved page needs these numbers three times
def surprisal(trace: Trace) -> FloatArray:
    """Compute the surprisal of each token after the first, in nats: its negative log-probability, (T - 1,).

    It is computed once for a trace. The array is read-only.

    >>> import cutaway
    >>> trace = cutaway.load().trace([464, 9379, 318])
    >>> surprisal(trace).shape
    (2,)
    """
    x = trace[trace.final_residual][:-1]
    targets = trace["ids"][1:]
    nats = [np.empty(0)]
    for logits in _logits(trace, x):
        start = sum(map(len, nats))
        nats.append(negative_log_likelihood(logits, targets[start : start + len(logits)]))
    return read_only(np.concatenate(nats).astype(np.float32))
