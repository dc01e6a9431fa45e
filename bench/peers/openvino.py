"""OpenVINO GenAI's LLMPipeline, given token ids; its own metrics say when the first tokens came."""

from importlib.metadata import version
from time import perf_counter

import numpy as np
import openvino as ov  # type: ignore[import-not-found]
import openvino_genai

from bench.peers.worker import Generated, serve


class OpenVino:
    """`attention` is "PA" (paged, for serving; here without its prefix cache) or "SDPA" (one batch at a time)."""

    def load(
        self, path: str, precision: str, threads: int, *, attention: str = "PA", **properties: bool | int | str
    ) -> str:
        options = {"INFERENCE_NUM_THREADS": threads, "ATTENTION_BACKEND": attention, **properties}
        if attention == "PA":
            options["scheduler_config"] = _scheduler()
        self.pipeline = openvino_genai.LLMPipeline(path, "CPU", **options)
        return version("openvino-genai")

    def generate(self, prompts: list[list[int]], new_tokens: int) -> Generated:
        ids = np.array(prompts, np.int64)  # (B, T)
        inputs = openvino_genai.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids)))
        greedy = openvino_genai.GenerationConfig(max_new_tokens=new_tokens, ignore_eos=True, do_sample=False)
        start = perf_counter()
        result = self.pipeline.generate(inputs, greedy)
        seconds = perf_counter() - start
        first = result.perf_metrics.get_ttft().mean / 1000  # from milliseconds
        return Generated(result.tokens, first, seconds - first)


def _scheduler() -> openvino_genai.SchedulerConfig:
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.enable_prefix_caching = False
    scheduler.max_num_batched_tokens = 16 * 1024  # all prompts in one step: else some write while others still read
    return scheduler


if __name__ == "__main__":
    serve(OpenVino())
