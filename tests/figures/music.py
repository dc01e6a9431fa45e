"""Traces of a small random model of music."""

from cutaway.music import perf388
from cutaway.music.codecs import CODECS
from cutaway.trace import Trace
from tests.tiny import tiny_weights

PIECE = (perf388.END, *perf388.EXAMPLE)


def music_trace(codec: str = "perf388") -> Trace:
    """The codec's example, after the token that begins a piece."""
    music = CODECS[codec]
    weights = tiny_weights(n_vocab=music.n_vocab, n_ctx=80)
    tensors = {name: weights.read(name) for name in weights.config.tensor_shapes()}
    return Trace(weights.config, tensors, music, [music.bos, *music.example])
