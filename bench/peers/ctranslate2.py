"""CTranslate2's Generator: its callback tells when tokens come, and of a prompt it computes only the last logits."""

import json
from pathlib import Path
from time import perf_counter

import ctranslate2

from bench.peers.worker import Generated, serve


class CTranslate2:
    """One batch at a time on all threads (`intra_threads`; `inter_threads` would be whole batches side by side)."""

    def load(self, path: str, precision: str, threads: int, *, flash_attention: bool = False) -> str:
        self.model = ctranslate2.Generator(
            path, compute_type=precision, inter_threads=1, intra_threads=threads, flash_attention=flash_attention
        )
        self.vocabulary: list[str] = json.loads((Path(path) / "vocabulary.json").read_text(encoding="utf-8"))
        return str(ctranslate2.__version__)

    def generate(self, prompts: list[list[int]], new_tokens: int) -> Generated:
        texts = [[self.vocabulary[token] for token in prompt] for prompt in prompts]
        times: list[float] = []

        def watch(_: ctranslate2.GenerationStepResult) -> bool:
            times.append(perf_counter())
            return False

        start = perf_counter()
        results = self.model.generate_batch(
            texts,
            max_length=new_tokens,
            min_length=new_tokens,
            include_prompt_in_result=False,
            callback=watch,
        )
        end = perf_counter()
        first = times[len(prompts) - 1]  # called for each sequence at each step
        return Generated([result.sequences_ids[0] for result in results], first - start, end - first)


if __name__ == "__main__":
    serve(CTranslate2())
