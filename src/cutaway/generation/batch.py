"""The decoding batch: sequences that are generated together, and join or leave at any step.

The output of a row depends on its prompt, its settings and its seed, never on the other rows: it has its own random
number generator, and the engine decodes it to the same bits in any batch.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from cutaway.checks import check_int
from cutaway.engines.protocol import Engine, check_finite
from cutaway.errors import UsageError
from cutaway.generation.config import GenerationConfig
from cutaway.generation.sampling import TokenMask, apply_mask, choose
from cutaway.generation.stopping import StopMatcher
from cutaway.generation.stream import Chunk, FinishReason, TokenLogprob
from cutaway.numerics import FloatArray, count_shared, log_softmax, top_k
from cutaway.tokenizer.codec import Codec, TokenCodec

MAX_SEQUENCES = 4096  # generated together: over GPT-2's vocabulary their logits alone take 0.8 GB


class DecodingBatch:
    """Rows that share a KV cache; `step` generates one token of each row.

    A row that leaves frees its row of the cache for the next row that joins; keys and values of the other rows are
    neither copied nor moved. With `keeps_rows`, a freed row of the cache keeps its tokens, and the next row there reads
    only what follows their common prefix. The result has the same bits if the engine `is_split_invariant`.
    """

    def __init__(self, engine: Engine, codec: TokenCodec | None, *, keeps_rows: bool = False) -> None:
        self._engine = engine
        self._codec = codec
        self._cache = engine.new_cache(1)
        self._free = [0]  # rows of the cache
        self._keeps_rows = keeps_rows
        self._held: dict[int, list[int]] = {}  # tokens that free rows of the cache still hold
        self._rows: dict[int, _Row] = {}
        self._next_id = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        prompt_ids: Sequence[int],
        config: GenerationConfig,
        seed: int,
        n_prefix: int = 0,
        mask: TokenMask | None = None,
    ) -> int:
        """Add a row and return its id; ids count from 0. The next `step` reads its prompt.

        Rows with the same prompt that are added between two steps read it once. The first `n_prefix` tokens of the
        prompt see each other. `mask` is called before each token with the ids of prompt and text, and says which tokens
        are allowed. Raises UsageError for an empty prompt, for a prompt longer than the context unless
        `config.context_shift` keeps its end, and for a prefix with `config.context_shift`.

        >>> import cutaway
        >>> model = cutaway.load()
        >>> batch = DecodingBatch(model.engine, model.tokenizer)
        >>> batch.add([32, 9379], GenerationConfig(), seed=1), batch.add([32], GenerationConfig(), seed=2), len(batch)
        (0, 1, 2)
        """
        prompt_ids = list(prompt_ids)
        n_ctx = self._engine.config.n_ctx
        if not prompt_ids:
            raise UsageError("the prompt is empty; start a new text from the token <|endoftext|>")
        if len(prompt_ids) > n_ctx and not config.context_shift:
            raise UsageError(
                f"the prompt is {len(prompt_ids)} tokens long, the context holds {n_ctx}; shorten it"
                " or keep its end with --context-shift (context_shift=True)"
            )
        check_int("n_prefix", n_prefix, 0, len(prompt_ids))
        if n_prefix and config.context_shift:
            raise UsageError("a prefix is read whole and stays: leave out --context-shift (context_shift=True)")
        row_id = self._next_id
        self._rows[row_id] = _Row(prompt_ids, config, seed, self._codec, n_ctx, n_prefix, mask)
        self._next_id += 1
        return row_id

    def cancel(self, row_id: int) -> None:
        """Remove a row before it has finished. Raises UsageError for an unknown or finished row.

        >>> import cutaway
        >>> model = cutaway.load()
        >>> batch = DecodingBatch(model.engine, model.tokenizer)
        >>> batch.cancel(batch.add([32, 9379], GenerationConfig(), seed=1))
        >>> len(batch)
        0
        """
        if row_id not in self._rows:
            raise UsageError(f"row {row_id} is not in the batch")
        self._remove([row_id])

    def step(self) -> list[tuple[int, Chunk]]:
        """Generate the next token of every row; return (row id, chunk) in the order in which the rows were added.

        A row whose chunk has a `finish_reason` has left the batch. Raises EngineError if the engine cannot continue.

        >>> import cutaway
        >>> model = cutaway.load()
        >>> batch = DecodingBatch(model.engine, model.tokenizer)
        >>> row_id = batch.add([32, 9379], GenerationConfig(max_new_tokens=2), seed=1)
        >>> [[chunk.finish_reason for _, chunk in batch.step()] for _ in range(2)]
        [[None], ['length']]
        """
        if not self._rows:
            return []
        logits = self._read()
        lengths = self._cache.lengths
        n_ctx = self._engine.config.n_ctx
        chunks = [
            (row_id, row.advance(logits[row_id], is_full=lengths[row.slot] == n_ctx))
            for row_id, row in self._rows.items()
        ]
        self._remove([row_id for row_id, chunk in chunks if chunk.finish_reason])
        self._shift([row for row in self._rows.values() if lengths[row.slot] == n_ctx])
        return chunks

    def run(self) -> Iterator[tuple[int, Chunk]]:
        """Step until every row has finished.

        >>> import cutaway
        >>> model = cutaway.load()
        >>> batch = DecodingBatch(model.engine, model.tokenizer)
        >>> rows = [batch.add([32, 9379], GenerationConfig(max_new_tokens=n, ignore_eos=True), seed=n) for n in (1, 2)]
        >>> [row_id for row_id, chunk in batch.run()]
        [0, 1, 1]
        """
        while self._rows:
            yield from self.step()

    def _read(self) -> dict[int, FloatArray]:
        """Feed every row its unread tokens; return the logits (V,) of each row."""
        readers: dict[int, _Row] = {}
        first_reader: dict[tuple[int, tuple[int, ...]], int] = {}  # of each new prompt
        followers: dict[int, int] = {}  # rows with the same prompt as a reader
        for row_id, row in self._rows.items():
            key = (row.n_prefix, tuple(row.unread))
            if row.slot < 0 and (leader := first_reader.setdefault(key, row_id)) != row_id:
                followers[row_id] = leader
            else:
                readers[row_id] = row
        prefixes = [row.n_prefix if row.slot < 0 else 0 for row in readers.values()]
        self._place([row for row in readers.values() if row.slot < 0])
        unread = [row.unread for row in readers.values()]
        slots = [row.slot for row in readers.values()]
        found = self._engine.forward(unread, self._cache, rows=slots, n_prefix=prefixes)
        logits = dict(zip(readers, found, strict=True))
        self._place([self._rows[row_id] for row_id in followers])
        for row_id, leader in followers.items():
            self._cache.copy_row(self._rows[leader].slot, self._rows[row_id].slot)
            logits[row_id] = logits[leader]
        return logits

    def _place(self, rows: "Sequence[_Row]") -> None:
        """Give each row an empty row of the cache."""
        missing = len(rows) - len(self._free)
        if missing > 0:
            held = len(self._cache.lengths)
            self._cache.add_rows(missing)
            self._free += range(held, held + missing)
        for row in rows:
            self._fill(self._free.pop(0), row)

    def _fill(self, slot: int, row: "_Row") -> None:
        """Assign a row of the cache to a row, and keep the part of the row's prompt that the cache still holds."""
        held = self._held.pop(slot, [])
        n_common = 0 if row.n_prefix else count_shared(held, row.unread[:-1])  # the last is read for its logits
        if held:
            self._truncate({slot: n_common})
        row.slot = slot  # last, so that after an interruption a row of the cache holds tokens of its own row only
        row.unread = row.unread[n_common:]

    def _remove(self, row_ids: Sequence[int]) -> None:
        left = [row for row in map(self._rows.pop, row_ids) if row.slot >= 0]
        if self._keeps_rows:
            lengths = self._cache.lengths
            self._held |= {row.slot: row.held(lengths[row.slot]) for row in left if not row.n_prefix}
        self._truncate({row.slot: 0 for row in left if row.slot not in self._held})
        self._free += [row.slot for row in left]

    def _shift(self, rows: "Sequence[_Row]") -> None:
        """Make full rows read the last half of their text again, from the beginning of the context."""
        self._truncate({row.slot: 0 for row in rows})
        for row in rows:
            row.shift()

    def _truncate(self, new_lengths: Mapping[int, int]) -> None:
        """Truncate some rows of the cache to new lengths."""
        if new_lengths:
            self._cache.truncate([new_lengths.get(slot, held) for slot, held in enumerate(self._cache.lengths)])


class _Row:
    """One sequence: its tokens, its random number generator, and the text that is held back."""

    def __init__(
        self,
        prompt_ids: list[int],
        config: GenerationConfig,
        seed: int,
        codec: TokenCodec | None,
        n_ctx: int,
        n_prefix: int,
        mask: TokenMask | None,
    ) -> None:
        self.n_prefix = n_prefix  # tokens of the prompt that see each other
        self.slot = -1  # row of the cache, once the prompt is read
        self._ids = prompt_ids  # and the new tokens
        self._start = max(0, len(prompt_ids) - n_ctx)  # start of the context in them
        self.unread = prompt_ids[self._start :]  # tokens that the model reads next
        self._n_new = 0
        self._n_ctx = n_ctx
        self._config = config
        self._mask = mask
        self._rng = np.random.default_rng(seed)
        self._end_tokens = config.end_tokens(codec.eos if codec else None)
        self._text = codec.stream() if isinstance(codec, Codec) else None
        self._stop = StopMatcher(config.stop)

    def held(self, length: int) -> list[int]:
        """Return the `length` tokens that its row of the cache holds."""
        return self._ids[self._start : self._start + length]

    def shift(self) -> None:
        """Restart the context with the last half of the text."""
        self._start = len(self._ids) - max(1, self._n_ctx // 2)
        self.unread = self._ids[self._start :]

    def advance(self, logits: FloatArray, is_full: bool) -> Chunk:
        """Choose the next token from logits (V,); `is_full` means that the context cannot hold it."""
        possible = check_finite(logits)
        if self._mask is not None:
            possible = apply_mask(possible, self._mask(self._ids))
        token = choose(possible, self._config, self._rng, self._ids)
        if token in self._end_tokens:
            return Chunk(self._rest(), finish_reason="eos")
        self._ids.append(token)
        self._n_new += 1
        self.unread = [token]
        shown, stopped = self._stop.push(self._text.push(token) if self._text else "")
        reason = "stop" if stopped else self._limit(is_full)
        if reason in ("length", "context"):
            shown += self._rest()
        return Chunk(shown, (token,), *self._logprobs(logits, token), reason)

    def _limit(self, is_full: bool) -> FinishReason | None:
        if self._n_new == self._config.max_new_tokens:
            return "length"
        return "context" if is_full and not self._config.context_shift else None

    def _logprobs(
        self, logits: FloatArray, token: int
    ) -> tuple[tuple[float, ...], tuple[tuple[TokenLogprob, ...], ...]]:
        """Return `logprobs` and `top_logprobs` of a chunk."""
        if not self._config.logprobs and not self._config.top_logprobs:
            return (), ()
        nats = log_softmax(logits.astype(np.float64))
        chosen = (float(nats[token]),) if self._config.logprobs else ()
        if not self._config.top_logprobs:
            return chosen, ()
        top = top_k(nats, self._config.top_logprobs)
        return chosen, (tuple(TokenLogprob(int(other), float(nats[other])) for other in top),)

    def _rest(self) -> str:
        """Return the text that was held back, at the end of the sequence."""
        shown, stopped = self._stop.push(self._text.finish() if self._text else "")
        return shown if stopped else shown + self._stop.finish()


def generate(
    engine: Engine,
    codec: TokenCodec | None,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    seeds: Sequence[int],
    n_prefix: Sequence[int] | None = None,
    mask: TokenMask | None = None,
) -> Iterator[tuple[int, Chunk]]:
    """Continue each prompt len(seeds) / len(prompts) times; yield (sequence, chunk) pairs in the order of generation.

    Sequence i has seed i and prompt i // samples; all use the mask. The first `n_prefix[j]` tokens of prompt j see each
    other. Raises as `DecodingBatch.add` does, before the first chunk.

    >>> import cutaway
    >>> model = cutaway.load()
    >>> greedy = GenerationConfig(temperature=0, max_new_tokens=3, ignore_eos=True)
    >>> chunks = list(generate(model.engine, model.tokenizer, [[32, 9379]], greedy, seeds=[1, 2]))
    >>> [row for row, chunk in chunks], chunks[0][1].ids == chunks[1][1].ids
    ([0, 1, 0, 1, 0, 1], True)
    """
    batch = DecodingBatch(engine, codec)
    for i, seed in enumerate(seeds):
        number = i * len(prompts) // len(seeds)
        batch.add(prompts[number], config, seed, n_prefix[number] if n_prefix else 0, mask)
    return batch.run()
