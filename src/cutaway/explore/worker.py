"""The one thread that computes, so that the event loop is free to answer, and the ways of telling it to stop.

A job is stopped between steps: what computes calls `check` (or sends a line) after every layer and every token.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

T = TypeVar("T")

Document = dict[str, object]
Send = Callable[[Document], None]


class Cancelled(Exception):
    """Nobody waits for the answer any more."""


class Job:
    """Something to compute for somebody who may go away."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Stop it at its next step, or before its first."""
        self._cancelled.set()

    def check(self) -> None:
        """Raises Cancelled where it was cancelled."""
        if self._cancelled.is_set():
            raise Cancelled


class Worker:
    """One thread, and the jobs that wait for it in their order."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cutaway-explore")
        self._jobs: set[Job] = set()

    async def run(self, job: Job, compute: Callable[[], T]) -> T:
        """What `compute` returns or raises; raises Cancelled where the job was cancelled before or meanwhile."""

        def guarded() -> T:
            job.check()
            with np.errstate(all="ignore"):  # what interventions made too large is found when it is there
                return compute()

        self._jobs.add(job)
        try:
            return await asyncio.wrap_future(self._thread.submit(guarded))
        finally:
            self._jobs.discard(job)

    async def lines(self, job: Job, compute: Callable[[Send], None]) -> AsyncIterator[Document]:
        """What `compute` sends, as it sends it; raises as `run` does."""
        loop = asyncio.get_running_loop()
        sent: asyncio.Queue[Document | None] = asyncio.Queue()

        def send(document: Document) -> None:
            job.check()
            loop.call_soon_threadsafe(sent.put_nowait, document)

        def done(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                task.exception()  # asyncio complains of one that nobody has seen, and perhaps nobody is there
            sent.put_nowait(None)

        task = asyncio.create_task(self.run(job, lambda: compute(send)))
        task.add_done_callback(done)
        while (document := await sent.get()) is not None:
            yield document
        await task

    def close(self) -> None:
        """Cancel what there is; nothing new is taken."""
        for job in list(self._jobs):
            job.cancel()
        self._thread.shutdown(wait=False)


class Views:
    """The newest job of each view of a page; a newer one cancels the one before."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, Job]] = {}

    def begin(self, view: str, sequence: int, job: Job) -> None:
        """Take note of a job; of two of one view the one with the lower number is cancelled."""
        newest, other = self._newest.get(view, (-1, None))
        if newest > sequence:
            job.cancel()
            return
        if other:
            other.cancel()
        self._newest[view] = (sequence, job)

    def end(self, job: Job) -> None:
        """Forget a job that is done."""
        self._newest = {view: newest for view, newest in self._newest.items() if newest[1] is not job}
