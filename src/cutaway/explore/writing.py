"""Text as it is written, a token a step, with what the model held likeliest at each."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cutaway.explore.arguments import Arguments
from cutaway.explore.documents import candidates, token_document
from cutaway.explore.worker import Document
from cutaway.generation.batch import Limits, Row
from cutaway.generation.sampling import Sampling
from cutaway.model import Model
from cutaway.numerics import FloatArray, softmax, top_k

TOP = 10  # candidates that are shown at each step


@dataclass(frozen=True)
class Wish:
    """What to continue, and how."""

    ids: list[int]
    sampling: Sampling
    limits: Limits
    seed: int


def read_wish(model: Model, body: Arguments) -> Wish:
    """The wish in a request; raises UsageError where a setting is out of range or the text too long."""
    ids, n_ctx = model.prompt_ids(body.token_ids("ids", model.config)), model.config.n_ctx
    sampling = Sampling(
        body.real("temperature", 0, 1e6, Sampling.temperature),
        body.whole("top_k", 0, None, Sampling.top_k),
        body.real("top_p", 0, 1, Sampling.top_p),
        body.real("repetition_penalty", 1e-3, 1e3, Sampling.repetition_penalty),
    )
    limits = Limits(body.whole("max_new_tokens", 1, n_ctx, min(Limits.max_new_tokens, n_ctx)))
    seed = body.whole("seed", 0, None, secrets.randbits(32))
    body.end()
    return Wish(ids, sampling, limits, seed)


def write(model: Model, wish: Wish) -> Iterator[Document]:
    """A document a token, the last one says why the text ends.

    The engine of the model writes, as in `Model.generate`: the same seed gives the same text. `cache_length` is how
    many tokens the KV cache held when the token was chosen, `seconds` what reading the one before and choosing took.
    """
    cache = model.engine.new_cache(1)
    row = Row(list(wish.ids), wish.sampling, wish.limits, np.random.default_rng(wish.seed), model.tokenizer)
    inputs = row.ids
    while True:
        began = time.perf_counter()
        logits = model.engine.forward([inputs], cache)[0]
        length = cache.lengths[0]
        piece = row.advance(logits, length == model.config.n_ctx, False)
        seconds = time.perf_counter() - began
        if piece.ids:
            inputs = list(piece.ids)
            token = token_document(model.tokenizer, inputs[0])
            yield {**token, "top": _likeliest(model, logits), "cache_length": length, "seconds": seconds}
        if piece.stop_reason:
            yield {"stop_reason": piece.stop_reason, "seed": wish.seed}
            return


def _likeliest(model: Model, logits: FloatArray) -> list[Document]:
    """The likeliest tokens before any setting changes their probabilities."""
    probabilities = softmax(logits.astype(np.float64))
    best = top_k(probabilities, TOP)
    return candidates(model.tokenizer, best, probabilities[best])
