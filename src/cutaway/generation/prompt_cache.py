"""The KV cache of one prompt, reused for the next: a conversation is not read again for each reply."""

from collections.abc import Iterator, Sequence
from threading import Lock

from cutaway.engines.protocol import Engine
from cutaway.generation.batch import DecodingBatch
from cutaway.generation.config import GenerationConfig
from cutaway.generation.stream import Chunk
from cutaway.tokenizer.codec import TokenCodec


class PromptCache:
    """Continues one prompt after another, and reads only what follows the prefix that it shares with the one before. If
    the engine `is_split_invariant`, this gives the same bits; with any other engine, each prompt is read in full.

    >>> import cutaway
    >>> model = cutaway.load()
    >>> cache = PromptCache(model.engine, model.tokenizer)
    >>> greedy = GenerationConfig(temperature=0, max_new_tokens=2, ignore_eos=True)
    >>> first, second = ([chunk.ids for chunk in cache.stream([32, 9379], greedy)] for _ in range(2))
    >>> first == second
    True
    """

    def __init__(self, engine: Engine, codec: TokenCodec | None) -> None:
        self._engine = engine
        self._codec = codec
        self._batch: DecodingBatch | None = None  # also None while a prompt is being continued
        self._lock = Lock()

    def stream(self, prompt_ids: Sequence[int], config: GenerationConfig) -> Iterator[Chunk]:
        """Continue a prompt, a chunk at a time; prompts that are continued at the same time have separate caches.

        Raises as `DecodingBatch.add` does, at the first chunk.
        """
        keeps = self._engine.is_split_invariant
        batch = self._take() if keeps else None
        if batch is None:
            batch = DecodingBatch(self._engine, self._codec, keeps_rows=keeps)
        row = batch.add(prompt_ids, config, config.pick_seed())
        try:
            for _, chunk in batch.run():
                yield chunk
        finally:
            if len(batch) > 0:  # the caller has stopped reading
                batch.cancel(row)
            self._batch = batch

    def _take(self) -> DecodingBatch | None:
        with self._lock:
            batch = self._batch
            self._batch = None
        return batch
