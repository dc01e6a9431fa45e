"""What a model is about to say: read early (the raw logit lens), held against another text or model (divergence),
taken apart (logit attribution), put into its mouth by single units (promoted), and held against the text (surprise).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cutaway.checks import check_int
from cutaway.errors import UsageError
from cutaway.numerics import Float64Array, FloatArray, IndexArray, log_softmax, negative_log_likelihood, softmax, top_k
from cutaway.trace.interventions import made_in
from cutaway.trace.trace import Trace

CHUNK = 128  # vectors whose logits are in memory at a time


@dataclass(frozen=True)
class LensReading:
    """The likeliest next tokens if the model ended at a boundary between its parts ("resid.mid.3")."""

    boundary: str
    ids: IndexArray  # (N, k), the likeliest first
    probabilities: FloatArray  # (N, k)


def boundaries(layers: int) -> list[str]:
    """The 2 L + 1 points between a model's parts, by what the residual stream is called there."""
    return ["resid.pre.0", *(f"resid.{part}.{layer}" for layer in range(layers) for part in ("mid", "post"))]


def logit_lens(trace: Trace, k: int = 10, position: int | None = None, count: int = 1) -> list[LensReading]:
    """The raw logit lens: the last LayerNorm and the output matrix, applied to the residual stream at each boundary.

    After every token (N = T), or after `count` tokens from the one at `position` on (N = count). Nothing is trained
    for it: early layers do not write for this reader, and what it reads there says little. The last reading is what
    the model says.
    """
    check_int("k", k, 1, trace.config.n_vocab)
    first, last = 0, len(trace)
    if position is not None:
        first = trace.check_position(position)
        last = first + check_int("count", count, 1, len(trace) - first)
    names = boundaries(trace.config.n_layer)
    step = max(1, CHUNK // len(names))  # positions whose vectors fill a chunk
    parts = [_read(trace, slice(start, min(start + step, last)), k) for start in range(first, last, step)]
    ids, probabilities = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    return [LensReading(*each) for each in zip(names, ids, probabilities, strict=True)]


def _read(trace: Trace, positions: slice, k: int) -> tuple[IndexArray, FloatArray]:
    """The k likeliest tokens at each boundary after some tokens, and their probabilities: two arrays (2L + 1, N, k)."""
    stream = _stream(trace, positions)  # (2L + 1, N, d)
    ids, probabilities = _largest(map(softmax, _logits(trace, stream.reshape(-1, stream.shape[-1]))), k)
    shape = (*stream.shape[:-1], k)
    return ids.reshape(shape), probabilities.reshape(shape)


def _stream(trace: Trace, positions: int | slice) -> FloatArray:
    """The vectors of a token (2L + 1, d), or of several (2L + 1, N, d), at each boundary."""
    return np.stack([trace[name][positions] for name in boundaries(trace.config.n_layer)])


def _largest(parts: Iterable[FloatArray], k: int) -> tuple[IndexArray, FloatArray]:
    """The k largest numbers of each row, and where they stand: parts of (N, V) -> two arrays (N, k)."""
    ids: list[IndexArray] = []
    values: list[FloatArray] = []
    for rows in parts:
        ids.append(top_k(rows, k))
        values.append(np.take_along_axis(rows, ids[-1], axis=-1))
    return np.concatenate(ids), np.concatenate(values)


def _logits(trace: Trace, x: FloatArray) -> Iterator[FloatArray]:
    """What the model says at any x (N, d), some rows at a time."""
    return (trace.read_out(x[start : start + CHUNK])["logits"] for start in range(0, len(x), CHUNK))


def divergence(trace: Trace, other: Trace, position: int, other_position: int) -> Float64Array:
    """How far two traces are apart at each boundary, (2L + 1,): KL(trace ‖ other) of their lens readings, in nats.

    That is the sum over the vocabulary of p (log p - log q), with p what `trace` says after the token at `position`,
    and q what `other` says after its token at `other_position`. Raises UsageError for models that have other layers or
    another vocabulary.
    """
    position, other_position = trace.check_position(position), other.check_position(other_position, "other_position")
    if (trace.config.n_layer, trace.config.n_vocab) != (other.config.n_layer, other.config.n_vocab):
        raise UsageError("the two traces are of models with different layers or vocabularies, which cannot be compared")
    ours, theirs = _logits(trace, _stream(trace, position)), _logits(other, _stream(other, other_position))
    pairs = (pair for chunks in zip(ours, theirs, strict=True) for pair in zip(*chunks, strict=True))
    return np.maximum([_divergence(*pair) for pair in pairs], 0)  # rounding can make 0 a little less


def _divergence(logits: FloatArray, others: FloatArray) -> float:
    """KL of what logits (V,) say from what others do."""
    ours = log_softmax(logits.astype(np.float64))
    theirs = log_softmax(others.astype(np.float64))
    return float((np.exp(ours) * (ours - theirs)).sum())


@dataclass(frozen=True)
class Attribution:
    """How much each part of a model adds to one logit, the last LayerNorm's scale held fixed; all in logits.

    Each layer's `attention` is the sum of its `heads` and its `attention_bias`.
    """

    token_embedding: float
    position_embedding: float
    attention: Float64Array  # (L,)
    heads: Float64Array  # (L, H)
    attention_bias: Float64Array  # (L,), of c_proj
    mlp: Float64Array  # (L,), its biases included
    final_bias: float  # of ln_f

    @property
    def logit(self) -> float:
        """The sum of all parts: the logit, but for rounding."""
        embeddings = self.token_embedding + self.position_embedding
        return embeddings + float(self.attention.sum() + self.mlp.sum()) + self.final_bias


def direct_logit_attribution(trace: Trace, position: int, token: int) -> Attribution:
    """Take apart the logit of `token` after the token at `position`.

    The residual stream is a sum, and the output matrix is linear. So is the LayerNorm between them once its divisor is
    given; that depends on all parts together and is taken from the trace. Raises UsageError where an intervention
    took the sum or the LayerNorm away, or put another vector in its place.
    """
    position = trace.check_position(position)
    check_int("token", token, 0, trace.config.n_vocab - 1)
    _check_sum(trace, position)
    layers = range(trace.config.n_layer)
    direction = _direction(trace, position, token)
    stream = _stream(trace, position).astype(np.float64)
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


def _check_sum(trace: Trace, position: int) -> None:
    for intervention in trace.interventions:
        patched = intervention.kind == "patch_residual" and intervention.position == position
        if patched or intervention.kind in ("no_residual_attention", "no_residual_mlp", "no_final_norm"):
            raise UsageError(
                f"a logit cannot be taken apart with the intervention {intervention.kind}: it is no sum of parts"
            )


def _direction(trace: Trace, position: int, token: int) -> Float64Array:
    """(d,): what the residual stream is multiplied by to give the logit, but for ln_f's bias.

    LayerNorm takes the mean away first; taking it from the direction instead comes to the same.
    """
    last = trace[trace.final_residual][position]
    rstd = float(trace.read_out(last[None])["ln_f.rstd"][0, 0])
    direction: Float64Array = rstd * trace["ln_f.weight"] * _output_row(trace, token)
    direction -= direction.mean()
    return direction


def _output_row(trace: Trace, token: int) -> Float64Array:
    """A token's row of the output matrix, (d,)."""
    row: Float64Array = _output_matrix(trace)[token].astype(np.float64)
    return row


def _output_matrix(trace: Trace) -> FloatArray:
    matrix: FloatArray = trace["wte.weight" if trace.config.tie_word_embeddings else "lm_head.weight"]
    return matrix


def _heads(trace: Trace, layer: int, position: int, direction: Float64Array) -> Float64Array:
    """What each head adds through its rows of c_proj, (H,); nothing where the layer's attention is taken away."""
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
    """The tokens that some units of a layer's MLP promote most, and by how much: two arrays (N, k), best first.

    A unit writes its row of `mlp.c_proj`, times what it is, into the residual stream; the end of the model reads that
    less its mean, times the gain of `ln_f`, times the output matrix. The numbers are what a unit that is 1 adds so to a
    logit, but for the divisor of `ln_f`, which depends on all that is there: they come from the weights alone.
    """
    check_int("layer", layer, 0, trace.config.n_layer - 1)
    check_int("k", k, 1, trace.config.n_vocab)
    chosen = [check_int("a unit", unit, 0, trace.config.n_inner - 1) for unit in units]
    rows = trace[f"h.{layer}.mlp.c_proj.weight"][chosen]  # (N, d)
    rows = (rows - rows.mean(axis=-1, keepdims=True)) * trace["ln_f.weight"]
    matrix = _output_matrix(trace).T
    return _largest((rows[start : start + CHUNK] @ matrix for start in range(0, len(rows), CHUNK)), k)


def surprisal(trace: Trace) -> FloatArray:
    """How little the model expected each token after the first, in nats, (T - 1,): minus the log of its probability."""
    said = trace[trace.final_residual][:-1]
    came = trace["ids"][1:]
    nats = [np.empty(0)]
    for logits in _logits(trace, said):
        start = sum(map(len, nats))
        nats.append(negative_log_likelihood(logits, came[start : start + len(logits)]))
    return np.concatenate(nats).astype(np.float32)
