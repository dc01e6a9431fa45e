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
    """Encode blocks, in order, with the tokenizer in a directory: in this process, or in several worker processes.

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
    # Workers receive little at their start: if one died early, writing more than a pipe holds would block forever.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (tokenizer, share, field))
    try:
        yield from _in_order(pool, blocks, _AHEAD * workers)
    except (BrokenProcessPool, BrokenPipeError):  # the pipe to a worker, or to Python's resource tracker
        raise CutawayError(
            "a worker process died, perhaps of too little memory; the same command continues, with fewer --workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, blocks: Iterable[Block], ahead: int) -> Iterator[EncodedBlock]:
    waiting: deque[Future[EncodedBlock]] = deque()
    resource_tracker.ensure_running()  # now, because starting it unblocks signals
    for block in blocks:
        with _without_interrupt():
            waiting.append(pool.submit(_encode, block))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _without_interrupt() -> Iterator[None]:
    """Defer Ctrl-C. Processes started inside inherit the blocked signal, so they ignore Ctrl-C and end when told to.

    Blocking affects this thread only. If one of NumPy's threads receives the signal, Python would still interrupt this
    thread while it sends data to a new process, so the handler is deferred too.
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
    """Exit when the parent process is killed, so that this process does not wait forever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _encode(block: Block) -> EncodedBlock:
    return _encoder[0].encode(block)
