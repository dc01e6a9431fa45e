"""Memory of a process that trains on a CPU: what is freed serves the next step, and oneDNN keeps little."""

import ctypes
import os

# Of glibc's <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4
_CACHE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_PRIMITIVES = 128  # of which a step takes some thirty for each shape of its batch
_TOP_PAD = 64 << 20  # bytes by which the heap grows at a time at least


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep what is freed for the next tensor; False where the C library has no such setting.

    By default each tensor of more than 32 MB, such as the gradient of the embedding, is mapped and unmapped by the
    kernel: for a small model on a CPU its page faults take more time than the arithmetic of a step. It is for batches
    of about as many tokens each: tensors of ever other sizes would leave holes, and the process would grow.

    >>> keep_freed_memory() in (True, False)
    True
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1, _M_TOP_PAD: _TOP_PAD}
    return all(mallopt(parameter, value) == 1 for parameter, value in settings.items())


def limit_primitive_cache() -> None:
    """Let oneDNN, PyTorch's library of products, keep fewer products prepared, unless the environment says how many.

    It prepares each anew for every shape and keeps the last 1,024 of them: with batches of many lengths, in bfloat16,
    these take gigabytes. It has to be told before its first product.

    >>> limit_primitive_cache()
    >>> _CACHE in os.environ
    True
    """
    os.environ.setdefault(_CACHE, str(_PRIMITIVES))
