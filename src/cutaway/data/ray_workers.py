"""Encoding blocks with Ray Data on a cluster, for a corpus that is too large for one machine.

The same functions encode, and Ray preserves the order of blocks, so that the shards are byte-identical to those of one
machine. Files are read on the cluster: every machine must see them under the same path. Shards are written by the
caller.
"""

import logging
from collections.abc import Generator, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cutaway.data.blocks import Block, Lot, PartId
from cutaway.data.encode import EncodedBlock, Encoder
from cutaway.data.sources import extra
from cutaway.errors import UsageError
from cutaway.untrusted import quote

LOCAL = "local"
_GROUP_BYTES = 1 << 23  # size of a group of blocks that Ray moves together

Rows = dict[str, NDArray[np.object_]]


def read_lots(rows: Rows, done: frozenset[PartId]) -> Iterator[Rows]:
    """Read the blocks of the lots in `rows`, one at a time. An invalid file yields its error as the last row.

    >>> from pathlib import Path
    >>> from cutaway.data.sources import SourceFile
    >>> lot = Lot(0, (SourceFile(Path("nowhere.txt"), 0),))
    >>> [rows["block"][0] for rows in read_lots({"lot": np.array([lot], np.object_)}, frozenset())]
    [UsageError('nowhere.txt: cannot be read: No such file or directory')]
    """
    for lot in rows["lot"]:
        try:
            for block in lot.blocks(done):
                yield {"block": _objects([block])}
        except UsageError as error:
            yield {"block": _objects([error])}
            return


def encode_rows(rows: Rows, encoder: Encoder) -> Rows:
    """Encode the blocks in `rows`; a block with an invalid document is replaced by its error.

    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> rows = {"block": np.array([UsageError("a.txt: not UTF-8")], np.object_)}
    >>> encode_rows(rows, Encoder(Tokenizer.gpt2(), share=0))["block"]
    array([UsageError('a.txt: not UTF-8')], dtype=object)
    """
    return {"block": _objects([_encoded(block, encoder) for block in rows["block"]])}


def _encoded(block: Block | UsageError, encoder: Encoder) -> EncodedBlock | UsageError:
    try:
        return block if isinstance(block, UsageError) else encoder.encode(block)
    except UsageError as error:
        return error


def encode_on_ray(
    lots: Sequence[Lot], done: frozenset[PartId], encoder: Encoder, address: str
) -> Generator[EncodedBlock, None, None]:
    """Read and encode lots, in order, on the cluster at an address; "local" starts one on this machine.

    Raises UsageError if Ray or its cluster is missing, or for an invalid document.
    """
    ray = extra("ray", "clusters")
    data = extra("ray.data", "clusters")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(address, log_to_driver=False, logging_level="error", include_dashboard=False)
        except (ValueError, ConnectionError, RuntimeError):
            if address == LOCAL:
                raise
            raise UsageError(
                f"ray must be the address of a running cluster, such as 10.0.0.1:6379, or stand alone for a local one, "
                f"not {quote(address)}"
            ) from None
    try:
        context = data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.target_max_block_size = _GROUP_BYTES
        rows = data.from_items([{"lot": lot} for lot in lots], override_num_blocks=len(lots))
        # Other resources than for encoding keep Ray from fusing both steps, so that all workers share a file's blocks.
        blocks = rows.map_batches(read_lots, batch_size=1, fn_args=(done,), num_cpus=0.5)
        for row in blocks.map_batches(encode_rows, batch_size=1, fn_args=(encoder,)).iter_rows():
            if isinstance(row["block"], UsageError):
                raise row["block"]
            yield row["block"]
    finally:
        if started:
            ray.shutdown()


def _objects(values: Sequence[object]) -> NDArray[np.object_]:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array
