"""Memory of a process that trains on a CPU: reuse freed memory for the next step, and limit oneDNN's cache."""

import ctypes
import os

# From glibc's <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4
_CACHE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_PRIMITIVES = 128  # a step uses about thirty for each shape of batch
_TOP_PAD = 64 << 20  # bytes by which the heap grows at least


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep freed memory for the next tensor; return False if the C library has no such setting.

    By default the kernel maps and unmaps each tensor of more than 32 MB, such as the gradient of the embedding. For a
    small model on a CPU the page faults take more time than the arithmetic of a step. Use this only if batches have
    about the same number of tokens: with tensors of many different sizes the heap would fragment and grow.

    >>> keep_freed_memory() in (True, False)
    True
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1, _M_TOP_PAD: _TOP_PAD}
    return all(mallopt(parameter, value) == 1 for parameter, value in settings.items())


def limit_primitive_cache() -> None:
    """Limit the primitive cache of oneDNN, PyTorch's library for matrix products, unless the environment sets its size.

    oneDNN prepares a primitive for every shape and by default caches the last 1,024. With batches of many lengths in
    bfloat16 they take gigabytes. The limit must be set before the first matrix product.

    >>> limit_primitive_cache()
    >>> _CACHE in os.environ
    True
    """
    os.environ.setdefault(_CACHE, str(_PRIMITIVES))
