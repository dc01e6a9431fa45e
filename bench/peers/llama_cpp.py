"""llama.cpp through the low-level functions of llama-cpp-python, which spares it the overhead of the Python class."""

from collections.abc import Iterator
from importlib.metadata import version
from time import perf_counter

import llama_cpp
import numpy as np

from bench.peers.worker import Generated, serve

CONTEXT = 1024  # tokens a sequence
Entry = tuple[int, int, int, bool]  # a token to read: its id, its position, its row, whether its logits are wanted


class LlamaCpp:
    """A context of llama.cpp holds a fixed number of sequences, so there is one for each size of batch."""

    def load(
        self,
        path: str,
        precision: str,
        threads: int,
        *,
        n_batch: int = 2048,
        n_ubatch: int = 512,
        flash_attention: int = -1,
    ) -> str:
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.options = llama_cpp.llama_context_default_params()
        self.options.n_batch = n_batch
        self.options.n_ubatch = n_ubatch
        self.options.n_threads = self.options.n_threads_batch = threads
        self.options.flash_attn_type = flash_attention  # -1: llama.cpp decides
        self.batch = llama_cpp.llama_batch_init(n_batch, 0, 1)
        self.contexts = {1: self._new_context(1)}
        return version("llama-cpp-python")

    def generate(self, prompts: list[list[int]], new_tokens: int) -> Generated:
        rows = len(prompts)
        if rows not in self.contexts:
            self.contexts[rows] = self._new_context(rows)
        self.context = self.contexts[rows]
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        start = perf_counter()
        length = len(prompts[0])
        steps = [self._read([(p[i], i, row, i == length - 1) for row, p in enumerate(prompts) for i in range(length)])]
        first = perf_counter()
        while len(steps) < new_tokens:
            position = length + len(steps) - 1
            steps.append(self._read([(token, position, row, True) for row, token in enumerate(steps[-1])]))
        return Generated([list(row) for row in zip(*steps, strict=True)], first - start, perf_counter() - first)

    def _new_context(self, rows: int) -> llama_cpp.llama_context_p:
        self.options.n_seq_max = rows
        self.options.n_ctx = rows * CONTEXT
        return llama_cpp.llama_init_from_model(self.model, self.options)

    def _read(self, entries: list[Entry]) -> list[int]:
        """Read tokens, as many at a time as fit, and return the likeliest next one wherever that is wanted."""
        size = self.options.n_batch
        return [token for i in range(0, len(entries), size) for token in self._read_batch(entries[i : i + size])]

    def _read_batch(self, entries: list[Entry]) -> Iterator[int]:
        batch = self.batch
        batch.n_tokens = len(entries)
        for i, (token, position, row, wanted) in enumerate(entries):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = row
            batch.logits[i] = wanted
        if llama_cpp.llama_decode(self.context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        for i, entry in enumerate(entries):
            if entry[3]:
                logits = llama_cpp.llama_get_logits_ith(self.context, i)
                yield int(np.ctypeslib.as_array(logits, (self.n_vocab,)).argmax())


if __name__ == "__main__":
    serve(LlamaCpp())
