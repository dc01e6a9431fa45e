"""Measure decoding and training of GPT-2 124M on one GPU, beside transformers.

    python -m bench.gpu [--output FILE]            # a few minutes on an H100, mostly for compiling
    python -m bench.gpu --device cpu --tiny        # the same in miniature, to see that every step works

Each figure is printed as soon as it is measured, so that an aborted run is not lost. A figure that cannot be measured
is a line that says why. Weights and tokens are random, which changes no speed. It needs PyTorch and NumPy; the figures
of transformers need transformers.

Decoding is greedy, after a prompt of 128 tokens, and chooses the next tokens on the GPU. Ours runs one CUDA graph per
token, with the engine's kernel or else compiled blocks. transformers runs with `StaticCache` and its forward pass
compiled as its documentation says ("reduce-overhead"). Generating is what a user calls, including prompts and sampling,
with nothing compiled: our engine, and transformers' `generate` with its default cache.

Training takes whole steps of Cutaway's trainer, AdamW included, in bfloat16 at context 1,024; its share of the peak is
the FLOPs of matrix products (`training.throughput`) divided by the published peak of the GPU, if there is one, and
again as nanoGPT and llm.c count them. nanoGPT is measured too, if bench/setup_peers.sh has installed it.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from bench import machine
from bench.engines import PEERS
from cutaway.checkpoints import ArrayWeights
from cutaway.config import PUBLISHED, GPT2Config
from cutaway.data.batches import Windows
from cutaway.data.dataset import Split
from cutaway.engines.pytorch.decoding import ScatteredCache, has_kernel
from cutaway.engines.pytorch.engine import PyTorchEngine, align_output
from cutaway.engines.pytorch.model import GPT2, KVCache, fused_agrees
from cutaway.engines.pytorch.products import output_product
from cutaway.errors import guarded
from cutaway.generation.batch import generate
from cutaway.generation.config import GenerationConfig
from cutaway.training.config import TrainingConfig
from cutaway.training.hardware import PUBLISHED_HARDWARE
from cutaway.training.losses import kernel_agrees
from cutaway.training.model import find_device, make_model
from cutaway.training.throughput import matmul_flops_per_token, measure_matmul_peak
from cutaway.training.trainer import Trainer

T = TypeVar("T")

TINY = GPT2Config(n_vocab=512, n_ctx=64, n_embd=32, n_head=2, n_layer=2)
WARM_UP = 3  # steps or tokens that are not timed
TRIES = 3  # timed parts of decoding, and times that a text is generated


@dataclass(frozen=True)
class Work:
    """A model; sequences of a step, of a micro-batch and decoded together; tokens of a prompt and after it."""

    shape: GPT2Config
    batch_sizes: tuple[int, ...]
    micro_batch_size: int
    steps: int
    rows: tuple[int, ...]
    n_prompt: int
    n_new: int


FULL = Work(PUBLISHED[0].config, (64, 512), micro_batch_size=64, steps=10, rows=(1, 64), n_prompt=128, n_new=256)
MINIATURE = Work(TINY, (2, 4), micro_batch_size=2, steps=2, rows=(1, 3), n_prompt=8, n_new=8)


def main() -> None:
    """Measure, print each figure, and write all to a file if `--output` is given."""
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
    """Yield every figure with its name, decoding first."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    yield "device", name
    for rows in work.rows:
        for whose, make_step in (("", ours), (", transformers", transformers_static)):
            speed = _attempt(decoding_speed, work, rows, device, make_step)
            yield f"decoding, {rows} sequences{whose}, tokens/s", speed
    for whose, make_generate in (("", generate_ours), (", transformers", generate_theirs)):
        for rows in work.rows:
            speed = _attempt(generating_speed, work, rows, device, make_generate)
            yield f"generating, {rows} sequences{whose}, tokens/s", speed
    yield "generating with", _attempt(decodes_with, work, device)
    yield "training with", _attempt(trains_with, work, device)
    peak, basis = _peak(name, device)
    yield f"peak, {basis}, TFLOP/s", peak / 1e12
    flops = {"": matmul_flops_per_token(work.shape, work.shape.n_ctx), ", as nanoGPT counts": usual_flops(work.shape)}
    measured = [(size, "", train_ours) for size in work.batch_sizes]
    measured.append((work.micro_batch_size, ", nanoGPT compiled", train_nanogpt))
    for batch_size, whose, make_training in measured:
        speed = _attempt(training_speed, work, batch_size, device, make_training)
        yield f"training, {batch_size} sequences{whose}, tokens/s", speed
        if isinstance(speed, float):
            for counted, per_token in flops.items():
                share = speed * per_token / peak
                yield f"training, {batch_size} sequences{whose}, share of the {basis} peak{counted}", share


def usual_flops(shape: GPT2Config) -> int:
    """Return the FLOPs of a token as nanoGPT counts them, including attention to masked positions.

    >>> usual_flops(GPT2Config())
    855166464
    """
    return 6 * (shape.n_params - shape.n_ctx * shape.n_embd) + 12 * shape.n_layer * shape.n_embd * shape.n_ctx


def decodes_with(work: Work, device: torch.device) -> str:
    """Name what the engine generates with here: kernels are used if they agree with PyTorch's operations."""
    engine = _engine(work)
    cache = engine.new_cache(1)
    for _ in range(2):
        engine.forward([[1]], cache)
    return engine.decodes_with


def trains_with(work: Work, device: torch.device) -> str:
    """Name the implementation of blocks and loss that the trainer uses here."""
    fused = (fused_agrees(work.shape, device), kernel_agrees(device, torch.bfloat16))
    return ", ".join(
        f"{name} by {'kernels' if is_fused else 'modules'}"
        for name, is_fused in zip(("blocks", "loss"), fused, strict=True)
    )


def _attempt(measure: Callable[..., T], *arguments: object) -> T | str:
    """Return the measurement, or one line that says why it failed."""
    try:
        return measure(*arguments)
    except Exception as error:  # noqa: BLE001  # whatever it is, the other figures are wanted
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _peak(name: str, device: torch.device) -> tuple[float, str]:
    published = [hardware for hardware in PUBLISHED_HARDWARE if hardware.name in name.lower()]
    return (published[0].peak, "published") if published else (measure_matmul_peak(device, "bfloat16"), "measured")


MakeTraining = Callable[[Work, int, torch.device], Callable[[], object]]  # returns a function that takes a step


def training_speed(work: Work, batch_size: int, device: torch.device, make_training: MakeTraining) -> float:
    """Return the median tokens per second of whole training steps."""
    step = make_training(work, batch_size, device)
    seconds = [_timed(step, device) for _ in range(WARM_UP + work.steps)]
    return batch_size * work.shape.n_ctx / median(seconds[WARM_UP:])


def train_ours(work: Work, batch_size: int, device: torch.device) -> Callable[[], object]:
    """Train with Cutaway's trainer, as `cutaway train --optimizer adamw --dtype bfloat16` does."""
    n_ctx = work.shape.n_ctx
    config = TrainingConfig(
        n_ctx=n_ctx,
        batch_size=batch_size,
        micro_batch_size=work.micro_batch_size,
        max_steps=100_000,
        optimizer="adamw",
        lr=6e-4,
        dtype="bfloat16",
    )
    ids = np.random.default_rng(0).integers(0, work.shape.n_vocab, 4 * batch_size * n_ctx)
    source = Windows([Split.from_documents([ids.tolist()])], [1.0], seed=1)
    return Trainer(config, make_model(config, work.shape, device, init=None), source).step


def train_nanogpt(work: Work, batch_size: int, device: torch.device) -> Callable[[], object]:
    """Train nanoGPT's model as its train.py does on a GPU: compiled, in autocast, with fused AdamW, 50,304 tokens."""
    sys.path.insert(0, str(PEERS / "nanoGPT"))
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    shape = work.shape
    n_vocab = -(-shape.n_vocab // 64) * 64
    model: Any = GPT(
        GPTConfig(
            vocab_size=n_vocab,
            block_size=shape.n_ctx,
            n_layer=shape.n_layer,
            n_head=shape.n_head,
            n_embd=shape.n_embd,
            dropout=0.0,
        )
    ).to(device)
    optimizer = model.configure_optimizers(0.1, 6e-4, (0.9, 0.95), device.type)
    forward = torch.compile(model) if device.type == "cuda" else model
    inputs, targets = torch.randint(shape.n_vocab, (2, batch_size, shape.n_ctx)).to(device)

    def step() -> float:
        with torch.autocast(device.type, torch.bfloat16):
            _, loss = forward(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


Step = Callable[[], Tensor]
MakeStep = Callable[[Work, Tensor, torch.device], Step]  # from prompts (B, T) to a function of tokens (B, 1)
Generate = Callable[[Tensor, int], list[list[int]]]  # from prompts (B, T) and a number to that many new tokens of each
MakeGenerate = Callable[[Work, torch.device], Generate]


def decoding_speed(work: Work, rows: int, device: torch.device, make_step: MakeStep) -> float:
    """Return the median tokens per second of decoding `rows` sequences together."""
    seconds = _decode(work, rows, device, make_step)[1]
    return rows * ((work.n_new - WARM_UP) // TRIES) / median(seconds)


def decoded(work: Work, rows: int, device: torch.device, make_step: MakeStep) -> list[list[int]]:
    """Return the tokens decoded after each prompt."""
    return _decode(work, rows, device, make_step)[0]


@torch.inference_mode()
def _decode(work: Work, rows: int, device: torch.device, make_step: MakeStep) -> tuple[list[list[int]], list[float]]:
    """Return the tokens, and the seconds of each part."""
    step = make_step(work, _prompts(work, rows, device), device)
    tokens = [step().clone() for _ in range(WARM_UP)]
    seconds: list[float] = []
    for _ in range(TRIES):
        _wait(device)
        began = time.perf_counter()
        tokens += [step().clone() for _ in range((work.n_new - WARM_UP) // TRIES)]
        _wait(device)
        seconds.append(time.perf_counter() - began)
    return torch.cat(tokens, 1).tolist(), seconds


def _prompts(work: Work, rows: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(work.shape.n_vocab, (rows, work.n_prompt), generator=generator).to(device)


def generating_speed(work: Work, rows: int, device: torch.device, make_generate: MakeGenerate) -> float:
    """Return the median new tokens per second of generating `rows` texts together, including prompts."""
    write = make_generate(work, device)
    prompts = _prompts(work, rows, device)
    write(prompts, WARM_UP)
    return rows * work.n_new / median(_timed(lambda: write(prompts, work.n_new), device) for _ in range(TRIES))


def generate_ours(work: Work, device: torch.device) -> Generate:
    """Generate with Cutaway's engine, on the device that it chooses."""
    engine = _engine(work)
    if engine.device != device.type:
        raise ValueError(f"the engine runs on {engine.device}")

    def write(prompts: Tensor, n_new: int) -> list[list[int]]:
        config = GenerationConfig(temperature=0, max_new_tokens=n_new, ignore_eos=True)
        tokens: list[list[int]] = [[] for _ in prompts]
        for row, chunk in generate(engine, None, prompts.tolist(), config, list(range(len(prompts)))):
            tokens[row] += chunk.ids
        return tokens

    return write


def _engine(work: Work) -> PyTorchEngine:
    return PyTorchEngine(ArrayWeights(work.shape, _initialised(work).export()), "bfloat16")


def generate_theirs(work: Work, device: torch.device) -> Generate:
    """Generate with transformers and its default settings."""
    model = _of_transformers(work, device)

    def write(prompts: Tensor, n_new: int) -> list[list[int]]:
        found = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=False,
            min_new_tokens=n_new,
            max_new_tokens=n_new,
            pad_token_id=0,
        )
        tokens: list[list[int]] = found[:, prompts.shape[1] :].tolist()
        return tokens

    return write


def _initialised(work: Work) -> GPT2:
    model = GPT2(work.shape).eval().requires_grad_(False)
    model.initialise(seed=1)
    return model


@dataclass(frozen=True)
class Replay:
    """A step that is a CUDA graph, its tokens (B, 1), and the tensors that the graph reads, which must not be freed."""

    graph: torch.cuda.CUDAGraph
    ids: Tensor
    kept: tuple[object, ...]

    def __call__(self) -> Tensor:
        self.graph.replay()
        return self.ids


def ours(work: Work, prompts: Tensor, device: torch.device) -> Step:
    """Read prompts with Cutaway's module, and make its next step a CUDA graph if there is CUDA."""
    model = _initialised(work).to(device, torch.bfloat16)
    align_output(model)
    held = model.new_cache(len(prompts))
    cache: KVCache = held

    def next_ids(ids: Tensor) -> Tensor:
        return _likeliest(output_product(model.hidden(ids, cache)[:, -1:], model.lm_head.weight))

    ids = next_ids(prompts)

    def step() -> Tensor:
        ids.copy_(next_ids(ids))
        return ids

    if device.type != "cuda":
        return step
    if has_kernel(model.wpe.weight.device, torch.bfloat16, work.shape, held.k.stride(0)):
        cache = _scattered(held)
    else:
        model.compile_blocks()
    before = (ids.clone(), held.lengths.clone())
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # libraries must compile and allocate before a graph is captured
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    ids.copy_(before[0])
    held.lengths.copy_(before[1])
    return Replay(graph, ids, (model, cache, held))


def _scattered(cache: KVCache) -> ScatteredCache:
    """Return the cache as rows that the engine's kernel reads."""
    device = cache.k.device
    k, v = (torch.tensor([row.data_ptr() for row in part[0]], device=device) for part in (cache.k, cache.v))
    arrived = torch.zeros(cache.k.shape[1:3], dtype=torch.int32, device=device)
    return ScatteredCache(k, v, cache.lengths, arrived, cache.k.shape[3], cache.k.stride(0))


def transformers_static(work: Work, prompts: Tensor, device: torch.device) -> Step:
    """Read prompts with transformers' GPT-2 with the same weights and a static cache; compile the steps after them."""
    from transformers import StaticCache

    model = _of_transformers(work, device)
    cache = StaticCache(model.config, max_cache_len=work.shape.n_ctx)
    places = torch.arange(work.shape.n_ctx, device=device)
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


def _of_transformers(work: Work, device: torch.device) -> Any:
    """Return transformers' GPT-2 with the same weights."""
    from transformers import GPT2Config as TheirConfig
    from transformers import GPT2LMHeadModel

    shape = work.shape
    config = TheirConfig(
        vocab_size=shape.n_vocab,
        n_positions=shape.n_ctx,
        n_embd=shape.n_embd,
        n_head=shape.n_head,
        n_layer=shape.n_layer,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config)
    weights = _initialised(work).export()
    model.transformer.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return model.to(device, torch.bfloat16).eval()


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
