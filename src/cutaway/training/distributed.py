"""Distributed training with torchrun, on one machine or several.

A training step reads the same batch for any number of processes. Each process takes an equal share of its rows, the
loss is divided by the number of targets in all rows, and gradients are summed. So the world size affects rounding only.
With DDP every process holds the whole model. With FSDP2 each process holds some rows of every parameter, gradient and
moment, and gathers one block at a time.

Only process 0 opens the run directory, prints, samples and saves. It broadcasts what it reads there.
"""

import gc
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from signal import Signals
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from cutaway.errors import RunError, UsageError, complain, guarded
from cutaway.training.losses import Objective
from cutaway.training.sharding import whole
from cutaway.training.signals import StopSignals

PATIENCE = timedelta(minutes=30)  # timeout of a collective, such as while process 0 saves
GRACE = timedelta(seconds=3)  # in which process 0 may report an error that all processes have
LOST = "another process of the run has ended; the same command resumes from the last checkpoint"

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """Requests to stop and to save, from a signal to any process."""

    stop: Signals | None
    save: bool


@dataclass(frozen=True)
class World:
    """The processes of a run. Every process must call the same methods in the same order.

    `local_rank` is the rank among the processes of one machine. `parallel` is "ddp" or "fsdp".

    >>> World(rank=1, size=2).rows(6)
    slice(3, 6, None)
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    parallel: str = "ddp"

    @property
    def is_first(self) -> bool:
        """True for process 0."""
        return self.rank == 0

    @property
    def shards(self) -> bool:
        """True if each process holds some rows of every parameter."""
        return self.size > 1 and self.parallel == "fsdp"

    def rows(self, n_rows: int) -> slice:
        """Return this process's rows of a batch of `n_rows`, which `check_rows` has checked."""
        share = n_rows // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def check_rows(self, n_rows: int) -> None:
        """Raise UsageError unless the rows of a batch divide evenly among processes."""
        if n_rows % self.size:
            raise UsageError(f"--batch-size ({n_rows}) must be a multiple of the number of processes ({self.size})")

    def share(self, items: Sequence[T]) -> Iterator[tuple[T, bool]]:
        """Yield this process's items, the same number in each process, with False for an item that is only padding.

        >>> list(World(rank=1, size=2).share("abc"))
        [('b', True), ('a', False)]
        """
        for start in range(0, len(items), self.size):
            number = start + self.rank
            yield (items[number], True) if number < len(items) else (items[0], False)

    # The model

    def wrap(self, objective: Objective) -> nn.Module:
        """Wrap `objective` in DDP or FSDP2, whose backward pass averages gradients over processes.

        FSDP2 replaces the parameters of `objective`.
        """
        if self.size == 1:
            return objective
        if not self.shards:
            module = DistributedDataParallel(objective)
            _settle_buckets(module)
            return module
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(objective.model.wpe.weight.device.type, (self.size,))
        for module in (*objective.model.h, objective):
            sharded = fully_shard(module, mesh=mesh)
            if mesh.device_type == "cpu":  # gloo has no average, and PyTorch 2.8 takes its sum for one
                sharded.set_force_sum_reduction_for_comms(True)
        return objective

    def reshard(self, module: nn.Module) -> None:
        """Reshard the parameters that FSDP2 keeps gathered after a forward pass for the backward pass."""
        if self.shards:
            from torch.distributed.fsdp import FSDPModule

            assert isinstance(module, FSDPModule)
            module.reshard()

    def gather(self, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Yield full tensors on the CPU with their names in process 0; yield nothing in the others."""
        for name, tensor in tensors:
            full = whole(tensor.detach())
            if self.is_first:
                yield name, full.cpu()

    # Agreement

    def sum(self, *values: float) -> list[float]:
        """Return the sum of each value over all processes."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def largest(self, *values: float) -> list[float]:
        """Return the maximum of each value over all processes."""
        return self._reduce(values, dist.ReduceOp.MAX)

    def _reduce(self, values: Sequence[float], operation: Any) -> list[float]:
        if self.size == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(numbers, operation)
        found: list[float] = numbers.tolist()
        return found

    def agree(self, signals: StopSignals) -> Request:
        """Combine the signals of all processes into one request, the same in all processes."""
        stop, save = self.largest(signals.received or 0, signals.take_save())
        return Request(Signals(int(stop)) if stop else None, bool(save))

    def broadcast(self, document: Any, source: int = 0) -> Any:
        """Return the JSON document of process `source` in all processes."""
        if self.size == 1:
            return document
        data = json.dumps(document).encode() if self.rank == source else b""
        length = torch.tensor([len(data)])
        dist.broadcast(length, source)
        buffer = torch.tensor(list(data) or [0] * int(length), dtype=torch.uint8)
        dist.broadcast(buffer, source)
        return json.loads(bytes(buffer.tolist()))

    def broadcast_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the arrays of process 0 in all processes, in memory."""
        found = {}
        for name, (dtype, shape) in self.broadcast({n: [a.dtype.str, a.shape] for n, a in arrays.items()}).items():
            array = np.array(arrays[name]) if self.is_first else np.empty(shape, dtype)
            dist.broadcast(torch.from_numpy(array.reshape(-1).view(np.uint8)), 0)
            found[name] = array
        return found

    def first(self, texts: Sequence[str | None]) -> str | None:
        """Return the first text that is not None, in order of rank, in all processes."""
        mine = next(filter(None, texts), None)
        return next(filter(None, [self.broadcast(mine, source) for source in range(self.size)]), None)


ALONE = World()


def accumulating(module: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Return a context manager that skips DDP's all-reduce for all but the last micro-batch of a step.

    >>> layer = nn.Linear(2, 1)
    >>> with accumulating(layer, last=False):
    ...     layer(torch.ones(1, 2)).sum().backward()
    >>> layer.bias.grad
    tensor([1.])
    """
    if last or not isinstance(module, DistributedDataParallel):
        return nullcontext()
    held: AbstractContextManager[None] = module.no_sync()
    return held


def _settle_buckets(module: DistributedDataParallel) -> None:
    """Run one backward pass: DDP then rebuilds its gradient buckets once, in the order of that pass.

    With more than two processes the rounding of a sum depends on the position in a bucket. So a resumed run must start
    with the same buckets.
    """
    ids = torch.zeros(1, 1, dtype=torch.long, device=module.device)
    with torch.compiler.set_stance("force_eager"):
        module(ids, ids).backward()
    for p in module.parameters():
        p.grad = None


# Start and end


def is_first_process() -> bool:
    """Return True for process 0 of torchrun, and for a process that torchrun did not start.

    >>> is_first_process()
    True
    """
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined(parallel: str) -> Iterator[World]:
    """Join the process group if torchrun started this process; leave it at the end.

    An expected error in one process ends all of them: one process prints it, and each raises SystemExit.

    >>> with joined("ddp") as world:
    ...     world.size, world.is_first
    (1, True)
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    store, rank, size = next(rendezvous("env://"))
    store = PrefixStore(_attempt(), store)
    reports = _Reports(store, rank)
    cuda = torch.cuda.is_available() and dist.is_nccl_available()
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE
    )
    try:
        yield World(rank, size, int(os.environ["LOCAL_RANK"]), parallel)
    except Exception as error:  # noqa: BLE001  # `_end` raises an unexpected one again
        _end(reports, error)
    gc.collect()  # frees DDP first: as the group's last owner it could deadlock with gloo's thread
    dist.destroy_process_group()


def _attempt() -> str:
    """Return a name for this start of the processes, as a prefix for the store, which torchrun keeps between restarts.

    Each machine counts its own restarts, so the count is only used on a single machine.
    """
    one_machine = os.environ["WORLD_SIZE"] == os.environ["LOCAL_WORLD_SIZE"]
    return f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') if one_machine else ''}"


class _Reports:
    """The error that ended the run, in the store that all processes share. The first process to report prints it."""

    def __init__(self, store: Store, rank: int) -> None:
        self.store = PrefixStore("error", store)
        self.rank = rank
        if rank == 0:  # left by an earlier start; the other processes report only after joining process 0
            self.store.delete_key("report")

    def report(self, code: int, message: str) -> int:
        """Print an error unless another process has reported one; return the exit code of the reported error."""
        mine = json.dumps([self.rank, code, message])
        try:
            reported = self.store.compare_set("report", "", mine).decode()
        except RuntimeError:  # the store is gone with its machine
            reported = mine
        if reported == mine:
            complain(message)
        return int(json.loads(reported)[1])

    def wait(self) -> None:
        """Wait a moment for another process to report, so that process 0 prints an error that all have."""
        try:
            self.store.wait(["report"], GRACE)
        except RuntimeError:  # no process has reported
            return


def _end(reports: _Reports, error: Exception) -> NoReturn:
    if isinstance(error, RuntimeError) and _is_of_connection(error):
        raise SystemExit(reports.report(RunError.exit_code, LOST)) from None
    messages: list[str] = []

    def fail() -> None:
        raise error

    code = guarded(fail, messages.append)
    message = "".join(messages)
    if reports.rank:
        reports.wait()
        message = f"process {reports.rank}: {message}"
    raise SystemExit(reports.report(code, message)) from None


def _is_of_connection(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or any(name in str(error) for name in ("gloo", "Gloo", "NCCL"))
