"""A single compute thread beside the event loop, with cancellable jobs.

Cancellation is cooperative: long computations call `Job.check` (or send a document) after every layer and token.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

T = TypeVar("T")

Document = dict[str, object]  # a JSON object
Send = Callable[[Document], None]


class Cancelled(Exception):
    """Raised when the request was cancelled."""


class Job:
    """A cancellable unit of work.

    >>> job = Job()
    >>> job.check()
    >>> job.cancel()
    >>> job.check()
    Traceback (most recent call last):
    cutaway.web.worker.Cancelled
    """

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Stop at the next check, or before starting."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise Cancelled if the job was cancelled."""
        if self._cancelled.is_set():
            raise Cancelled


class Worker:
    """A queue of jobs for one thread, which runs them in the order of arrival.

    >>> asyncio.run(Worker().run(Job(), lambda: 6 * 7))
    42
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cutaway-worker")
        self._jobs: set[Job] = set()
        self._closed = False

    async def run(self, job: Job, compute: Callable[[], T]) -> T:
        """Return what `compute` returns, or raise what it raises. Raises Cancelled if the job was cancelled or the
        worker is closed.
        """
        if self._closed:
            raise Cancelled

        def guarded() -> T:
            job.check()
            with np.errstate(all="ignore"):  # interventions may overflow; results are checked afterwards
                return compute()

        self._jobs.add(job)
        try:
            return await asyncio.wrap_future(self._thread.submit(guarded))
        finally:
            self._jobs.discard(job)

    def start(self, compute: Callable[[Job], None]) -> None:
        """Run `compute` in the background: its result and its errors are dropped. A closed worker does nothing."""
        if self._closed:
            return
        job = Job()
        self._jobs.add(job)
        self._thread.submit(compute, job).add_done_callback(lambda _: self._jobs.discard(job))

    async def stream(self, job: Job, compute: Callable[[Callable[[T], None]], None]) -> AsyncGenerator[T]:
        """Yield each item that `compute` sends (none may be None); raises like `run`."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[T | None] = asyncio.Queue()

        def send(item: T) -> None:
            job.check()
            loop.call_soon_threadsafe(queue.put_nowait, item)

        def done(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                task.exception()  # retrieved here, because the consumer may be gone and asyncio logs unretrieved errors
            queue.put_nowait(None)

        task = asyncio.create_task(self.run(job, lambda: compute(send)))
        task.add_done_callback(done)
        while (item := await queue.get()) is not None:
            yield item
        await task

    async def take_turns(self, job: Job, items: Generator[T]) -> AsyncGenerator[T]:
        """Yield the items (none may be None), which are computed one by one; waiting jobs run in between.

        The generator is closed at the end, even if the consumer stops early.

        >>> async def numbers():
        ...     return [number async for number in Worker().take_turns(Job(), (n for n in range(2)))]
        >>> asyncio.run(numbers())
        [0, 1]
        """
        try:
            while (item := await self.run(job, lambda: next(items, None))) is not None:
                yield item
        finally:
            if not self._closed:  # then the process ends
                self._thread.submit(items.close)  # not from here: the thread may still be computing one

    def close(self) -> None:
        """Cancel all jobs, including those that wait for their turn, and accept no more."""
        self._closed = True
        for job in list(self._jobs):
            job.cancel()
        self._thread.shutdown(wait=False)


class LatestJob:
    """The latest job of each client; a newer job cancels the one before.

    >>> latest = LatestJob()
    >>> old = Job()
    >>> new = Job()
    >>> latest.begin("page", 1, old)
    >>> latest.begin("page", 2, new)
    >>> old.check()
    Traceback (most recent call last):
    cutaway.web.worker.Cancelled
    """

    def __init__(self) -> None:
        self._latest: dict[str, tuple[int, Job]] = {}

    def begin(self, client: str, sequence: int, job: Job) -> None:
        """Register a job; of two jobs of one client, the one with the lower sequence number is cancelled."""
        latest, other = self._latest.get(client, (-1, None))
        if latest > sequence:
            job.cancel()
            return
        if other:
            other.cancel()
        self._latest[client] = (sequence, job)

    def end(self, job: Job) -> None:
        """Remove a finished job."""
        self._latest = {client: latest for client, latest in self._latest.items() if latest[1] is not job}
