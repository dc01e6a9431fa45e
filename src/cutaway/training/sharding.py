"""Tensors whose rows are divided among processes, as FSDP2 divides parameters, gradients and moments.

All processes must call these functions for the same tensors in the same order.
"""

import torch
from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor with all its rows, gathered from all processes if it is sharded.

    >>> whole(torch.ones(2)).tolist()
    [1.0, 1.0]
    """
    gather = getattr(tensor, "full_tensor", None)  # of a DTensor, whose module takes a second to import
    if gather is None:
        return tensor
    full: Tensor = gather()
    return full


@torch.no_grad()
def part_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return this process's part of a tensor that every process holds, sharded as `like` is; all of it if `like` is not
    sharded. Nothing is communicated.

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
