"""Held-out text, and prompts for samples. Needs no PyTorch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from cutaway.data.batches import Batch
from cutaway.tokenizer.codec import Codec, TokenCodec


@dataclass(frozen=True)
class Validation:
    """Held-out text: its windows for a context length, and its bytes per token if known."""

    windows: Callable[[int], Sequence[Batch]]
    bytes_per_token: float | None = None
    weight: float = 1.0

    def digest(self, n_ctx: int) -> str:
        """Return the SHA-256 of the windows for a context length.

        >>> from cutaway.data.batches import evaluation_windows
        >>> from cutaway.data.dataset import Split
        >>> splits = [Split.from_documents([[0, 1, 2, last]]) for last in (3, 4)]
        >>> one, other = (Validation(lambda n, split=s: evaluation_windows(split, n, 9)).digest(3) for s in splits)
        >>> len(one), one == other
        (64, False)
        """
        digest = sha256()
        for batch in self.windows(n_ctx):
            for part in (batch.inputs, batch.targets, batch.learned, batch.n_prefix):
                if part is not None:
                    digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class SamplePrompt:
    """A prompt for samples: the text to show, its ids, and the length of the prefix with bidirectional attention."""

    text: str
    ids: Sequence[int]
    n_prefix: int = 0


def text_prompt(text: str, codec: TokenCodec) -> SamplePrompt:
    """Return a text as a prompt. An empty text, or a codec that is not of text, gives the start token alone.

    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> text_prompt("", Tokenizer.gpt2()).ids
    [50256]
    """
    ids = codec.encode(text) if isinstance(codec, Codec) else []
    return SamplePrompt(text, ids or [codec.bos or 0])
