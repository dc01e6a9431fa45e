import asyncio
import threading
from collections.abc import Callable, Generator

import pytest

from cutaway.web.worker import Cancelled, Job, LatestJob, Send, Worker


async def sent(worker: Worker, job: Job, compute: Callable[[Send], None]) -> list[dict[str, object]]:
    return [document async for document in worker.stream(job, compute)]


def count_to_three(send: Send) -> None:
    for n in range(1, 4):
        send({"n": n})


def test_computes_in_one_thread() -> None:
    async def main() -> list[str]:
        worker = Worker()
        return [await worker.run(Job(), lambda: threading.current_thread().name) for _ in range(3)]

    (name,) = set(asyncio.run(main()))
    assert name.startswith("cutaway-worker")


def test_exceptions_reach_the_caller() -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await Worker().run(Job(), fail)
        with pytest.raises(ZeroDivisionError):
            await sent(Worker(), Job(), fail)

    asyncio.run(main())


def test_streams_in_order() -> None:
    assert asyncio.run(sent(Worker(), Job(), count_to_three)) == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_other_jobs_go_between_documents_that_take_turns() -> None:
    done: list[str] = []

    def documents(begun: threading.Event, asked: threading.Event) -> Generator[dict[str, object]]:
        for n in range(2):
            begun.set()
            asked.wait()
            done.append(f"document {n}")
            yield {"n": n}

    async def main() -> list[dict[str, object]]:
        worker = Worker()
        begun = threading.Event()
        asked = threading.Event()

        async def all_documents() -> list[dict[str, object]]:
            return [document async for document in worker.take_turns(Job(), documents(begun, asked))]

        slow = asyncio.create_task(all_documents())
        await asyncio.to_thread(begun.wait)
        other = asyncio.create_task(worker.run(Job(), lambda: done.append("other")))
        await asyncio.sleep(0)  # it waits for the thread now
        asked.set()
        await other
        return await slow

    assert asyncio.run(main()) == [{"n": 0}, {"n": 1}]
    assert done == ["document 0", "other", "document 1"]


def test_a_cancelled_job_has_no_more_turns() -> None:
    async def main() -> None:
        job = Job()
        documents = Worker().take_turns(job, ({"n": n} for n in range(2)))
        assert await anext(documents) == {"n": 0}
        job.cancel()
        with pytest.raises(Cancelled):
            await anext(documents)

    asyncio.run(main())


def test_documents_that_nobody_asks_for_any_more_are_closed_by_the_thread_that_computes_them() -> None:
    closed: list[str] = []

    def documents() -> Generator[dict[str, object]]:
        try:
            for n in range(2):
                yield {"n": n}
        finally:
            closed.append(threading.current_thread().name)

    async def main() -> None:
        worker = Worker()
        turns = worker.take_turns(Job(), documents())
        assert await anext(turns) == {"n": 0}
        await turns.aclose()
        await worker.run(Job(), lambda: None)

    asyncio.run(main())
    assert [name.rpartition("_")[0] for name in closed] == ["cutaway-worker"]


def test_what_nobody_waits_for_is_computed_first_come_first_served_and_fails_silently() -> None:
    begun: list[str] = []

    def fail(job: Job) -> None:
        begun.append(threading.current_thread().name)
        raise ZeroDivisionError

    async def main() -> str:
        worker = Worker()
        worker.start(fail)
        return await worker.run(Job(), lambda: begun[0])

    assert asyncio.run(main()).startswith("cutaway-worker")


def test_closing_stops_what_nobody_waits_for() -> None:
    stopped = threading.Event()

    def compute(job: Job) -> None:
        try:
            while True:
                job.check()
        finally:
            stopped.set()

    worker = Worker()
    worker.start(compute)
    worker.close()
    assert stopped.wait(20)


def test_a_job_cancelled_before_it_starts_does_nothing() -> None:
    job = Job()
    job.cancel()
    begun: list[object] = []

    async def main() -> None:
        worker = Worker()
        with pytest.raises(Cancelled):
            await worker.run(job, lambda: begun.append(None))
        with pytest.raises(Cancelled):
            await sent(worker, job, begun.append)

    asyncio.run(main())
    assert begun == []


def test_a_cancelled_job_stops_at_its_next_document() -> None:
    job = Job()
    begun = threading.Event()
    told = threading.Event()
    reached: list[int] = []

    def compute(send: Send) -> None:
        for n in range(3):
            reached.append(n)
            send({"n": n})
            begun.set()
            assert told.wait(20)

    async def main() -> None:
        lines = Worker().stream(job, compute)
        assert await anext(lines) == {"n": 0}
        await asyncio.to_thread(begun.wait, 20)
        job.cancel()
        told.set()
        with pytest.raises(Cancelled):
            await anext(lines)

    asyncio.run(main())
    assert reached == [0, 1]


def test_closing_cancels_running_and_queued_jobs() -> None:
    begun = threading.Event()
    told = threading.Event()

    def compute(send: Send) -> None:
        begun.set()
        assert told.wait(20)
        send({})

    async def main() -> list[object]:
        worker = Worker()
        tasks = [asyncio.create_task(sent(worker, Job(), compute)) for _ in range(2)]
        await asyncio.to_thread(begun.wait, 20)
        worker.close()
        told.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    ends = asyncio.run(main())
    assert [type(end) for end in ends] == [Cancelled, Cancelled]


def test_a_closed_worker_cancels_what_comes_and_who_waits_for_a_turn() -> None:
    begun: list[object] = []

    async def main() -> None:
        worker = Worker()
        documents = worker.take_turns(Job(), ({"n": n} for n in range(2)))
        assert await anext(documents) == {"n": 0}
        worker.close()
        worker.start(begun.append)
        with pytest.raises(Cancelled):
            await anext(documents)
        with pytest.raises(Cancelled):
            await worker.run(Job(), lambda: begun.append(None))

    asyncio.run(main())
    assert begun == []


class TestLatestJob:
    def test_a_newer_job_cancels_the_one_before(self) -> None:
        latest = LatestJob()
        jobs = [Job() for _ in range(3)]
        for sequence, job in enumerate(jobs):
            latest.begin("main", sequence, job)
        assert [is_cancelled(job) for job in jobs] == [True, True, False]

    def test_an_older_job_that_arrives_late_is_cancelled(self) -> None:
        latest = LatestJob()
        newer = Job()
        older = Job()
        latest.begin("main", 2, newer)
        latest.begin("main", 1, older)
        assert is_cancelled(older)
        assert not is_cancelled(newer)

    def test_other_clients_are_independent(self) -> None:
        latest = LatestJob()
        jobs = [Job(), Job()]
        for view, job in zip("ab", jobs, strict=True):
            latest.begin(view, 1, job)
        assert not any(map(is_cancelled, jobs))

    def test_finished_jobs_are_removed(self) -> None:
        latest = LatestJob()
        done = Job()
        job = Job()
        latest.begin("main", 9, done)
        latest.end(done)
        latest.begin("main", 1, job)
        assert not is_cancelled(job)
        latest.end(done)
        latest.begin("main", 2, Job())
        assert is_cancelled(job)


def is_cancelled(job: Job) -> bool:
    try:
        job.check()
    except Cancelled:
        return True
    return False
