"""The compiled library of the CPU engine, and the types of its C functions.

The sources are in `native/`; building the package compiles them to `_native.so` beside this file. The interface is
plain C, so that one library works with every Python version.
"""

import ctypes
from ctypes import POINTER, c_char_p, c_float, c_int, c_ssize_t, c_void_p
from functools import cache
from pathlib import Path

from cutaway.errors import EngineError

PATH = Path(__file__).with_name("_native.so")


class StoredArray(ctypes.Structure):
    """One of the arrays that store a tensor, viewed as (outputs, depth), with strides in elements."""

    _fields_ = (("data", c_void_p), ("output_stride", c_ssize_t), ("depth_stride", c_ssize_t))


INTERFACE = 4  # version of the C functions, as in native/api.cpp; a library of another version is rejected
_HANDLE = POINTER(c_void_p)
_FUNCTIONS: dict[str, tuple[type | None, list[type]]] = {
    "cutaway_interface": (c_int, []),
    # requested instruction set or NULL -> its name, or NULL if this processor does not support it
    "cutaway_isa": (c_char_p, [c_char_p]),
    # n_vocab, n_ctx, n_embd, n_head, n_layer, n_inner, relative positions, epsilon, tied, activation, divisor of the
    # scores in the first layer, whether it is multiplied by the layer's number (from 1), isa, threads -> model
    "cutaway_model_new": (
        c_int,
        [c_int] * 7 + [c_float, c_int, c_int, c_float, c_int, c_char_p, c_int, _HANDLE],
    ),
    "cutaway_model_free": (None, [c_void_p]),
    "cutaway_has_format": (c_int, [c_char_p]),
    # model, name of the tensor, name of its format, the arrays that store it
    "cutaway_load": (c_int, [c_void_p, c_char_p, c_char_p, POINTER(StoredArray)]),
    # model, cache or NULL, tokens, counts, prefixes, rows of the cache, number of sequences, all, exact, -> logits
    "cutaway_forward": (c_int, [c_void_p] * 6 + [c_int, c_int, c_int, c_void_p]),
    "cutaway_cache_new": (c_int, [c_void_p, c_int, _HANDLE]),
    "cutaway_cache_free": (None, [c_void_p]),
    "cutaway_cache_lengths": (None, [c_void_p, c_void_p]),
    "cutaway_cache_truncate": (None, [c_void_p, c_void_p]),
    "cutaway_cache_rows": (c_int, [c_void_p]),
    "cutaway_cache_add_rows": (c_int, [c_void_p, c_int]),
    # cache, source, target
    "cutaway_cache_copy_row": (c_int, [c_void_p, c_int, c_int]),
}

_STATUS = {
    1: "the CPU engine ran out of memory; use a smaller batch, a shorter text or a smaller dtype",
    2: "the CPU engine could not start its threads; ask for fewer",
    3: "the CPU engine has no such tensor or format",
}


@cache
def library() -> ctypes.CDLL:
    """Load the library. Raises EngineError if it was not built or cannot be loaded.

    >>> library().cutaway_has_format(b"int8")
    1
    """
    if not PATH.exists():
        raise EngineError(
            f"the CPU engine is not built ({PATH.name} is missing beside {PATH.parent.name}/library.py); "
            'install a C++ compiler or "ziglang" and install cutaway again (in a clone: make run),'
            ' or choose --engine reference (engine="reference")'
        )
    try:
        loaded = ctypes.CDLL(str(PATH))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(loaded, name)
            function.restype = result
            function.argtypes = arguments
    except (OSError, AttributeError) as error:
        raise EngineError(f"the CPU engine cannot be loaded: {error}; install cutaway again to rebuild it") from error
    if loaded.cutaway_interface() != INTERFACE:
        raise EngineError(f"{PATH.name} was built from other sources; install cutaway again (in a clone: make native)")
    return loaded


def why_unusable() -> str:
    """Return the reason why the library cannot be used; "" if it can.

    >>> why_unusable()
    ''
    """
    try:
        library()
    except EngineError as error:
        return str(error)
    return ""


def check(status: int) -> None:
    """Raise EngineError unless a status is 0.

    >>> check(0)
    >>> check(3)
    Traceback (most recent call last):
    cutaway.errors.EngineError: the CPU engine has no such tensor or format
    """
    if status:
        raise EngineError(_STATUS[status])
