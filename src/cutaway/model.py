"""A loaded GPT-2, as `cutaway.load` returns it: text or token ids in; text, scores and logits out."""

import math
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cutaway.checkpoints import EffectiveWeights, Weights
from cutaway.checks import check_int
from cutaway.config import GPT2Config
from cutaway.engines.protocol import Engine
from cutaway.errors import UsageError
from cutaway.generation.batch import MAX_SEQUENCES, Completion, Limits, Piece, collect, fit, generate
from cutaway.generation.sampling import Sampling
from cutaway.numerics import FloatArray, softmax, top_k
from cutaway.tokenizer.fast import Tokenizer

if TYPE_CHECKING:  # not needed for a first token
    from cutaway.figures import DrawableTrace
    from cutaway.trace import Intervention, Progress

Prompt = str | Sequence[int]

SCORE_CHUNK = 128  # tokens whose logits are in memory at a time


@dataclass(frozen=True)
class Score:
    """How well a model predicts a text; `nats` is the sum over its `tokens` scored tokens, which stand for `bytes`
    bytes.
    """

    nats: float
    tokens: int
    bytes: int

    @property
    def perplexity(self) -> float:
        """Per token; infinite where a float cannot hold it."""
        mean = self.nats / self.tokens
        return math.exp(mean) if mean < 709 else math.inf

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes


@dataclass(frozen=True)
class Candidate:
    """A token that may come next."""

    id: int
    text: str
    probability: float


class Model:
    """A GPT-2 and its tokenizer. A model without one takes and gives token ids only."""

    def __init__(self, engine: Engine, weights: Weights, tokenizer: Tokenizer | None, name: str) -> None:
        self.engine, self.tokenizer, self.name = engine, tokenizer, name
        self.weights = EffectiveWeights(weights, engine.dtype)

    @property
    def config(self) -> GPT2Config:
        return self.engine.config

    def generate(
        self,
        prompt: Prompt = "",
        *,
        max_new_tokens: int = 100,
        temperature: float = 1.0,
        top_k: int = 40,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        stop_at_end: bool = True,
        slide: bool = False,
        logprobs: bool = False,
    ) -> Completion:
        """Continue a prompt; an empty one is `<|endoftext|>`, which starts a new text.

        How tokens are chosen: `cutaway.generation.sampling`; when the text ends: `cutaway.generation.batch.Limits`.
        Without a seed one is drawn, and the result says which. Raises UsageError for settings out of range and for a
        prompt longer than the context.
        """
        sampling = Sampling(temperature, top_k, top_p, repetition_penalty)
        limits = Limits(max_new_tokens, _texts(stop), stop_at_end, slide)
        return self.generate_batch([prompt], sampling, limits, seed=seed, logprobs=logprobs)[0]

    def stream(
        self,
        prompt: Prompt = "",
        *,
        max_new_tokens: int = 100,
        temperature: float = 1.0,
        top_k: int = 40,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        stop_at_end: bool = True,
        slide: bool = False,
        logprobs: bool = False,
    ) -> Iterator[Piece]:
        """As `generate`, a piece at a time."""
        sampling = Sampling(temperature, top_k, top_p, repetition_penalty)
        limits = Limits(max_new_tokens, _texts(stop), stop_at_end, slide)
        return (piece for _, piece in self.stream_batch([prompt], sampling, limits, seed=seed, logprobs=logprobs))

    def generate_batch(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling = Sampling(),
        limits: Limits = Limits(),
        *,
        samples: int = 1,
        seed: int | None = None,
        logprobs: bool = False,
    ) -> list[Completion]:
        """`samples` continuations of each prompt, each prompt read once; all samples of the first prompt come first.

        At most 4,096 in all: each has logits over the whole vocabulary in memory.
        Sequence i has the seed `seed + i`, and `generate` with that seed writes the same text.
        """
        seeds = self._seeds(prompts, samples, seed)
        events = self._generate(prompts, sampling, limits, seeds, logprobs)
        return collect(events, seeds, self.description)

    def stream_batch(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling = Sampling(),
        limits: Limits = Limits(),
        *,
        samples: int = 1,
        seed: int | None = None,
        logprobs: bool = False,
    ) -> Iterator[tuple[int, Piece]]:
        """As `generate_batch`, as (sequence, piece) in the order of writing."""
        return self._generate(prompts, sampling, limits, self._seeds(prompts, samples, seed), logprobs)

    @property
    def description(self) -> str:
        """Which engine writes, at which precision: "cpu int8"."""
        return f"{self.engine.name} {self.engine.dtype}"

    def score(self, text: Prompt, *, prepend_bos: bool = True) -> Score:
        """How well the model predicts a text, with float32 activations.

        The text follows `<|endoftext|>`, so that its first token is scored too; with `prepend_bos=False` the first
        token is only read. A text longer than the context is read in windows that overlap by half: every token is
        scored once, and after the first window with at least half a context before it.
        """
        ids = self.encode(text)
        if prepend_bos:
            ids = [self._end_of_text(), *ids]
        if len(ids) < 2:
            raise UsageError(
                "the text to score is empty" if prepend_bos else "prepend_bos=False needs a text of at least two tokens"
            )
        nats = sum(float(part.sum()) for part in self._losses(ids))
        return Score(nats, len(ids) - 1, sum(len(self._token_bytes(token)) for token in ids[1:]))

    def logits(self, prompt: Prompt) -> FloatArray:
        """float32 (T, vocab): what the model expects after each of T tokens. Raises UsageError where T exceeds the
        context.
        """
        return self.engine.forward([self.encode(prompt)], logits="all", exact=True)

    def next_tokens(self, prompt: Prompt = "", count: int = 10) -> list[Candidate]:
        """The likeliest next tokens and their probabilities over the whole vocabulary, likeliest first."""
        check_int("count", count, 1, self.config.n_vocab)
        ids = fit(self.prompt_ids(prompt), self.config.n_ctx)
        probabilities = softmax(self.engine.forward([ids], exact=True)[0].astype(np.float64))
        likeliest = top_k(probabilities, count)
        return [Candidate(int(i), self.decode([int(i)]), float(probabilities[i])) for i in likeliest]

    def trace(
        self,
        prompt: Prompt,
        *interventions: "Intervention",
        prepend_bos: bool = False,
        progress: "Progress | None" = None,
    ) -> "DrawableTrace":
        """Every intermediate of a text by its name, and the article's figures of it: see `cutaway.trace`.

        With `prepend_bos` the text follows `<|endoftext|>`, as in the article's figures. Computed with float32
        activations by the reference, from the weights that the engine uses.
        """
        from cutaway.figures import DrawableTrace

        ids = self.encode(prompt)
        if prepend_bos or not ids:
            ids = [self._end_of_text(), *ids]
        return DrawableTrace(self.config, self.weights, self.tokenizer, ids, interventions, progress=progress)

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a text; ids pass through."""
        if not isinstance(prompt, str):
            return self._checked_ids(prompt)
        if self.tokenizer is None:
            raise UsageError(f"{self.name} has no tokenizer files; give token ids instead of text")
        return self.tokenizer.encode(prompt)

    def _checked_ids(self, prompt: Sequence[int]) -> list[int]:
        if isinstance(prompt, bytes | bytearray) or not hasattr(prompt, "__iter__"):
            raise UsageError(f"a prompt must be text or token ids, not {prompt!r:.60}")
        return [check_int("a token id", token, 0, self.config.n_vocab - 1) for token in prompt]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, empty where the model has no tokenizer."""
        return self.tokenizer.decode(ids) if self.tokenizer else ""

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt; of an empty one `<|endoftext|>`."""
        return self.encode(prompt) or [self._end_of_text()]

    def _generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, limits: Limits, seeds: Sequence[int], logprobs: bool
    ) -> Iterator[tuple[int, Piece]]:
        if limits.stop and self.tokenizer is None:
            raise UsageError(f"{self.name} has no tokenizer files, so a stop string can never be met")
        ids = [self.prompt_ids(prompt) for prompt in prompts]
        for prompt in ids:
            fit(prompt, self.config.n_ctx, limits.slide)  # one too long is refused now, not at the first piece
        return generate(self.engine, self.tokenizer, ids, sampling, limits, seeds, logprobs)

    def _seeds(self, prompts: Sequence[Prompt], samples: int, seed: int | None) -> range:
        """The seed of each sequence."""
        if isinstance(prompts, str | bytes) or not hasattr(prompts, "__len__"):
            raise UsageError("prompts must be a list of prompts; for one prompt use generate or stream")
        if len(prompts) == 0:
            raise UsageError("give at least one prompt")
        count = len(prompts) * check_int("samples", samples, 1)
        check_int("samples of all prompts together", count, 1, MAX_SEQUENCES)
        first = secrets.randbits(32) if seed is None else check_int("seed", seed, 0)
        return range(first, first + count)

    def _losses(self, ids: Sequence[int]) -> Iterator[FloatArray]:
        """Nats of each token after the first, in chunks."""
        n_ctx = self.config.n_ctx
        stride = max(1, n_ctx // 2)
        for first in range(0, max(1, len(ids) - 1 - (n_ctx - stride)), stride):
            window = ids[first : first + n_ctx + 1]
            losses = np.concatenate(list(self._window_losses(window)))
            yield losses if first == 0 else losses[n_ctx - stride :]

    def _window_losses(self, window: Sequence[int]) -> Iterator[FloatArray]:
        cache = self.engine.new_cache(1)
        for start in range(0, len(window) - 1, SCORE_CHUNK):
            inputs = window[start : min(start + SCORE_CHUNK, len(window) - 1)]
            targets = window[start + 1 : start + 1 + len(inputs)]
            logits = self.engine.forward([inputs], cache, logits="all", exact=True)
            logits = logits - logits.max(axis=-1, keepdims=True)
            sums = np.exp(logits).sum(axis=-1, dtype=np.float64)
            yield np.log(sums).astype(np.float32) - logits[np.arange(len(inputs)), list(targets)]

    def _end_of_text(self) -> int:
        if self.tokenizer is None:
            raise UsageError(
                f"{self.name} has no tokenizer files, so there is no <|endoftext|> to start from; give token ids"
            )
        return self.tokenizer.end_of_text

    def _token_bytes(self, token: int) -> bytes:
        if self.tokenizer is None:
            raise UsageError(f"{self.name} has no tokenizer files, so its tokens have no bytes to count")
        return self.tokenizer.token_bytes(token)


def _texts(stop: str | Iterable[str]) -> tuple[str, ...]:
    """Stop strings, of which one may be given bare; what is no text is left for `Limits` to refuse."""
    return (stop,) if isinstance(stop, str) or not isinstance(stop, Iterable) else tuple(stop)
