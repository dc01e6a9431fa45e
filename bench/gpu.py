"""Train GPT-2 124M on one GPU, and decode with it under CUDA graphs beside transformers with a static cache.

    python -m bench.gpu [--output FILE]            # some minutes on an H100, most of them for compiling
    python -m bench.gpu --device cpu --tiny        # the same in miniature, to see that every step works

Each figure is printed as soon as it is there, so that a run that is cut off has not been for nothing. Weights and
tokens are random, which changes no speed. It needs PyTorch and NumPy; without transformers its figures are left out.

Training takes whole steps of Cutaway's trainer, AdamW included, in bfloat16 at context 1,024; its share of the peak is
that of the FLOPs of matrix products (`training.throughput`) in the published peak, where this GPU has one. Decoding
is greedy, after a prompt of 128 tokens, with the next tokens chosen on the GPU: ours as one CUDA graph a token,
transformers' with `StaticCache` and its forward pass compiled as its documentation says ("reduce-overhead").
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from bench import machine
from cutaway.config import PUBLISHED, GPT2Config
from cutaway.data.batches import Windows
from cutaway.data.dataset import Split
from cutaway.engines.pytorch.model import GPT2
from cutaway.errors import guarded
from cutaway.training.config import TrainingConfig
from cutaway.training.hardware import PUBLISHED_HARDWARE
from cutaway.training.model import find_device, make_model
from cutaway.training.throughput import matmul_flops_per_token, measure_matmul_peak
from cutaway.training.trainer import Trainer

TINY = GPT2Config(n_vocab=512, n_ctx=64, n_embd=32, n_head=2, n_layer=2)
WARM_UP = 3  # steps, or tokens, that are not timed
TRIES = 3  # of decoding


@dataclass(frozen=True)
class Work:
    """A model, sequences of a step, sequences that are decoded together, tokens of a prompt and after it."""

    shape: GPT2Config
    batch_sizes: tuple[int, ...]
    steps: int
    rows: tuple[int, ...]
    n_prompt: int
    n_new: int


FULL = Work(PUBLISHED[0].config, (32, 64), steps=10, rows=(1, 64), n_prompt=128, n_new=256)
MINIATURE = Work(TINY, (2,), steps=2, rows=(1, 3), n_prompt=8, n_new=8)


def main() -> None:
    """Measure, print each figure, and write them where that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description="Speed on one GPU.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a small model and few tokens")
    parser.add_argument("--output", type=Path, help="where the JSON goes")
    args = parser.parse_args()
    device = find_device(args.device)
    found: dict[str, float | str] = {}
    for name, value in figures(MINIATURE if args.tiny else FULL, device):
        found[name] = value
        print(f"{name}: {value if isinstance(value, str) else format(value, ',.4g')}", flush=True)
    if args.output:
        document = {"machine": machine.describe(), "torch": torch.__version__, "figures": found}
        args.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def figures(work: Work, device: torch.device) -> Iterator[tuple[str, float | str]]:
    """Yield every figure with its name, training first."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    peak, basis = _peak(name, device)
    yield "device", name
    yield f"peak, {basis}, TFLOP/s", peak / 1e12
    flops = matmul_flops_per_token(work.shape, work.shape.n_ctx)
    for batch_size in work.batch_sizes:
        try:
            speed = training_speed(work, batch_size, device)
        except torch.OutOfMemoryError:
            yield f"training, {batch_size} sequences", "out of memory"
            break
        yield f"training, {batch_size} sequences, tokens/s", speed
        yield f"training, {batch_size} sequences, share of the {basis} peak", speed * flops / peak
    for rows in work.rows:
        yield f"decoding, {rows} sequences, tokens/s", decoding_speed(work, rows, device, ours)
        yield f"decoding, {rows} sequences, transformers, tokens/s", _of_transformers(work, rows, device)


def _peak(name: str, device: torch.device) -> tuple[float, str]:
    published = [hardware for hardware in PUBLISHED_HARDWARE if hardware.name in name.lower()]
    return (published[0].peak, "published") if published else (measure_matmul_peak(device, "bfloat16"), "measured")


def training_speed(work: Work, batch_size: int, device: torch.device) -> float:
    """Return the tokens per second of whole training steps, the median."""
    n_ctx = work.shape.n_ctx
    config = TrainingConfig(
        n_ctx=n_ctx,
        batch_size=batch_size,
        max_steps=100_000,
        optimizer="adamw",
        lr=6e-4,
        dtype="bfloat16",
        compile=device.type == "cuda",
    )
    ids = np.random.default_rng(0).integers(0, work.shape.n_vocab, 4 * batch_size * n_ctx)
    source = Windows([Split.from_documents([ids.tolist()])], [1.0], seed=1)
    trainer = Trainer(config, make_model(config, work.shape, device, init=None), source)
    seconds = [_timed(trainer.step, device) for _ in range(WARM_UP + work.steps)]
    return batch_size * n_ctx / median(seconds[WARM_UP:])


Step = Callable[[], Tensor]
MakeStep = Callable[[Work, Tensor, torch.device], Step]  # from prompts (B, T) to what reads and returns tokens (B, 1)


def decoding_speed(work: Work, rows: int, device: torch.device, make_step: MakeStep) -> float:
    """Return the tokens per second of decoding that many sequences together, the best of some tries."""
    return max(rows * (work.n_new - WARM_UP) / _decode(work, rows, device, make_step)[1] for _ in range(TRIES))


def decoded(work: Work, rows: int, device: torch.device, make_step: MakeStep) -> list[list[int]]:
    """Return the tokens that are decoded after each prompt."""
    return _decode(work, rows, device, make_step)[0]


@torch.inference_mode()
def _decode(work: Work, rows: int, device: torch.device, make_step: MakeStep) -> tuple[list[list[int]], float]:
    generator = torch.Generator().manual_seed(1)
    prompts = torch.randint(work.shape.n_vocab, (rows, work.n_prompt), generator=generator).to(device)
    step = make_step(work, prompts, device)
    tokens = [step().clone() for _ in range(WARM_UP)]
    _wait(device)
    began = time.perf_counter()
    tokens += [step().clone() for _ in range(work.n_new - WARM_UP)]
    _wait(device)
    return torch.cat(tokens, 1).tolist(), time.perf_counter() - began


@dataclass(frozen=True)
class Replay:
    """A step that is a CUDA graph, its tokens (B, 1), and what the graph reads: freed, that would be overwritten."""

    graph: torch.cuda.CUDAGraph
    ids: Tensor
    kept: tuple[object, ...]

    def __call__(self) -> Tensor:
        self.graph.replay()
        return self.ids


def ours(work: Work, prompts: Tensor, device: torch.device) -> Step:
    """Read prompts with Cutaway's module, and make its next step a CUDA graph where there is CUDA."""
    with torch.device(device):
        model = GPT2(work.shape).to(torch.bfloat16).eval().requires_grad_(False)
    model.initialise(seed=1)
    cache = model.new_cache(len(prompts))
    ids = _likeliest(model.lm_head(model.hidden(prompts, cache)[:, -1:]))

    def step() -> Tensor:
        ids.copy_(_likeliest(model.lm_head(model.hidden(ids, cache))))
        return ids

    if device.type != "cuda":
        return step
    model.compile_blocks()
    held = (ids.clone(), cache.lengths.clone())
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # compiling, and what libraries allocate, must be over before a graph is taken
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    ids.copy_(held[0])
    cache.lengths.copy_(held[1])

    return Replay(graph, ids, (model, cache))


def transformers_static(work: Work, prompts: Tensor, device: torch.device) -> Step:
    """Read prompts with transformers' GPT-2, of the same weights, and a static cache; compile what comes after."""
    from transformers import GPT2Config as TheirConfig
    from transformers import GPT2LMHeadModel, StaticCache

    shape = work.shape
    config = TheirConfig(
        vocab_size=shape.n_vocab,
        n_positions=shape.n_ctx,
        n_embd=shape.n_embd,
        n_head=shape.n_head,
        n_layer=shape.n_layer,
    )
    model = GPT2LMHeadModel(config)
    twin = GPT2(shape)
    twin.initialise(seed=1)
    model.transformer.load_state_dict({name: torch.from_numpy(array) for name, array in twin.export().items()})
    model = model.to(device, torch.bfloat16).eval()
    cache = StaticCache(config, max_cache_len=shape.n_ctx)
    places = torch.arange(shape.n_ctx, device=device)
    n_prompt = prompts.shape[1]
    first = model(prompts, past_key_values=cache, cache_position=places[:n_prompt], logits_to_keep=1)
    ids = _likeliest(first.logits)
    place = places[n_prompt : n_prompt + 1].clone()
    forward = torch.compile(model.forward, mode="reduce-overhead") if device.type == "cuda" else model.forward

    def step() -> Tensor:
        output = forward(ids, past_key_values=cache, cache_position=place, position_ids=place[None], logits_to_keep=1)
        ids.copy_(_likeliest(output.logits))
        place.add_(1)
        return ids

    return step


def _of_transformers(work: Work, rows: int, device: torch.device) -> float | str:
    try:
        return decoding_speed(work, rows, device, transformers_static)
    except ModuleNotFoundError as error:
        return str(error)


def _likeliest(logits: Tensor) -> Tensor:
    return logits.argmax(-1)  # (B, 1)


def _timed(step: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    began = time.perf_counter()
    step()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(guarded(main))
