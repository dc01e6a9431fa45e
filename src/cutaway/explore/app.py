"""The server: which address is answered by what, and that all computing is done by the worker."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from cutaway.errors import UsageError
from cutaway.explore import schemas
from cutaway.explore.arguments import Arguments, Query
from cutaway.explore.assets import asset
from cutaway.explore.compatibility import check_alike
from cutaway.explore.encoding import Content, json_content
from cutaway.explore.handlers import ANSWERS, Answer, Question, proof
from cutaway.explore.replies import HANDLERS, Lines, reply
from cutaway.explore.safety import Guard, read_object
from cutaway.explore.trace_cache import TraceStore
from cutaway.explore.traces import Reader, read_wanted
from cutaway.explore.worker import Cancelled, Job, Send, Views, Worker
from cutaway.model import Model

T = TypeVar("T")


def make_app(explorer: "Explorer", port: int, token: str | None = None) -> ASGIApp:
    """The page and its server, to be run on that port; without a token it answers this machine only (`safety.py`)."""
    app = Starlette(routes=explorer.routes(), exception_handlers=HANDLERS)
    app.router.redirect_slashes = False
    return Guard(app, port, token)


class Explorer:
    """A model that is looked at: its traces, its worker, and an answer for every address.

    `checkpoint_bytes` is what the model's files take; `against` is another model of the same shape and tokenizer, which
    it can be held against. Raises UsageError where that has another.
    """

    def __init__(self, model: Model, checkpoint_bytes: int, against: Model | None = None) -> None:
        if against:
            check_alike(model, against)
        self.model, self.checkpoint_bytes, self.against = model, checkpoint_bytes, against
        self.store, self.worker, self.views = TraceStore(), Worker(), Views()
        self.readers = {other: Reader(each, self.store) for other, each in ((False, model), (True, against)) if each}

    def routes(self) -> list[Route]:
        """Every address there is."""
        traces = [Route(f"/api/traces/{{trace}}/{path}", self._asked(answer)) for path, answer in ANSWERS.items()]
        return [
            Route("/", asset),
            Route("/page/{path:path}", asset),
            Route("/api/model", self.describe),
            Route("/api/figures", self.figures),
            Route("/api/parameters", self.parameters),
            Route("/api/vocabulary", self.vocabulary),
            Route("/api/tokens", self.tokens),
            Route("/api/nearest", self.nearest),
            Route("/api/traces", self.read, methods=["POST"]),
            Route("/api/traces/{trace}/proof", self.prove, methods=["POST"]),
            Route("/api/generate", self.generate, methods=["POST"]),
            *traces,
        ]

    # Answers that are there already.

    async def describe(self, request: Request) -> Response:
        Query(request.query_params.multi_items()).end()
        return reply(json_content(schemas.model_document(self.model, self.checkpoint_bytes, self.against)))

    async def figures(self, request: Request) -> Response:
        Query(request.query_params.multi_items()).end()
        return reply(json_content(schemas.figures_document()))

    async def parameters(self, request: Request) -> Response:
        Query(request.query_params.multi_items()).end()
        return reply(json_content(schemas.parameters_document(self.model.config)))

    # Answers that are computed.

    async def vocabulary(self, request: Request) -> Response:
        Query(request.query_params.multi_items()).end()
        return await self._computed(request, lambda job: json_content(schemas.vocabulary_document(self.model)))

    async def tokens(self, request: Request) -> Response:
        query = Query(request.query_params.multi_items())
        text = query.text("text")
        query.end()
        return await self._computed(request, lambda job: json_content(schemas.explain_document(self.model, text)))

    async def nearest(self, request: Request) -> Response:
        query, n_vocab = Query(request.query_params.multi_items()), self.model.config.n_vocab
        token, k = query.whole("token", 0, n_vocab - 1), query.whole("k", 1, 100, 10)
        query.end()
        return await self._computed(request, lambda job: json_content(schemas.nearest_document(self.model, token, k)))

    def _asked(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """What is asked of a trace with a GET; what is in the path is an argument like those after the ?."""

        async def asked(request: Request) -> Response:
            path = {name: value for name, value in request.path_params.items() if name != "trace"}
            query = Query([*path.items(), *request.query_params.multi_items()], repeated=["sel"])
            return await self._question(request, query, answer)

        return asked

    async def prove(self, request: Request) -> Response:
        return await self._question(request, Arguments(await read_object(request)), proof)

    async def _question(self, request: Request, arguments: Arguments, answer: Answer) -> Response:
        name, find = request.path_params["trace"], self.store.__getitem__
        return await self._computed(
            request, lambda job: answer(Question(find(name).with_cancellation(job.check), arguments, find, job.check))
        )

    async def _computed(self, request: Request, compute: Callable[[Job], Content]) -> Response:
        job = Job()
        return reply(await _attended(request, job, self.worker.run(job, lambda: compute(job))))

    # Answers that come line by line.

    async def read(self, request: Request) -> Response:
        wanted = read_wanted(self.model.config, Arguments(await read_object(request)))
        if wanted.against not in self.readers:
            raise UsageError("there is no other model here; cutaway explore --against names one")
        reader, job = self.readers[wanted.against], Job()
        if wanted.view:
            self.views.begin(wanted.view, wanted.sequence, job)
        return await self._streamed(request, job, partial(reader.read, wanted), partial(self.views.end, job))

    async def generate(self, request: Request) -> Response:
        ids, config = read_request(self.model, Arguments(await read_object(request)))

        def compute(send: Send) -> None:
            for document in generate(self.model, ids, config):
                send(document)

        return await self._streamed(request, Job(), compute, lambda: None)

    async def _streamed(
        self, request: Request, job: Job, compute: Callable[[Send], None], end: Callable[[], None]
    ) -> Response:
        """The lines that are sent. What is refused before the first of them is an error with its own status."""
        lines = self.worker.lines(job, compute)

        def ended() -> None:
            job.cancel()
            end()

        try:
            first = await _attended(request, job, anext(lines))
        except Cancelled:
            first = {"cancelled": True}
        except BaseException:
            ended()
            raise
        return Lines(first, lines, ended)


async def _attended(request: Request, job: Job, answer: Awaitable[T]) -> T:
    """An answer, while somebody waits for it: when the client goes away the job is cancelled."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        job.cancel()

    watching = asyncio.create_task(watch())
    try:
        return await answer
    finally:
        watching.cancel()
