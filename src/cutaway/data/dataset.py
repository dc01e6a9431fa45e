"""A prepared corpus: token ids of its documents in memory-mapped shards, complete in one directory.

`NAME.tokens.npy` holds the ids of concatenated documents (uint16, or uint32 for a vocabulary of more than 65,536
tokens). Each begins with the tokenizer's start token, as in GPT-2's own training. `NAME.documents.npy` holds the
offsets at which documents begin. `NAME.learned.npy`, in a masked corpus, holds a bool for each token: True if it counts
as a target.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from cutaway.data.manifest import Manifest, ShardEntry, read_manifest
from cutaway.disk import hash_files
from cutaway.errors import UsageError
from cutaway.music.codecs import codec_beside
from cutaway.tokenizer.codec import TokenCodec
from cutaway.tokenizer.reading import read_tokenizer
from cutaway.untrusted import quote_path

TOKENIZER = "tokenizer"  # directory with the files of the codec
TOKENS = ".tokens.npy"
DOCUMENTS = ".documents.npy"
LEARNED = ".learned.npy"

_CHANGED = "changed since the corpus was prepared; prepare it again, or copy it again"
_MAGIC = b"\x93NUMPY\x01\x00"
ID_TYPES: dict[str, type[np.unsignedinteger]] = {"uint16": np.uint16, "uint32": np.uint32}

Scalar = TypeVar("Scalar", bound=np.generic)


class Joined(Generic[Scalar]):
    """Concatenated arrays, read in slices without copying all of them.

    >>> joined = Joined([np.array([1, 2, 3]), np.array([4, 5])])
    >>> len(joined), joined[2:4], np.asarray(joined)
    (5, array([3, 4]), array([1, 2, 3, 4, 5]))
    """

    def __init__(self, parts: Sequence[NDArray[Scalar]]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def dtype(self) -> np.dtype[Scalar]:
        return self._parts[0].dtype

    def __getitem__(self, index: slice) -> NDArray[Scalar]:
        start, stop, step = index.indices(len(self))
        if step != 1:
            raise UsageError(f"the step of a slice must be 1, not {step}")
        first = int(np.searchsorted(self._ends, start, side="right"))
        found = [self._parts[0][:0]]
        while start < stop:
            part = self._parts[first]
            end = int(self._ends[first])
            begin = end - len(part)
            found.append(part[start - begin : stop - begin])
            start = end
            first += 1
        return found[1] if len(found) == 2 else np.concatenate(found)

    def __array__(self, dtype: np.dtype[np.generic] | None = None, copy: bool | None = None) -> NDArray[np.generic]:
        """Read everything, for `np.asarray`."""
        return np.asarray(self[:], dtype=dtype, copy=copy)


@dataclass(frozen=True)
class Split:
    """Training or validation documents, as token ids.

    `begins` (int64) are the offsets in `ids` at which documents begin. `learned`, if not None, is True for tokens that
    count as targets. `n_bytes` is the size of the text in UTF-8. If `n_vocab` is known, ids are below it unless the
    shards in `directory` are damaged.
    """

    name: str
    ids: Joined[np.unsignedinteger]
    begins: NDArray[np.int64]
    learned: Joined[np.bool_] | None
    n_bytes: int
    n_vocab: int | None = None
    directory: Path | None = None

    @property
    def n_tokens(self) -> int:
        """Number of tokens, including start tokens."""
        return len(self.ids)

    @property
    def n_documents(self) -> int:
        """Number of documents."""
        return len(self.begins)

    @classmethod
    def from_documents(
        cls, documents: Sequence[Sequence[int]], *, name: str = "train", learned: Sequence[Sequence[bool]] | None = None
    ) -> "Split":
        """Make a split from documents in memory, which include their start tokens; its `n_bytes` is 0.

        >>> Split.from_documents([[50256, 32], [50256, 9379, 13]]).begins
        array([0, 2])
        """
        lengths = [len(document) for document in documents]
        ids = np.concatenate([np.asarray(document, np.uint32) for document in documents])
        mask = None if learned is None else Joined([np.concatenate([np.asarray(part, np.bool_) for part in learned])])
        return cls(name, Joined([ids]), np.cumsum([0, *lengths[:-1]], dtype=np.int64), mask, 0)

    def read(self, pieces: Sequence[slice]) -> NDArray[np.int64]:
        """Read and concatenate the ids of some slices. Raises UsageError, naming the corpus, for an unknown id.

        >>> Split.from_documents([[0, 1, 2], [0, 3]]).read([slice(3, 5), slice(0, 2)])
        array([0, 3, 0, 1])
        """
        ids = np.concatenate([self.ids[piece] for piece in pieces]).astype(np.int64)
        if self.n_vocab is not None and ids.max(initial=0) >= self.n_vocab:
            raise UsageError(
                f"{quote_path(self.directory or Path())}: {self.name} has the token {ids.max()} of a vocabulary of "
                f"{self.n_vocab}: a shard is damaged; prepare the corpus again"
            )
        return ids

    def document(self, index: int) -> slice:
        """Return the slice of `ids` that a document occupies."""
        end = self.begins[index + 1] if index + 1 < len(self.begins) else len(self.ids)
        return slice(int(self.begins[index]), int(end))

    def token_counts(self, n_vocab: int, most: int | None = None) -> NDArray[np.int64]:
        """Count each token in the first `most` tokens, or in all: (n_vocab,).

        >>> Split.from_documents([[0, 2, 2]]).token_counts(4)
        array([1, 0, 2, 0])
        """
        counts = np.zeros(n_vocab, np.int64)
        stop = len(self.ids) if most is None else min(most, len(self.ids))
        for start in range(0, stop, 1 << 22):
            counts += np.bincount(self.read([slice(start, min(start + (1 << 22), stop))]), minlength=n_vocab)
        return counts


class Dataset:
    """A prepared corpus, opened by `open_dataset`. Its arrays are memory-mapped."""

    def __init__(self, directory: Path, manifest: Manifest, codec: TokenCodec) -> None:
        self.directory = directory
        self.manifest = manifest
        self.codec = codec

    def split(self, name: str) -> Split:
        """Open "train" or "valid". Raises UsageError if the corpus lacks it, or a shard is missing or damaged."""
        entry = self.manifest.splits.get(name)
        if entry is None:
            raise UsageError(
                f"{quote_path(self.directory)}: no split {name!r}, only {', '.join(self.manifest.splits)}; "
                "cutaway data prepare --valid 1% makes train and valid"
            )
        if not entry.shards:
            raise UsageError(f"{quote_path(self.directory)}: the split {name} has no documents")
        id_type = ID_TYPES[self.manifest.dtype]
        ids = [self._open(shard, TOKENS, id_type, shard.tokens) for shard in entry.shards]
        begins = self._begins(entry.shards)
        learned = None
        if self.manifest.masked:
            learned = Joined([self._open(shard, LEARNED, np.bool_, shard.tokens) for shard in entry.shards])
        return Split(name, Joined(ids), begins, learned, entry.bytes, self.codec.n_vocab, self.directory)

    def verify(self) -> int:
        """Compare all files with their hashes in the manifest; return their bytes. Raises UsageError if one differs."""
        tokenizer = self.directory / TOKENIZER
        if hash_tokenizer(tokenizer) != self.manifest.tokenizer.sha256:
            raise UsageError(f"{quote_path(tokenizer)}: {_CHANGED}")
        n_bytes = sum(path.stat().st_size for path in _tokenizer_files(tokenizer))
        for shard in (shard for split in self.manifest.splits.values() for shard in split.shards):
            files = shard_files(self.directory, shard, masked=self.manifest.masked)
            missing = next((path for path in files if not path.is_file()), None)
            if missing is not None:
                raise UsageError(f"{quote_path(missing)}: missing; prepare the corpus again")
            if hash_files(files) != shard.sha256:
                raise UsageError(f"{quote_path(self._path(shard, '.*.npy'))}: {_CHANGED}")
            n_bytes += sum(path.stat().st_size for path in files)
        return n_bytes

    def _begins(self, shards: Sequence[ShardEntry]) -> NDArray[np.int64]:
        begins = []
        start = 0
        for shard in shards:
            offsets = self._open(shard, DOCUMENTS, np.int64, shard.documents)
            if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] >= shard.tokens or np.any(np.diff(offsets) < 1):
                path = quote_path(self._path(shard, DOCUMENTS))
                raise UsageError(f"{path}: must hold rising offsets from 0; prepare the corpus again")
            begins.append(offsets + start)
            start += shard.tokens
        return np.concatenate(begins)

    def _open(self, shard: ShardEntry, suffix: str, dtype: type[Scalar], length: int) -> NDArray[Scalar]:
        path = self._path(shard, suffix)
        try:
            with path.open("rb") as file:
                if file.read(len(_MAGIC)) != _MAGIC:  # a header of a later format may claim a size of gigabytes
                    raise ValueError("not an array of NumPy's format 1.0")
            array: NDArray[Scalar] = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # noqa: BLE001  # six types or more, because NumPy parses a header as Python
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"{quote_path(path)}: missing or damaged ({reason}); prepare the corpus again") from None
        if array.dtype != dtype or array.shape != (length,):
            found = f"{array.dtype} of shape {array.shape}"
            raise UsageError(
                f"{quote_path(path)}: must hold {length} of {dtype.__name__}, not {found}; prepare the corpus again"
            )
        return array

    def _path(self, shard: ShardEntry, suffix: str) -> Path:
        return self.directory / (shard.file.removesuffix(TOKENS) + suffix)


def shard_files(directory: Path, shard: ShardEntry, *, masked: bool) -> list[Path]:
    """Return the files of a shard in the order in which its SHA-256 hashes them.

    >>> shard = ShardEntry("train-00000.tokens.npy", tokens=5, documents=1, sha256="")
    >>> [path.name for path in shard_files(Path("corpus"), shard, masked=False)]
    ['train-00000.tokens.npy', 'train-00000.documents.npy']
    """
    stem = shard.file.removesuffix(TOKENS)
    suffixes = (TOKENS, DOCUMENTS, LEARNED) if masked else (TOKENS, DOCUMENTS)
    return [directory / f"{stem}{suffix}" for suffix in suffixes]


def hash_tokenizer(directory: Path) -> str:
    """Return the SHA-256 of the files of a tokenizer, except hidden files, which file managers create.

    Raises OSError if a file cannot be read.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     hash_tokenizer(Path(directory))[:16]
    'e3b0c44298fc1c14'
    """
    return hash_files(sorted(_tokenizer_files(directory)))


def _tokenizer_files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.iterdir() if path.is_file() and not path.name.startswith("."))


def open_dataset(directory: str | Path) -> Dataset:
    """Open a corpus that `cutaway data prepare` wrote.

    Raises UsageError if it is missing or invalid, CheckpointError if its tokenizer is missing or invalid.

    >>> open_dataset("nowhere")
    Traceback (most recent call last):
    cutaway.errors.UsageError: nowhere: no such directory; write a corpus with cutaway data prepare
    """
    path = Path(directory).expanduser()
    manifest = read_manifest(path)
    codec = codec_beside(path / TOKENIZER) or read_tokenizer(path / TOKENIZER)
    if codec.n_vocab != manifest.tokenizer.n_vocab:
        raise UsageError(
            f"{quote_path(path / TOKENIZER)}: has {codec.n_vocab} tokens, the manifest says "
            f"{manifest.tokenizer.n_vocab}; prepare the corpus again"
        )
    return Dataset(path, manifest, codec)
