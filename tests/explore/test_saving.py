"""Races of saving a page as one file: with other saves, with clients that leave, with a model that warms up and with a
server that stops. Requests meet the app with the messages of uvicorn, and wait for events, never for a time.
"""

import asyncio
import gc
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from weakref import ref

import pytest
from starlette.types import ASGIApp, Message, Scope

from cutaway.explore.app import Explorer, make_app
from cutaway.explore.export import export_page
from cutaway.explore.schemas import nearest_document
from cutaway.explore.trace_cache import TraceCache, fingerprint, trace_name
from cutaway.figures import DrawnFigure, Selection, draw
from cutaway.model import Model
from cutaway.trace import Trace
from cutaway.web import responses
from cutaway.web.worker import Document, Job, Worker
from tests.explore.served import PORT, lines, mute, slow

SECONDS = 20  # after which a test fails that waits for what does not come
IDS = [1, 2, 3]
OTHER = [4, 5]
HELD = "F37"  # a figure in the middle of the file, which computes something


class Client:
    """A request, and the messages that uvicorn would send to it. It reads all at once, or nothing until `reads` is set,
    and can leave.
    """

    def __init__(self, app: ASGIApp, path: str, body: bytes | None, query: bytes) -> None:
        self.status = 0
        self.body = bytearray()
        self.messages: list[int] = []  # bytes of each
        self.reads = asyncio.Event()
        self.reads.set()
        self.awaited = asyncio.Event()  # the app waits for the client to read
        self._arrived = asyncio.Event()
        self._gone = asyncio.Event()
        self._incoming: list[Message] = [{"type": "http.request", "body": body or b""}]
        scope = {
            "type": "http",
            "method": "GET" if body is None else "POST",
            "path": path,
            "query_string": query,
            "headers": [(b"host", f"localhost:{PORT}".encode()), (b"content-type", b"application/json")],
        }
        self._served = asyncio.create_task(self._serve(app, scope))

    async def _serve(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._incoming:
            return self._incoming.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        if not self.reads.is_set():
            self.awaited.set()
            await self.reads.wait()
        if not self._gone.is_set():
            self.body += message["body"]
            self.messages.append(len(message["body"]))
            self._arrived.set()

    async def arrived(self, count: int) -> None:
        """Wait for so many lines."""
        while self.body.count(b"\n") < count:
            self._arrived.clear()
            await asyncio.wait_for(self._arrived.wait(), SECONDS)

    async def text(self) -> str:
        """Wait for the end of the response; raises what the app raises."""
        await asyncio.wait_for(self._served, SECONDS)
        return self.body.decode()

    def close(self) -> None:
        """Close the connection."""
        self._gone.set()

    async def leave(self) -> None:
        """Close the connection, and wait until the app is done with it."""
        self.close()
        await self.text()


@dataclass
class Drawing:
    """The figures of all pages, drawn as ever, but that the first one of `HELD` waits for `go_on`."""

    asked: list[tuple[tuple[int, ...], str]] = field(default_factory=list)  # token ids, figure
    drawn: list[tuple[tuple[int, ...], str]] = field(default_factory=list)
    made: list[ref[object]] = field(default_factory=list)  # traces and figures
    reached: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def draw(self, trace: Trace, figure: str, **chosen: int) -> DrawnFigure:
        self.asked.append((trace.ids, figure))
        self.made.append(ref(trace))
        if figure == HELD:
            self.reached.set()
            assert self.go_on.wait(SECONDS)
        drawn = draw(trace, figure, **chosen)
        self.drawn.append((trace.ids, figure))
        self.made.append(ref(drawn))
        return drawn

    async def held(self) -> None:
        """Wait until a page has come to the figure."""
        assert await asyncio.to_thread(self.reached.wait, SECONDS)


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Drawing]:
    drawing = Drawing()
    monkeypatch.setattr("cutaway.explore.export.draw", drawing.draw)
    yield drawing
    drawing.go_on.set()  # so that the worker's thread ends where a test fails


@dataclass
class Jobs:
    """Jobs that have come to the worker, and those that were cancelled, whichever thread they are for."""

    queued: "asyncio.Queue[Job]" = field(default_factory=asyncio.Queue)
    cancelled: "asyncio.Queue[Job]" = field(default_factory=asyncio.Queue)

    async def next(self, jobs: "asyncio.Queue[Job]") -> Job:
        return await asyncio.wait_for(jobs.get(), SECONDS)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    jobs = Jobs()
    run = Worker.run
    cancel = Job.cancel

    async def queued(worker: Worker, job: Job, compute: Callable[[], object]) -> object:
        asyncio.get_running_loop().call_soon(jobs.queued.put_nowait, job)  # when the thread knows of it
        return await run(worker, job, compute)

    def cancelled(job: Job) -> None:
        cancel(job)
        jobs.cancelled.put_nowait(job)

    monkeypatch.setattr(Worker, "run", queued)
    monkeypatch.setattr(Job, "cancel", cancelled)
    return jobs


class Served:
    """An explorer of a random model, and requests to it."""

    def __init__(self, model: Model | None = None) -> None:
        self.model = model or mute()
        self.explorer = Explorer(self.model, checkpoint_bytes=0)
        self._app = make_app(self.explorer, PORT)

    async def read(self, *texts: list[int]) -> None:
        """Trace texts."""
        for ids in texts:
            await self.ask("/api/traces", json.dumps({"ids": ids}).encode()).text()

    def save(self, ids: list[int]) -> Client:
        """Save the page of a text that was or will be traced."""
        return self.ask(f"/api/traces/{trace_name(fingerprint(self.model), ids, [])}/page")

    def ask(self, path: str, body: bytes | None = None, query: bytes = b"") -> Client:
        return Client(self._app, path, body, query)

    async def idle(self) -> None:
        """Wait until the worker has done what it was asked for before."""
        await self.explorer.worker.run(Job(), lambda: None)

    def check(self, text: str, ids: list[int]) -> None:
        """Compare a streamed page with that of `export_page`, and check the progress before it."""
        *progress, last = lines(text)
        assert [line["parts_done"] for line in progress] == list(range(1, len(progress) + 1))
        assert last["page"] == export_page(self.model, self.model.trace(ids), Selection()).text


async def held_save(drawing: Drawing, *others: list[int]) -> tuple[Served, Client]:
    """A server that has read the texts, and a save of the first of them that is held at a figure."""
    served = Served()
    await served.read(IDS, *others)
    client = served.save(IDS)
    await drawing.held()
    return served, client


@pytest.mark.slow
class TestTwoAtOnce:
    @pytest.mark.parametrize("other", [IDS, OTHER])
    def test_are_whole_and_take_turns(self, drawing: Drawing, jobs: Jobs, other: list[int]) -> None:
        async def main() -> None:
            served, first = await held_save(drawing, other)
            jobs.queued = asyncio.Queue()
            second = served.save(other)
            await jobs.next(jobs.queued)
            begun = len(drawing.asked)
            drawing.go_on.set()
            served.check(await first.text(), IDS)
            served.check(await second.text(), other)
            assert drawing.asked[begun] == (tuple(other), "F01")

        asyncio.run(main())


class TestLeaving:
    def test_in_the_middle_stops_the_part_that_is_computed_and_all_others(self, drawing: Drawing) -> None:
        async def main() -> None:
            served, client = await held_save(drawing)
            await client.leave()
            drawing.go_on.set()
            await served.idle()

        asyncio.run(main())
        assert drawing.asked[-1] == (tuple(IDS), HELD)
        assert drawing.drawn == drawing.asked[:-1]

    @pytest.mark.slow
    def test_before_its_turn_computes_nothing(self, drawing: Drawing, jobs: Jobs) -> None:
        async def main() -> None:
            served, first = await held_save(drawing, OTHER)
            jobs.queued = asyncio.Queue()
            jobs.cancelled = asyncio.Queue()
            second = served.save(OTHER)
            job = await jobs.next(jobs.queued)
            second.close()
            assert await jobs.next(jobs.cancelled) is job
            drawing.go_on.set()
            served.check(await first.text(), IDS)
            await second.text()

        asyncio.run(main())
        assert tuple(OTHER) not in [ids for ids, _ in drawing.drawn]

    @pytest.mark.slow
    def test_and_saving_again_at_once_gives_the_whole_page(self, drawing: Drawing) -> None:
        async def main() -> None:
            served, stopped = await held_save(drawing)
            again = served.save(IDS)
            await stopped.leave()
            drawing.go_on.set()
            text = await again.text()
            assert drawing.asked.count((tuple(IDS), HELD)) == 2
            assert drawing.drawn.count((tuple(IDS), HELD)) == 1
            served.check(text, IDS)

        asyncio.run(main())

    @pytest.mark.slow
    def test_ten_times_leaves_nothing_in_memory(self, drawing: Drawing) -> None:
        drawing.go_on.set()

        async def main() -> None:
            served = Served()
            await served.read(IDS)
            for count in range(10):
                client = served.save(IDS)
                await client.arrived(1 + 8 * count)
                await client.leave()
            await served.idle()
            client = served.save(IDS)
            client.reads.clear()
            await asyncio.wait_for(client.awaited.wait(), SECONDS)  # it leaves between two parts
            await client.leave()
            await served.idle()

        gc.disable()  # which would free it at some time
        try:
            asyncio.run(main())
            assert len(drawing.made) > 400
            assert [found for each in drawing.made if (found := each()) is not None] == []
        finally:
            gc.enable()


class TestBesideOthers:
    @pytest.mark.slow
    def test_of_a_text_that_is_warmed_up_waits_for_it(self, jobs: Jobs) -> None:
        async def main() -> None:
            model, weights = slow()
            served = Served(model)
            served.explorer.warm_up(IDS)
            assert await asyncio.to_thread(weights.reached.wait, SECONDS)
            client = served.save(IDS)
            await jobs.next(jobs.queued)
            weights.go_on.set()
            served.check(await client.text(), IDS)

        asyncio.run(main())

    def test_another_request_goes_between_the_parts(
        self, drawing: Drawing, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def nearest(model: Model, token: int, k: int) -> Document:
            drawing.asked.append(((token,), "nearest"))
            return nearest_document(model, token, k)

        monkeypatch.setattr("cutaway.explore.schemas.nearest_document", nearest)

        async def main() -> None:
            served, saved = await held_save(drawing)
            jobs.queued = asyncio.Queue()
            other = served.ask("/api/nearest", query=b"token=7")
            await jobs.next(jobs.queued)
            drawing.go_on.set()
            await other.text()
            await saved.text()
            order = [figure for _, figure in drawing.asked]
            assert order.index("nearest") == order.index(HELD) + 1 < len(order) - 1

        asyncio.run(main())

    @pytest.mark.slow
    def test_traces_are_looked_up_by_the_thread_that_adds_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Looking one up counts the bytes of all and evicts some."""
        threads: list[str] = []
        find = TraceCache.find

        def told(cache: TraceCache, name: str) -> Trace | None:
            threads.append(threading.current_thread().name)
            return find(cache, name)

        monkeypatch.setattr(TraceCache, "find", told)

        async def main() -> None:
            served = Served()
            await served.read(IDS)
            served.check(await served.save(IDS).text(), IDS)

        asyncio.run(main())
        assert {name.rpartition("_")[0] for name in threads} == {"cutaway-worker"}


class TestShutdown:
    def test_cancels_the_part_that_is_computed(self, drawing: Drawing) -> None:
        async def main() -> None:
            served, client = await held_save(drawing)
            served.explorer.worker.close()
            drawing.go_on.set()
            *progress, last = lines(await client.text())
            assert progress
            assert last == {"cancelled": True}

        asyncio.run(main())
        assert drawing.drawn == drawing.asked[:-1]

    def test_between_two_parts_ends_with_a_line_that_says_so(self) -> None:
        async def main() -> None:
            served = Served()
            await served.read(IDS)
            client = served.save(IDS)
            client.reads.clear()
            await asyncio.wait_for(client.awaited.wait(), SECONDS)
            served.explorer.worker.close()
            client.reads.set()
            *progress, last = lines(await client.text())
            assert progress
            assert last == {"cancelled": True}

        asyncio.run(main())

    @pytest.mark.parametrize(("path", "body"), [("/page", None), ("/surprisal", None), ("", b'{"ids": [7]}')])
    def test_what_is_asked_for_afterwards_is_cancelled(self, path: str, body: bytes | None) -> None:
        async def main() -> None:
            served = Served()
            served.explorer.worker.close()
            served.explorer.warm_up(IDS)
            client = served.ask(f"/api/traces{f'/x{path}' if path else ''}", body)
            assert lines(await client.text()) == [{"cancelled": True}]

        asyncio.run(main())


@pytest.mark.slow
def test_the_file_is_sent_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "CHUNK_BYTES", 5000)

    async def main() -> None:
        served = Served()
        await served.read(IDS)
        client = served.save(IDS)
        served.check(await client.text(), IDS)
        assert max(client.messages) == 5000

    asyncio.run(main())
