"""Atomic writes of files, and hashes of files."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 20  # bytes hashed at a time


def sync(path: Path) -> None:
    """Flush the content of a file or a directory to disk. Raises OSError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     sync(Path(directory))
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing_file(path: Path) -> Iterator[BinaryIO]:
    """Open `NAME.part` for writing; when the block ends, flush it to disk and rename it to `path`.

    If the block raises, it is removed. Raises OSError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     for text in (b"old", b"new"):
    ...         with replacing_file(Path(directory) / "a.txt") as file:
    ...             _ = file.write(text)
    ...     [(path.name, path.read_text()) for path in Path(directory).iterdir()]
    [('a.txt', 'new')]
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def hash_files(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of the concatenated contents of files. Raises OSError.

    >>> hash_files([])[:16]
    'e3b0c44298fc1c14'
    """
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while data := file.read(_CHUNK):
                digest.update(data)
    return digest.hexdigest()
