"""The LanguageModel protocol: a model as evaluation uses it, and the callback that reports progress."""

from collections.abc import Callable, Sequence
from typing import Protocol

from cutaway.engines.protocol import Engine

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)`, in bytes of text or in examples; may raise to stop the evaluation."""


class LanguageModel(Protocol):
    """A model that can be evaluated; `cutaway.Model` is one."""

    @property
    def engine(self) -> Engine:
        """Engine that computes the logits."""

    def encode(self, prompt: str | Sequence[int]) -> list[int]:
        """Return the token ids of a text."""

    def input_ids(self, prompt: str | Sequence[int], prepend_bos: bool | None = None) -> list[int]:
        """Return the token ids of a text, after the start token."""

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token stands for."""


def no_progress(done: int, total: int) -> None:
    """Report nothing.

    >>> no_progress(done=1, total=2)
    """
