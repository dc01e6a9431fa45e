"""Token shards: documents as token ids, in one file.

A shard is a NumPy `.npy` file of uint16 ids, documents one after the other, each opened by `<|endoftext|>` as in
GPT-2's own training. `mixture.py` draws batches from shards.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from cutaway.errors import UsageError
from cutaway.tokenizer.fast import Tokenizer

Ids = NDArray[np.int64]


def write_shard(path: Path, documents: Iterable[str], tokenizer: Tokenizer) -> int:
    """Tokenize documents into one shard; returns the number of tokens. An existing file is replaced only by a whole
    one.
    """
    raw = path.with_suffix(".ids")
    finished = path.with_suffix(".tmp")
    try:
        count = _write_ids(raw, documents, tokenizer)
        if count == 0:
            raise UsageError(f"{path}: no documents to write")
        shard = open_memmap(finished, mode="w+", dtype=np.uint16, shape=(count,))
        shard[:] = np.memmap(raw, dtype=np.uint16, mode="r")
        shard.flush()
        os.replace(finished, path)
    finally:
        raw.unlink(missing_ok=True)
    return count


def _write_ids(path: Path, documents: Iterable[str], tokenizer: Tokenizer) -> int:
    count = 0
    with path.open("wb") as file:
        for document in documents:
            ids = np.array([tokenizer.eos, *tokenizer.encode(document)], dtype=np.uint16)
            file.write(ids.tobytes())
            count += len(ids)
    return count


def open_shard(path: Path) -> NDArray[np.uint16]:
    """Memory-map a shard. Raises UsageError if the file is not one."""
    try:
        shard: NDArray[np.uint16] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: not a token shard ({error}); write one with python -m cutaway.data.prepare"
        ) from error
    if shard.dtype != np.uint16 or shard.ndim != 1:
        raise UsageError(
            f"{path}: a shard holds one row of uint16 ids, this holds {shard.dtype} of shape {shard.shape}"
        )
    return shard
