"""Tensors whose rows are sharded over processes, as FSDP2 shards parameters, gradients and moments.

All processes must call these functions for the same tensors in the same order.
"""

import torch
from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """Return the full tensor, gathered from all processes if it is sharded.

    >>> whole(torch.ones(2)).tolist()
    [1.0, 1.0]
    """
    gather = getattr(tensor, "full_tensor", None)  # only a DTensor has it; importing DTensor takes a second
    if gather is None:
        return tensor
    full: Tensor = gather()
    return full


@torch.no_grad()
def part_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return this process's shard of a tensor that every process holds in full, sharded like `like`, or the full tensor
    if `like` is not sharded. There is no communication.

    >>> part_like(torch.ones(2), torch.zeros(2)).tolist()
    [1.0, 1.0]
    """
    if not hasattr(like, "full_tensor"):
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    assert isinstance(like, DTensor)
    copies = [Replicate()] * like.device_mesh.ndim
    replicated = DTensor.from_local(tensor, like.device_mesh, copies, run_check=False)
    return replicated.redistribute(like.device_mesh, like.placements)
