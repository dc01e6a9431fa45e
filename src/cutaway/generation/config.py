"""The settings of a generation request: how tokens are chosen, when a text ends, what is reported."""

import dataclasses
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from cutaway.checks import check_float, check_int, check_top_p, show
from cutaway.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """Settings of one request, the same in Python, on the command line, in the page and in `generation_config.json`.

    Names are those of transformers where it has them, else of vLLM, llama.cpp or OpenAI's API; the default values are
    the article's. `stop` may be a single string and `eos_token_id` a single id. Raises UsageError for a value that is
    out of range.

    >>> GenerationConfig(temperature=0.8, stop="END")
    GenerationConfig(temperature=0.8, stop=('END',))
    """

    max_new_tokens: int = 100
    temperature: float = 1.0  # 0: greedy
    top_k: int = 40  # 0: off
    top_p: float = 1.0  # 1: off
    repetition_penalty: float = 1.0  # 1: off
    seed: int | None = None  # of the first sequence, sequence i uses seed + i; None: random
    stop: Sequence[str] = ()  # strings that end a text without being part of it
    ignore_eos: bool = False  # generate past an end token
    context_shift: bool = False  # when the context is full, continue from its last half
    logprobs: bool = False  # report the log-probability of each token
    top_logprobs: int = 0  # number of most likely tokens to report at each step
    bos_token_id: int | None = None  # replaces an empty prompt; None: the tokenizer's
    eos_token_id: int | Sequence[int] | None = None  # tokens that end a text; None: the tokenizer's

    def __post_init__(self) -> None:
        check_int("max_new_tokens", self.max_new_tokens, 1)
        check_float("temperature", self.temperature, 0, 1e6)
        check_int("top_k", self.top_k, 0)
        check_top_p("top_p", self.top_p)
        check_float("repetition_penalty", self.repetition_penalty, 1e-3, 1e3)
        check_int("top_logprobs", self.top_logprobs, 0)
        for name in ("ignore_eos", "context_shift", "logprobs"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} must be true or false, not {getattr(self, name)!r:.60}")
        for name in ("seed", "bos_token_id"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name), 0)
        object.__setattr__(self, "stop", _strings(self.stop))
        object.__setattr__(self, "eos_token_id", _token_ids(self.eos_token_id))

    def __repr__(self) -> str:
        changed = [(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]
        changed = [(name, value) for name, value in changed if value != getattr(type(self), name)]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed)})"

    def replace(self, **overrides: object) -> "GenerationConfig":
        """Return a copy with other values. Raises UsageError for an unknown field; it names a similar one, or all.

        >>> GenerationConfig(top_k=5).replace(temperature=0)
        GenerationConfig(temperature=0, top_k=5)
        >>> GenerationConfig().replace(max_tokens=5)
        Traceback (most recent call last):
        cutaway.errors.UsageError: unknown setting max_tokens; did you mean max_new_tokens?
        """
        for name in overrides:
            if name not in FIELDS:
                from difflib import get_close_matches  # not needed for a first token

                near = get_close_matches(name, FIELDS, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(FIELDS)}"
                raise UsageError(f"unknown setting {name}; {hint}")
        return dataclasses.replace(self, **overrides)  # type: ignore[arg-type]  # values are checked as they are set

    def pick_seed(self) -> int:
        """Return the seed, or a random one if none is set.

        >>> GenerationConfig(seed=3).pick_seed()
        3
        """
        return secrets.randbits(32) if self.seed is None else self.seed

    def end_tokens(self, eos: int | None) -> frozenset[int]:
        """Return the ids that end a text, for a tokenizer whose own end token is `eos`.

        >>> GenerationConfig(eos_token_id=[3, 4]).end_tokens(50256)
        frozenset({3, 4})
        """
        if self.ignore_eos:
            return frozenset()
        if self.eos_token_id is None:
            return frozenset() if eos is None else frozenset({eos})
        return frozenset(_token_ids(self.eos_token_id) or ())


FIELDS = tuple(field.name for field in dataclasses.fields(GenerationConfig))


def _strings(stop: object) -> tuple[str, ...]:
    strings = (stop,) if isinstance(stop, str) else stop
    if not isinstance(strings, Sequence) or not all(isinstance(text, str) and text for text in strings):
        raise UsageError(f"stop must be non-empty strings, not {show(stop)}")
    return tuple(strings)


def _token_ids(ids: object) -> tuple[int, ...] | None:
    if ids is None:
        return None
    listed = ids if isinstance(ids, Sequence) and not isinstance(ids, str | bytes) else (ids,)
    return tuple(check_int("eos_token_id", token, 0) for token in listed)
