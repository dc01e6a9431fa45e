"""Preparing a corpus: text files to shards of token ids, with the same bytes for any number of workers."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from cutaway.checks import check_int
from cutaway.data.blocks import BLOCK_BYTES, PART_BYTES, Lot
from cutaway.data.dataset import TOKENIZER
from cutaway.data.encode import EncodedBlock, Encoder, passages, start_token
from cutaway.data.finished import find_finished
from cutaway.data.inputs import Inputs, find_inputs
from cutaway.data.manifest import Manifest
from cutaway.data.workers import encode_blocks
from cutaway.data.writer import PROGRESS, CorpusWriter
from cutaway.errors import UsageError
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.reading import FileTokenizer


@dataclass(frozen=True)
class Progress:
    """Bytes read, total bytes of the files, and tokens written so far."""

    done: int
    total: int
    tokens: int


def prepare(
    files: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    tokenizer: FileTokenizer | None = None,
    name: str = "gpt2",
    valid: float | Sequence[str | Path] = 0,
    field: str = "text",
    workers: int = 1,
    ray: str | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
    block_bytes: int = BLOCK_BYTES,
    part_bytes: int = PART_BYTES,
) -> Manifest:
    """Write the corpus in `files` (plain text, JSON Lines, Parquet, folders of them) to the directory `out`.

    `valid` is the share of documents to draw for validation, or the validation files. The default tokenizer is GPT-2's;
    `name` is its name in the manifest. `ray`, the address of a cluster or "local", encodes with Ray. Calling it again
    resumes an interrupted preparation, and leaves a finished one unchanged. With more than one worker, the calling
    script needs `if __name__ == "__main__":`. Raises UsageError for invalid files or arguments.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     _ = Path(f"{directory}/a.txt").write_text("A robot must obey")
    ...     prepare([f"{directory}/a.txt"], f"{directory}/tokens").splits["train"].tokens
    5
    """
    directory = Path(out).expanduser()
    check_int("workers", workers, 1)
    files = [files] if isinstance(files, str | Path) else files
    inputs = find_inputs(files, valid, field, block_bytes, part_bytes)
    if (directory / PROGRESS).exists():  # an unfinished corpus in an input folder is not input
        inputs = inputs.without(directory)
    if not inputs.sources:
        raise UsageError("no files to prepare")
    codec = Tokenizer.gpt2() if tokenizer is None else tokenizer
    start_token(codec)  # raises here, not in a worker
    finished = find_finished(directory, codec, name, inputs)
    if finished is not None:
        return finished
    lots = inputs.lots()
    before = list(accumulate((sum(source.n_bytes for source in lot.sources) for lot in lots), initial=0))
    with CorpusWriter(directory, codec, name, inputs) as writer:
        with closing(_encode(lots, writer, codec, inputs, workers, ray)) as encoded:
            for block in encoded:
                writer.add(block)
                progress(Progress(before[block.part[0]] + block.position, before[-1], writer.tokens))
        return writer.finish()


def _encode(
    lots: Sequence[Lot], writer: CorpusWriter, codec: FileTokenizer, inputs: Inputs, workers: int, ray: str | None
) -> Generator[EncodedBlock, None, None]:
    """Encode the blocks that are not written yet, in order."""
    if ray is None:
        blocks = (block for lot in lots for block in lot.blocks(writer.done))
        return encode_blocks(blocks, writer.directory / TOKENIZER, inputs.valid_share, inputs.field, workers)
    from cutaway.data.ray_workers import encode_on_ray

    return encode_on_ray(lots, writer.done, Encoder(codec, inputs.valid_share, inputs.field), ray)


def read_texts(files: Sequence[str | Path], field: str = "text") -> Iterator[str]:
    """Yield the text of files that `prepare` accepts, in pieces that are cut before white space.

    Raises UsageError for invalid files.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     _ = Path(f"{directory}/a.txt").write_text("A robot must obey")
    ...     "".join(read_texts([directory]))
    'A robot must obey'
    """
    for lot in find_inputs(files, field=field).lots():
        for block in lot.blocks():
            for passage in passages(block, field):
                yield from (passage.text, passage.completion or "")
