"""The training loop: steps, evaluations and checkpoints of one run.

A training step is a function of the configuration, its number and the state before it. Its batch, dropout masks and
sampled vocabulary are seeded by (seed, step), and never drawn from a stream that other code could advance. So a run
that was stopped anywhere ends like one that was not, and evaluating changes nothing.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutaway.checkpoints import ArrayWeights, Weights
from cutaway.data.batches import Batch, BatchSource
from cutaway.engines.cpu.engine import CpuEngine
from cutaway.engines.cpu.library import why_unusable
from cutaway.engines.protocol import Engine
from cutaway.engines.pytorch.engine import PyTorchEngine
from cutaway.engines.pytorch.model import GPT2
from cutaway.errors import CheckpointError, RunError
from cutaway.generation.batch import generate
from cutaway.generation.config import GenerationConfig
from cutaway.generation.stream import collect
from cutaway.tokenizer.codec import Codec, TokenCodec
from cutaway.training.averaging import TailAverage
from cutaway.training.config import TrainingConfig
from cutaway.training.distributed import ALONE, World, accumulating
from cutaway.training.finite import first_not_finite
from cutaway.training.held_out import SamplePrompt, Validation, text_prompt
from cutaway.training.losses import CrossEntropy, Objective, SampledVocabulary
from cutaway.training.optimizers import make_optimizer
from cutaway.training.schedule import Schedule, StepPlan
from cutaway.training.sharding import part_like, whole
from cutaway.training.throughput import matmul_flops_per_token

SAMPLE = GenerationConfig(max_new_tokens=48, temperature=0.8, top_p=0.95)
SAMPLE_SEED = 0
GPU_CHUNK = 8192  # rows of logits in memory at a time
CPU_CHUNK = 512

Event = Mapping[str, object]
Array = NDArray[np.generic]


@dataclass(frozen=True)
class Step:
    """Result of a step: loss (nats per target), share of the peak rates, gradient norm before clipping, seconds."""

    loss: float
    rate: float
    grad_norm: float
    seconds: float


class Trainer:
    """Trains a model. `steps` is the number of steps taken.

    `source` provides the batches, `validation` the held-out text, and `codec` decodes samples. `side_files` are saved
    with the weights (see `save_checkpoint`). `prompt` is the prompt of samples (default: the configured text).
    `frequent` are the ids that every sample of the vocabulary includes. `about` is saved with the state. All parameters
    of `model` that require gradients are trained. `world` is the group of processes, each with its own trainer.

    >>> from cutaway.config import GPT2Config
    >>> from cutaway.data.batches import Windows
    >>> from cutaway.data.dataset import Split
    >>> model = GPT2(GPT2Config(n_vocab=8, n_ctx=4, n_embd=4, n_head=1, n_layer=1))
    >>> model.initialise(seed=1)
    >>> source = Windows([Split.from_documents([[0, 1, 2, 3, 4, 5, 6, 7, 1, 2]])], [1.0], seed=1)
    >>> config = TrainingConfig(n_ctx=4, batch_size=2, max_steps=10, lr=0.05, matrix_lr=0.05, warmup_steps=1)
    >>> trainer = Trainer(config, model, source)
    >>> losses = [trainer.step().loss for _ in range(10)]
    >>> losses[-1] < losses[0]
    True
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: GPT2,
        source: BatchSource,
        *,
        validation: Sequence[Validation] = (),
        codec: TokenCodec | None = None,
        side_files: Mapping[str, str] | None = None,
        prompt: SamplePrompt | None = None,
        frequent: Tensor | None = None,
        about: Mapping[str, object] | None = None,
        world: World = ALONE,
    ) -> None:
        world.check_rows(config.batch_size)
        self.world = world
        self.micro_rows = min(config.micro_rows, config.batch_size // world.size)
        self.config = config
        self.model = model
        self.source = source
        self.validation = validation
        self.codec = codec
        self.side_files = side_files or {}
        self.prompt = prompt
        self.about = about or {}
        self.frequent = torch.empty(0, dtype=torch.long) if frequent is None else frequent
        self.device = model.wpe.weight.device
        chunk = GPU_CHUNK if self.device.type == "cuda" else CPU_CHUNK
        self.objective = Objective(
            model, CrossEntropy(chunk, compiled=config.compile, smoothing=config.label_smoothing)
        )
        if config.compile:
            model.compile_blocks()
        if not world.shards:  # FSDP2 gathers a block's weights when the block is called
            model.fuse_blocks()
        self.forward = world.wrap(self.objective)
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizer = make_optimizer(config, self.parameters)
        self.average = TailAverage()
        self.schedule = Schedule(config)
        self.steps = 0
        self.tokens = 0  # in all steps so far
        self.seconds = 0.0  # in all steps and evaluations so far
        self.stopping = False  # set to end the run after this step, as if the schedule had ended
        self._ahead: tuple[tuple[int, int], Batch] | None = None  # (number, context) and the next batch
        self.best: tuple[int, float] | None = None  # step and validation loss
        self.restored: int | None = None  # the step that the run resumed from

    # Training step

    def flops(self, step: int) -> int:
        """Return the FLOPs of a step's matrix products, at the current progress."""
        plan = self.schedule.plan(step, self.progress())
        n_vocab = self.config.sampled_vocab if plan.samples_vocabulary else None
        return self.config.batch_size * plan.n_ctx * matmul_flops_per_token(self.model.config, plan.n_ctx, n_vocab)

    def progress(self) -> float:
        """Return the share of the run that is done; at 1 or more the run ends."""
        return self.schedule.progress(self.steps, self.seconds)

    @property
    def done(self) -> bool:
        """True if there are no more steps to take."""
        return self.stopping or self.progress() >= 1

    def step(self) -> Step:
        """Take one training step. Raises RunError if the loss or the gradient is not finite; parameters and optimizer
        are then unchanged.
        """
        began = time.monotonic()
        plan = self.schedule.plan(self.steps, self.progress())
        batch = self._batch(plan)
        self.model.train()
        total = self.accumulate(batch, plan)
        norm_here = self.clip()
        self._look_ahead()
        loss = self.world.sum(float(total))[0]  # the only point at which a step waits for a GPU
        norm = float(norm_here)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._refuse(batch, loss)
        self.optimizer.step(plan.rate, plan.momentum)
        self._drop_gradients()
        if plan.averages:
            self.average.update(self.parameters)
        self.steps += 1
        self.tokens += batch.inputs.size
        seconds = self.world.largest(time.monotonic() - began)[0]
        self.seconds += seconds
        return Step(loss, plan.rate, norm, seconds)

    def accumulate(self, batch: Batch, plan: StepPlan) -> Tensor:
        """Accumulate the gradients of a batch over micro-batches; return this process's share of the mean loss in nats
        per learned target.

        The summed loss is divided by the number of targets in the whole step, so that the result does not depend on the
        micro-batch size or the number of processes. Dropout is seeded by the first row of each micro-batch.
        """
        n_targets = self.count_targets(batch)
        sample = self._sample(batch.targets) if plan.samples_vocabulary else None
        total = torch.zeros((), device=self.device)
        rows = self.world.rows(len(batch.inputs))
        micro_rows = self.micro_rows * plan.n_ctx // batch.inputs.shape[1]  # shorter rows allow more of them
        for start in range(rows.start, rows.stop, micro_rows):
            stop = min(start + micro_rows, rows.stop)
            seed_draws(self.device, address(self.config.seed, self.steps, start))
            with accumulating(self.forward, last=stop == rows.stop):
                loss = self.forward(*self._tensors(batch.rows(start, stop)), sample) / max(1, n_targets)
                (loss * self.world.size).backward()  # undoes the average: gradients are to be summed
            total += loss.detach()
        return total

    def _batch(self, plan: StepPlan) -> Batch:
        """Return the batch of a step, prefetched or not."""
        if self._ahead is not None and self._ahead[0] == (plan.batch, plan.n_ctx):
            return self._ahead[1]
        return self.source.batch(plan.batch, self.config.batch_size, plan.n_ctx)

    def _look_ahead(self) -> None:
        """Prefetch the next step's batch while a GPU is still busy with this step."""
        plan = self.schedule.plan(self.steps + 1, self.progress())
        self._ahead = (plan.batch, plan.n_ctx), self._batch(plan)

    def count_targets(self, batch: Batch) -> int:
        """Return the number of learned targets in a step."""
        return batch.targets.size if batch.learned is None else int(batch.learned.sum())

    def clip(self) -> Tensor:
        """Clip the gradients to norm `grad_clip` if their norm is finite; return the norm before clipping."""
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients))
        if self.config.grad_clip:
            known = torch.where(norm.isfinite(), norm, 0)  # gradients that are not finite stay unchanged
            torch.nn.utils.clip_grads_with_norm_(self.parameters.values(), self.config.grad_clip, known)
        return norm

    def leave(self) -> None:
        """End distributed training: drop the DDP wrapper, which must not outlive the process group."""
        self.forward = self.objective

    def _drop_gradients(self) -> None:
        for p in self.parameters.values():
            p.grad = None

    def _sample(self, targets: NDArray[np.int64]) -> SampledVocabulary:
        generator = torch.Generator().manual_seed(address(self.config.seed, self.steps, -1))
        n_vocab = self.model.config.n_vocab
        ids = torch.from_numpy(np.ascontiguousarray(targets))
        sample = SampledVocabulary(n_vocab, ids, self.frequent, self.config.sampled_vocab, generator)
        return sample.to(self.device)

    def _tensors(self, batch: Batch) -> tuple[Tensor | None, ...]:
        """Return inputs, targets, `learned` and `n_prefix` on the device."""
        parts = (batch.inputs, batch.targets, batch.learned, batch.n_prefix)
        tensors = (None if part is None else torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
        return tuple(None if tensor is None else tensor.to(self.device) for tensor in tensors)

    def _refuse(self, batch: Batch, loss: float) -> NoReturn:
        gradients = {name: whole(p.grad) for name, p in self.parameters.items() if p.grad is not None}
        graded = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
        self._drop_gradients()
        rows = self.world.rows(len(batch.inputs))
        parts = split_rows(batch.rows(rows.start, rows.stop), self.micro_rows)
        found = [first_not_finite(self.model, partial(self.forward, *self._tensors(part))) for part in parts]
        spoilt = f"the gradient of {graded[0]}" if graded and math.isfinite(loss) else "the loss"
        raise _not_finite(self.steps + 1, self.world.first(found) or spoilt, loss)

    # Evaluation

    @torch.no_grad()
    def evaluate(self) -> dict[str, object]:
        """Measure the held-out loss and generate a sample."""
        began = time.monotonic()
        found = {**self.measure(), "sample": self.sample()}
        self.seconds += self.world.largest(time.monotonic() - began)[0]
        return found

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Measure the mean held-out loss in nats, and bits per byte if the bytes are known.

        Does not affect the randomness of training. Windows have the context length of the current step. Raises RunError
        if the loss is not finite, because the last update overflowed.
        """
        self.model.eval()
        n_ctx = self.schedule.plan(self.steps, self.progress()).n_ctx
        measured = list(zip(self._mean_losses(n_ctx), self.validation, strict=True))
        total = sum(part.weight for part in self.validation)
        found: dict[str, float] = {}
        if measured:
            valid_loss = sum(loss * part.weight for loss, part in measured) / total
            if not math.isfinite(valid_loss):
                again = partial(self._mean_losses, n_ctx)
                culprit = self.world.first([first_not_finite(self.model, again)]) or "the validation loss"
                raise _not_finite(self.steps, culprit, valid_loss)
            found["valid_loss"] = valid_loss
        if measured and all(part.bytes_per_token for _, part in measured):
            bits = [loss / math.log(2) / (part.bytes_per_token or 1) * part.weight for loss, part in measured]
            found["bits_per_byte"] = sum(bits) / total
        return found

    def _mean_losses(self, n_ctx: int) -> list[float]:
        return [self._mean_loss(part.windows(n_ctx)) for part in self.validation]

    def _mean_loss(self, windows: Sequence[Batch]) -> float:
        total = 0.0
        count = 0
        parts = [part for batch in windows for part in split_rows(batch, self.micro_rows)]
        for part, is_mine in self.world.share(parts):
            trained = len(part.inputs) == self.micro_rows
            with torch.compiler.set_stance("default" if trained else "force_eager"):  # only trained shapes
                loss = float(self.objective(*self._tensors(part)))
            total += loss if is_mine else 0.0
            count += self.count_targets(part) if is_mine else 0
        self.world.reshard(self.forward)
        total, n_all = self.world.sum(total, count)
        return total / max(1.0, n_all)

    def sample(self) -> str:
        """Generate from the configured prompt with the current weights; "" in all processes but process 0."""
        if self.codec is None:
            return ""
        if not self.world.is_first:
            self.give_weights()
            return ""
        engine = self.sampler()
        prompt = self.prompt or text_prompt(self.config.sample_prompt, self.codec)
        with torch.compiler.set_stance("force_eager"):
            chunks = generate(engine, self.codec, [prompt.ids], SAMPLE, [SAMPLE_SEED], [prompt.n_prefix])
            sample = collect(chunks, [SAMPLE_SEED], engine.name)[0]
        return sample.text if isinstance(self.codec, Codec) else ", ".join(map(self.codec.label, sample.ids))

    def sampler(self) -> Engine:
        """Return an engine with the current weights, in process 0. If parameters are sharded, the other processes must
        call `give_weights`.

        On a CPU it is the compiled engine if that is built: it computes in float32 and is several times as fast.
        """
        if self.device.type == "cpu" and not why_unusable():
            return CpuEngine(self.weights(), "float32", torch.get_num_threads())
        if self.world.shards:
            return PyTorchEngine(self.weights(), self.config.dtype)
        return PyTorchEngine.from_module(self.model.eval())

    # Checkpoints

    def weights(self) -> Weights:
        """Return the current weights as a checkpoint stores them. Process 0 calls this while the others call
        `give_weights`.
        """
        gathered = self.world.gather(self.model.tensors())
        return ArrayWeights(self.model.config, {name: self.model.stored(name, tensor) for name, tensor in gathered})

    def give_weights(self) -> None:
        """Send this process's shard of the weights to process 0."""
        for _ in self.world.gather(self.model.tensors()):
            raise AssertionError("process 0 calls `weights`")

    def arrays(self) -> dict[str, Array]:
        """Return the state of the optimizer and of the average by name; empty in all processes but process 0."""
        state = self.optimizer.state() | {f"average.{name}": value for name, value in self.average.values.items()}
        return {name: value.numpy() for name, value in self.world.gather(state.items())}

    def state(self) -> dict[str, object]:
        """Return the rest of the state as a JSON document: counts, the best evaluation, the configuration."""
        return {
            "step": self.steps,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "best": None if self.best is None else {"step": self.best[0], "valid_loss": self.best[1]},
            "randomness": {"seed": self.config.seed, "step": self.steps},  # all randomness is a function of these
            "processes": self.world.size,
            "config": self.config.to_document(),
            "about": dict(self.about),
        }

    def restore(self, weights: Weights, arrays: Mapping[str, Array], document: Mapping[str, object]) -> None:
        """Restore what `weights`, `arrays` and `state` returned. Raises CheckpointError if a part is missing."""
        counts = _read_counts(document)
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        for name, p in self.model.tensors():
            p.detach().copy_(part_like(self.model.read(weights, name).to(self.device), p))
        self.optimizer.restore(tensors)
        averaged = {name: value for name, value in tensors.items() if name.startswith("average.")}
        for key, value in averaged.items():
            name = key.removeprefix("average.")
            self.average.values[name] = part_like(value.to(self.device), self.parameters[name])
        self.steps = counts.steps
        self.restored = counts.steps
        self.tokens = counts.tokens
        self.seconds = counts.seconds
        self.best = counts.best

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Return a context manager in which the model has the blend of the tail average and the last weights."""
        kept = {name: p.detach().clone() for name, p in self.parameters.items()}
        blended = self.average.blend(self.parameters)
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(blended[name])
            try:
                yield
            finally:
                for name, p in self.parameters.items():
                    p.copy_(kept[name])


@dataclass(frozen=True)
class _Counts:
    steps: int
    tokens: int
    seconds: float
    best: tuple[int, float] | None


def _read_counts(document: Mapping[str, Any]) -> _Counts:
    try:
        best = document["best"]
        found = None if best is None else (int(best["step"]), float(best["valid_loss"]))
        return _Counts(int(document["step"]), int(document["tokens"]), float(document["seconds"]), found)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the state of the run is incomplete: {error!r}") from None


def _not_finite(step: int, culprit: str, loss: float) -> RunError:
    return RunError(
        f"step {step}: {culprit} is not finite (loss {loss:g}); the last checkpoints are unchanged: "
        "start again with a lower learning rate"
    )


def address(seed: int, step: int, number: int) -> int:
    """Return the random seed for part `number` of a step.

    >>> address(1, 2, 0) == address(1, 2, 0) != address(1, 2, 1)
    True
    """
    return int(np.random.SeedSequence([seed, step, number + 1]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_draws(device: torch.device, seed: int) -> None:
    """Seed the random generator of a device.

    `torch.manual_seed` takes up to a millisecond: it also records the stack for each kind of device that is missing.

    >>> seed_draws(torch.device("cpu"), 1)
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def split_rows(batch: Batch, n_rows: int) -> Iterator[Batch]:
    """Split a batch into micro-batches of at most `n_rows` rows.

    >>> batch = Batch(np.zeros((5, 3), np.int64), np.zeros((5, 3), np.int64), learned=None)
    >>> [len(part.inputs) for part in split_rows(batch, 2)]
    [2, 2, 1]
    """
    for start in range(0, len(batch.inputs), n_rows):
        yield batch.rows(start, start + n_rows)
