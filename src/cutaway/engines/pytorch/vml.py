"""A guard against a race in MKL's vector mathematics (VML), by which PyTorch computes functions on a CPU.

MKL chooses the kernel of a function at its first call. Where two threads make that call at once, which they do for the
first large tensor of a process, one of them may take a kernel of low accuracy for its share (errors up to 1e-4). A run
that is resumed would then differ from one that was never stopped. Source: issue 188792 of pytorch/pytorch; MKL 2024.2.
"""

from functools import cache

import torch

FUNCTIONS = (torch.exp, torch.log, torch.sqrt, torch.tanh)  # of those that VML computes, the ones this package uses


@cache
def choose_kernels() -> None:
    """Call each function for a single number, which takes one thread, unless this process has done so.

    >>> choose_kernels()
    """
    for function in FUNCTIONS:
        function(torch.ones(1, device="cpu"))
