"""Hugging Face transformers on PyTorch: the model called directly, which spares it the overhead of its `generate`."""

from time import perf_counter

import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache

from bench.peers.worker import Generated, serve


class Transformers:
    """PyTorch's fused attention is `attention` "sdpa"; the cache grows as tokens come."""

    def load(self, path: str, precision: str, threads: int, *, attention: str = "sdpa") -> str:
        torch.set_num_threads(threads)
        dtype = getattr(torch, precision)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation=attention).eval()
        return f"{transformers.__version__}, PyTorch {torch.__version__}"

    @torch.inference_mode()
    def generate(self, prompts: list[list[int]], new_tokens: int) -> Generated:
        start = perf_counter()
        cache = DynamicCache(config=self.model.config)
        tokens = [self._step(torch.tensor(prompts), cache)]
        first = perf_counter()
        while len(tokens) < new_tokens:
            tokens.append(self._step(tokens[-1], cache))
        ids = torch.cat(tokens, dim=1).tolist()  # (B, new_tokens)
        return Generated(ids, first - start, perf_counter() - first)

    def _step(self, ids: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """Read `ids` (B, T) and return what follows: (B, 1)."""
        output = self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        tokens: torch.Tensor = output.logits.argmax(dim=-1)  # (B, 1)
        return tokens


if __name__ == "__main__":
    serve(Transformers())
