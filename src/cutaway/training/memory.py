"""Keeping freed memory in the process, so that a step does not fault in the pages of its large tensors again."""

import ctypes

# Of glibc's <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4
_TOP_PAD = 64 << 20  # bytes by which the heap grows at a time at least


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep what is freed for the next tensor; False where the C library has no such setting.

    By default each tensor of more than 32 MB, such as the gradient of the embedding, is mapped and unmapped by the
    kernel: for a small model on a CPU its page faults take more time than the arithmetic of a step.

    >>> keep_freed_memory() in (True, False)
    True
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1, _M_TOP_PAD: _TOP_PAD}
    return all(mallopt(parameter, value) == 1 for parameter, value in settings.items())
