"""A workaround for a race in MKL's vector mathematics (VML), with which PyTorch computes functions on a CPU.

MKL chooses the kernel of a function at its first call. If two threads make that call at once, as they do for the first
large tensor of a process, one of them may use a kernel of low accuracy for its part (errors up to 1e-4). A resumed run
would then differ from one that was never stopped. Source: issue 188792 of pytorch/pytorch; MKL 2024.2.
"""

from functools import cache

import torch

FUNCTIONS = (torch.exp, torch.log, torch.sqrt, torch.tanh)  # the functions of VML that this package uses


@cache
def choose_kernels() -> None:
    """Call each function once per process, on a single number, which uses one thread.

    >>> choose_kernels()
    """
    for function in FUNCTIONS:
        function(torch.ones(1, device="cpu"))
