"""Preparing music: MIDI files or chorales to shards of token ids. Each piece is a document; training data is augmented.

A training piece is written several times: first unchanged, then transposed and, if it is a performance, at another
tempo. Both are drawn from the seed and the number of the piece. Validation pieces are written once, unchanged.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

import numpy as np

from cutaway.checks import check_float, check_int
from cutaway.data.encode import EncodedBlock, EncodedSplit
from cutaway.data.finished import find_finished
from cutaway.data.inputs import check_files
from cutaway.data.manifest import SPLITS, Manifest
from cutaway.data.prepare import Progress
from cutaway.data.sources import SourceFile, files_below, open_bytes
from cutaway.data.writer import CorpusWriter
from cutaway.errors import UsageError
from cutaway.music import satb16
from cutaway.music.codecs import MusicCodec
from cutaway.music.midi import read_midi
from cutaway.music.perf388 import PerformanceCodec
from cutaway.music.performance import Performance
from cutaway.music.satb16 import ChoraleCodec
from cutaway.untrusted import quote, quote_path

PIECES_PER_PART = 64  # an interrupted preparation loses at most this many
TRANSPOSITIONS = range(-3, 4)  # semitones, Magenta's
STRETCHES = (0.95, 0.975, 1.0, 1.025, 1.05)
CHORALE_TRANSPOSITIONS = range(-5, 7)  # to every key
_MIDI = (".mid", ".midi")
_MAX_JSON = 1 << 26  # bytes of a file of chorales


@dataclass(frozen=True)
class MusicInputs:
    """Everything that determines the bytes of a corpus of music, except the codec."""

    sources: tuple[SourceFile, ...]
    valid_share: float
    copies: int
    seed: int

    def document(self) -> dict[str, object]:
        """Describe the inputs for comparison; files are identified by path, size and modification time."""
        files = [[str(s.path), s.n_bytes, s.split, s.path.stat().st_mtime_ns] for s in self.sources]
        return asdict(self) | {"sources": files}


@dataclass(frozen=True)
class Piece:
    """The token ids of the versions of a piece, the unchanged one first, with its split and the number of its file."""

    split: str
    file: int
    versions: Sequence[Sequence[int]]


def prepare_music(
    files: Sequence[str | Path],
    out: str | Path,
    *,
    codec: str = "perf388",
    valid: float | Sequence[str | Path] = 0,
    copies: int = 1,
    seed: int = 1,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Manifest:
    """Write the music in `files` to the directory `out`, each training piece in `copies` versions.

    "perf388" reads MIDI files and folders of them; `valid` is the share of pieces to draw for validation, or the
    validation files. "satb16" reads JSON files with lists of chorales under "train" and "valid". Calling it again
    resumes an interrupted preparation, and leaves a finished one unchanged. Raises UsageError for invalid files or
    arguments.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(f"{directory}/chorales.json")
    ...     _ = path.write_text('{"train": [[[74, 70, 65, 58], [74, 70, 65, 58]]]}')
    ...     prepare_music([path], f"{directory}/tokens", codec="satb16", copies=2).splits["train"].tokens
    18
    """
    check_int("copies", copies, 1, 1000)
    check_int("seed", seed, 0)
    if codec == "perf388":
        share = valid if isinstance(valid, int | float) else 0.0
        check_float("valid", share, 0, 0.5)
        sources = find_midi(files)
        if not isinstance(valid, int | float):
            sources += find_midi(valid, "valid")
        inputs = MusicInputs(tuple(sources), share, copies, seed)
        return _write(Path(out).expanduser(), PerformanceCodec(), inputs, _performances(inputs), progress)
    if codec == "satb16":
        if valid:
            raise UsageError("files of chorales say themselves which are valid: leave --valid out")
        sources = [SourceFile(path, path.stat().st_size) for path in map(_existing, files)]
        inputs = MusicInputs(tuple(sources), 0.0, copies, seed)
        return _write(Path(out).expanduser(), ChoraleCodec(), inputs, _chorales(inputs), progress)
    raise UsageError(f"codec must be perf388 or satb16, not {quote(codec)}")


def find_midi(files: Sequence[str | Path], split: str | None = None) -> list[SourceFile]:
    """List MIDI files, also those in folders, in the order of their paths. Raises UsageError if there are none.

    >>> find_midi(["nowhere"])
    Traceback (most recent call last):
    cutaway.errors.UsageError: nowhere: no such file or folder
    """
    found: list[SourceFile] = []
    for path in map(_existing, files):
        inside = [path]
        if path.is_dir():
            inside = [file for file in files_below(path) if file.suffix.lower() in _MIDI and file.is_file()]
            if not inside:
                raise UsageError(f"{quote_path(path)}: no MIDI files in this folder ({', '.join(_MIDI)})")
        found += [SourceFile(file, file.stat().st_size, split) for file in inside]
    return found


def _existing(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        raise UsageError(f"{quote_path(path)}: no such file or folder")
    return path


def _write(
    directory: Path,
    codec: MusicCodec,
    inputs: MusicInputs,
    pieces: Iterator[Piece],
    progress: Callable[[Progress], None],
) -> Manifest:
    check_files(inputs.sources)
    finished = find_finished(directory, codec, codec.name, inputs)
    if finished is not None:
        return finished
    read = list(accumulate((source.n_bytes for source in inputs.sources), initial=0))
    with CorpusWriter(directory, codec, codec.name, inputs) as writer:
        for number, piece in enumerate(pieces):
            part = (0, number // PIECES_PER_PART)
            if part not in writer.done:
                writer.add(EncodedBlock(part, number, {piece.split: _encoded(piece, codec)}, 0))
            progress(Progress(read[piece.file + 1], read[-1], writer.tokens))
        return writer.finish()


def _encoded(piece: Piece, codec: MusicCodec) -> EncodedSplit:
    documents = [np.array([codec.bos, *ids], np.uint16) for ids in piece.versions]
    begins = np.cumsum([0, *(len(document) for document in documents[:-1])], dtype=np.int64)
    return EncodedSplit(np.concatenate(documents), begins, None, 0)


def _performances(inputs: MusicInputs) -> Iterator[Piece]:
    codec = PerformanceCodec()
    for number, source in enumerate(inputs.sources):
        file = read_midi(source.path)
        performance = Performance.from_midi(file, quote_path(source.path)).on_one_keyboard().from_first_note()
        ids = codec.encode(performance)
        if not ids:
            raise UsageError(f"{quote_path(source.path)}: holds no notes")
        split = source.split or draw_split(ids, inputs.valid_share)
        versions = [ids]
        rng = np.random.default_rng([inputs.seed, number])
        for _ in range(inputs.copies - 1 if split == "train" else 0):
            moved = performance.transposed(int(rng.choice(TRANSPOSITIONS)))
            versions.append(codec.encode(moved.stretched(float(rng.choice(STRETCHES)))))
        yield Piece(split, number, versions)


def draw_split(ids: Sequence[int], share: float) -> str:
    """Draw "valid" with probability `share` from the hash of a piece, else "train".

    >>> draw_split([60, 188], 0), draw_split([60, 188], 0.99)
    ('train', 'valid')
    """
    digest = sha256(np.array(ids, "<u2").tobytes()).digest()
    return "valid" if int.from_bytes(digest[:8], "big") < share * 2**64 else "train"


def _chorales(inputs: MusicInputs) -> Iterator[Piece]:
    codec = ChoraleCodec()
    number = 0
    for file, source in enumerate(inputs.sources):
        for split, chorales in _read_chorales(source.path).items():
            for place, chorale in enumerate(chorales, 1):
                try:
                    ids = codec.encode(chorale)
                except UsageError as error:
                    raise UsageError(f"{quote_path(source.path)}: {split} {place}: {error}") from None
                rng = np.random.default_rng([inputs.seed, number])
                keys = [moved for n in CHORALE_TRANSPOSITIONS if (moved := _transposed(chorale, n))]
                drawn = rng.integers(len(keys), size=inputs.copies - 1 if split == "train" else 0)
                number += 1
                yield Piece(split, file, [ids, *(keys[i] for i in drawn)])


def _transposed(chorale: satb16.Chorale, semitones: int) -> list[int]:
    """Return the ids of a transposed chorale; [] if a voice would leave the range."""
    return ChoraleCodec().encode(satb16.transposed(chorale, semitones) or [])


def _read_chorales(path: Path) -> Mapping[str, Sequence[satb16.Chorale]]:
    """Read lists of chorales by split. Raises UsageError unless they are lists of steps of integers."""
    with open_bytes(path) as (stream, _):
        data = stream.read(_MAX_JSON + 1)
    if len(data) > _MAX_JSON:
        raise UsageError(f"{quote_path(path)}: is larger than the {_MAX_JSON} bytes that a file of chorales may have")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{quote_path(path)}: not valid JSON: {error}") from None
    if not isinstance(document, dict) or not document or not set(document) <= set(SPLITS):
        raise UsageError(f"{quote_path(path)}: must be a JSON object with the chorales under train and valid")
    for split, chorales in document.items():
        if not _is_nested(chorales, depth=3):
            raise UsageError(f"{quote_path(path)}: {split} must be a list of chorales, which are lists of four pitches")
    return document


def _is_nested(value: object, depth: int) -> bool:
    if depth == 0:
        return type(value) is int
    return isinstance(value, list) and all(_is_nested(part, depth - 1) for part in value)
