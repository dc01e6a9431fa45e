"""Results that are computed once for a trace, and cached as long as it lives."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

from cutaway.trace.trace import Trace

P = ParamSpec("P")
T = TypeVar("T")


def once_for_a_trace(compute: Callable[Concatenate[Trace, P], T]) -> Callable[Concatenate[Trace, P], T]:
    """Decorate a function of a trace and hashable arguments so that each result is computed once for a trace.

    Some results take seconds, and a figure and its check need the same ones, as do requests for cancellable copies of
    the trace. All callers get the same object.

    >>> import cutaway
    >>> @once_for_a_trace
    ... def count_tokens(trace):
    ...     print("counting")
    ...     return len(trace)
    >>> trace = cutaway.load().trace("A robot")
    >>> count_tokens(trace), count_tokens(trace)
    counting
    (3, 3)
    """

    @wraps(compute)
    def computed(trace: Trace, /, *args: P.args, **kwargs: P.kwargs) -> T:
        key = (compute, args, tuple(sorted(kwargs.items())))
        if key not in trace.results:
            trace.results[key] = compute(trace, *args, **kwargs)
        return cast(T, trace.results[key])

    return computed
