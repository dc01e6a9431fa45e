"""Text or music generated for the page, a token a line, with the most likely tokens at each step."""

import math
import time
from collections.abc import Iterator

from cutaway.checks import check_int
from cutaway.explore.schemas import candidates, token_document
from cutaway.generation.batch import DecodingBatch
from cutaway.generation.config import FIELDS, GenerationConfig
from cutaway.model import Model
from cutaway.music.generation import grammar_mask
from cutaway.web.params import Params
from cutaway.web.worker import Document

TOP_LOGPROBS = 10  # candidates that are shown at each step
# The page shows one context, so there is no shift; it always asks for the most likely tokens.
SETTINGS = [name for name in FIELDS if name not in ("context_shift", "logprobs", "top_logprobs", "bos_token_id")]


def read_request(model: Model, body: Params) -> tuple[list[int], GenerationConfig]:
    """Return the prompt ids and the settings in a request; raises UsageError if they are invalid or too long.

    >>> import cutaway
    >>> ids, config = read_request(cutaway.load(), Params({"ids": [32, 9379], "max_new_tokens": 3}))
    >>> ids, config.max_new_tokens, config.top_logprobs
    ([32, 9379], 3, 10)
    """
    ids = model.prompt_ids(body.token_ids("ids", model.config))
    overrides = {name: body.get(name) for name in SETTINGS if name in body}
    body.end()
    n_ctx = model.config.n_ctx
    overrides.setdefault("max_new_tokens", min(model.generation_config.max_new_tokens, n_ctx))
    check_int("max_new_tokens", overrides["max_new_tokens"], 1, n_ctx)
    return ids, model.settings(None, **overrides, logprobs=False, top_logprobs=TOP_LOGPROBS)


def generate(model: Model, ids: list[int], config: GenerationConfig) -> Iterator[Document]:
    """Yield a document for each token, then one with the finish reason and the seed.

    The model's engine computes, as in `Model.generate`, so the same seed gives the same text. With the same settings it
    gives the same piece as `cutaway music generate`, in the grammar of its codec. The prefix of a task's prompt is read
    as in traces of it. `cache_length` is the number of tokens in the KV cache when the token was chosen; `seconds` is
    the time to read the token before it and choose.

    >>> import cutaway
    >>> greedy = GenerationConfig(temperature=0, max_new_tokens=2, seed=7, ignore_eos=True, top_logprobs=3)
    >>> *tokens, last = generate(cutaway.load(), [32, 9379], greedy)
    >>> [(token["cache_length"], len(token["top"])) for token in tokens], last
    ([(2, 3), (3, 3)], {'finish_reason': 'length', 'seed': 7})
    """
    seed = config.pick_seed()
    batch = DecodingBatch(model.engine, model.tokenizer)
    batch.add(ids, config, seed, model.n_prefix(ids), grammar_mask(model.codec))
    cache_length = len(ids)
    while batch:
        began = time.perf_counter()
        [(_, chunk)] = batch.step()
        seconds = time.perf_counter() - began
        for token, top in zip(chunk.ids, chunk.top_logprobs, strict=True):
            likely = candidates(model.codec, [each.id for each in top], [math.exp(each.logprob) for each in top])
            yield {
                **token_document(model.codec, token),
                "top": likely,
                "cache_length": cache_length,
                "seconds": seconds,
            }
            cache_length += 1
        if chunk.finish_reason:
            yield {"finish_reason": chunk.finish_reason, "seed": seed}
