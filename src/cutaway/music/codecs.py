"""The music codecs by name."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from cutaway.music.codec_file import CODEC, read_codec_name
from cutaway.music.perf388 import PerformanceCodec
from cutaway.music.performance import Performance, Reading
from cutaway.music.satb16 import ChoraleCodec
from cutaway.tokenizer.codec import TokenCodec
from cutaway.untrusted import quote, raise_checkpoint_error


class MusicCodec(TokenCodec, Protocol):
    """Converts ids to music. Each codec has its own `encode`, for its own kind of input."""

    @property
    def name(self) -> str:
        """Name of the codec as stored in files."""

    @property
    def bos(self) -> int:
        """The id that precedes the first event of a piece."""

    @property
    def example(self) -> tuple[int, ...]:
        """The ids of a short piece, used as an example."""

    def decode(self, ids: Iterable[int]) -> Performance:
        """Decode any ids to a performance."""

    def seconds(self, index: int) -> float:
        """Return the seconds by which an id advances time."""

    def read(self, ids: Sequence[int]) -> Reading:
        """Decode any ids to notes, with the note and the time of each id."""


CODECS: Mapping[str, MusicCodec] = {codec.name: codec for codec in (PerformanceCodec(), ChoraleCodec())}


def music_codec(codec: TokenCodec | None) -> MusicCodec | None:
    """Return the codec of a model or a corpus if it is a music codec, else None.

    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> music_codec(PerformanceCodec()).name, music_codec(Tokenizer.gpt2())
    ('perf388', None)
    """
    return next((music for music in CODECS.values() if music == codec), None)


def codec_beside(directory: Path) -> MusicCodec | None:
    """Return the codec named by `codec.json` in a directory; None if there is no such file.

    Raises CheckpointError if the file is malformed or names an unknown codec.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     CODECS["satb16"].write(Path(directory))
    ...     codec_beside(Path(directory)).n_vocab
    48
    """
    name = read_codec_name(directory)
    if name is None:
        return None
    if name not in CODECS:
        raise_checkpoint_error(directory / CODEC, f"unknown codec {quote(name)}; known are {', '.join(CODECS)}")
    return CODECS[name]
