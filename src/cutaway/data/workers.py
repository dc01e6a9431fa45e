"""Encoding blocks on all cores: in order, and with a bounded number of blocks in memory."""

import os
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from pathlib import Path
from threading import Thread, current_thread, main_thread

from cutaway.data.blocks import Block
from cutaway.data.encode import EncodedBlock, Encoder
from cutaway.errors import CutawayError
from cutaway.tokenizer.reading import read_tokenizer

_AHEAD = 3  # blocks in memory for each worker

_encoder: list[Encoder] = []  # of a worker process


def encode_blocks(
    blocks: Iterable[Block], tokenizer: Path, share: float, field: str, workers: int
) -> Generator[EncodedBlock, None, None]:
    """Encode blocks, in their order, with the tokenizer in a directory: here, or in several processes.

    Raises UsageError for an invalid document, CutawayError if a process dies.

    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> from tempfile import TemporaryDirectory
    >>> blocks = [Block(Path("a.jsonl"), 0, lines=b'{"text": "A robot"}')]
    >>> with TemporaryDirectory() as directory:
    ...     Tokenizer.gpt2().save(directory)
    ...     encoded = list(encode_blocks(blocks, Path(directory), share=0, field="text", workers=1))
    >>> encoded[0].splits["train"].ids.tolist()
    [50256, 32, 9379]
    """
    if workers == 1:
        yield from map(Encoder(read_tokenizer(tokenizer), share, field).encode, blocks)
        return
    # A process that is spawned gets little with it: where it dies early, a pipe that is full would never be read.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (tokenizer, share, field))
    try:
        yield from _in_order(pool, blocks, _AHEAD * workers)
    except (BrokenProcessPool, BrokenPipeError):  # the pipe to a worker, or to the tracker that Python starts first
        raise CutawayError(
            "a worker process died, perhaps of too little memory; the same command continues, with fewer --workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, blocks: Iterable[Block], ahead: int) -> Iterator[EncodedBlock]:
    waiting: deque[Future[EncodedBlock]] = deque()
    resource_tracker.ensure_running()  # which is started unblocked, and would unblock
    for block in blocks:
        with _without_interrupt():
            waiting.append(pool.submit(_encode, block))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _without_interrupt() -> Iterator[None]:
    """Hold Ctrl-C back for a moment; processes that are started in it never hear of one, and end when told to.

    They inherit the blocked signal. Blocking holds it back in this thread alone: where NumPy's threads take it, Python
    would still interrupt this one, in the middle of what a new process is told, so the handler waits too.
    """
    held: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    is_main = current_thread() is main_thread()  # no other thread is interrupted, or may set a handler
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if is_main:
        signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if held:
            signal.raise_signal(signal.SIGINT)


def _start_worker(tokenizer: Path, share: float, field: str) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    _encoder.append(Encoder(read_tokenizer(tokenizer), share, field))


def _end_with_parent() -> None:
    """End this process when the one that started it was killed, so that it does not wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _encode(block: Block) -> EncodedBlock:
    return _encoder[0].encode(block)
