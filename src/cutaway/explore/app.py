"""The explorer's ASGI application: routes, and computation on the worker's thread."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from functools import cached_property, partial
from itertools import count
from typing import TypeVar
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from cutaway.errors import UsageError
from cutaway.explore import schemas
from cutaway.explore.assets import asset
from cutaway.explore.compatibility import check_compatible
from cutaway.explore.export import ABOUT_TRACE, PagePacker, PageSource
from cutaway.explore.generate import generate, read_request
from cutaway.explore.handlers import HANDLERS, Handler, TraceRequest, cache_benchmark
from cutaway.explore.trace_cache import TraceCache, UnknownTrace
from cutaway.explore.traces import TraceService, read_trace_request
from cutaway.explore.translation import translate, translation_document
from cutaway.figures import Selection
from cutaway.model import Model
from cutaway.web.params import Params, QueryParams
from cutaway.web.responses import (
    EXCEPTION_HANDLERS,
    Content,
    JsonLines,
    SendingBudget,
    error_response,
    json_content,
    json_line,
    respond,
)
from cutaway.web.security import Guard, read_object
from cutaway.web.worker import Cancelled, Job, LatestJob, Send, Worker

T = TypeVar("T")


def make_app(explorer: "Explorer", port: int, token: str | None = None) -> ASGIApp:
    """Make the guarded application for a port; without a token it serves this machine only (`web/security.py`).

    >>> import cutaway
    >>> explorer = Explorer(cutaway.load(), checkpoint_bytes=0)
    >>> type(make_app(explorer, port=8477)).__name__
    'Guard'
    """
    app = Starlette(
        routes=explorer.routes(), exception_handlers={**EXCEPTION_HANDLERS, UnknownTrace: error_response(404)}
    )
    app.router.redirect_slashes = False
    return Guard(app, port, token)


class Explorer:
    """A model with its traces and its worker, and an endpoint for every path.

    `checkpoint_bytes` is the size of the model's files; `against` is a second model to compare with. Raises UsageError
    if the two are not compatible.
    """

    def __init__(self, model: Model, checkpoint_bytes: int, against: Model | None = None) -> None:
        if against:
            check_compatible(model, against)
        self.model = model
        self.checkpoint_bytes = checkpoint_bytes
        self.against = against
        self.description = schemas.model_document(model, checkpoint_bytes, against)  # may write an example
        self.cache = TraceCache()
        self.worker = Worker()
        self.latest = LatestJob()
        self.sending = SendingBudget()
        self.services = {False: TraceService(model, self.cache)}  # by `against` of the request
        if against:
            self.services[True] = TraceService(against, self.cache)

    def warm_up(self, ids: Sequence[int]) -> None:
        """Start computing what a page that opens on these token ids requests, while the browser is still starting.

        The first trace of a process is many times slower than the next, because it reads all weights.
        """

        def compute(job: Job) -> None:
            body = read_trace_request(self.model.config, Params({"ids": list(ids)}))
            self.services[False].run(body, lambda progress: job.check())
            job.check()
            self._vocabulary  # noqa: B018  # computed once

        self.worker.start(compute)

    @cached_property
    def _vocabulary(self) -> Content:
        return json_content(schemas.vocabulary_document(self.model))

    def routes(self) -> list[Route]:
        """List the routes of the API and of the page."""
        traces = [Route(f"/api/traces/{{trace}}/{path}", self._endpoint(handler)) for path, handler in HANDLERS.items()]
        return [
            Route("/", asset),
            Route("/page/{path:path}", asset),
            Route("/page-{version}/{path:path}", asset),
            Route("/api/model", self.describe),
            Route("/api/figures", self.figures),
            Route("/api/parameters", self.parameters),
            Route("/api/vocabulary", self.vocabulary),
            Route("/api/tokens", self.tokens),
            Route("/api/nearest", self.nearest),
            Route("/api/traces", self.trace, methods=["POST"]),
            Route("/api/traces/{trace}/cache_benchmark", self.benchmark_cache, methods=["POST"]),
            Route("/api/traces/{trace}/page", self.export),
            Route("/api/traces/{trace}/translation", self.read_translation),
            Route("/api/translations", self.translate),
            Route("/api/generate", self.generate, methods=["POST"]),
            *traces,
        ]

    # Immediate responses.

    async def describe(self, request: Request) -> Response:
        _query(request).end()
        return respond(json_content(self.description))

    async def figures(self, request: Request) -> Response:
        _query(request).end()
        return respond(json_content(schemas.figures_document()))

    async def parameters(self, request: Request) -> Response:
        _query(request).end()
        return respond(json_content(schemas.parameters_document(self.model.config)))

    # Responses computed by the worker.

    async def vocabulary(self, request: Request) -> Response:
        _query(request).end()
        return await self._compute(request, lambda job: self._vocabulary)

    async def tokens(self, request: Request) -> Response:
        params = _query(request)
        text = params.text("text")
        params.end()
        if len(text) > schemas.MAX_TEXT:  # explaining takes far longer than encoding
            raise UsageError(f"a text to explain must have at most {schemas.MAX_TEXT} characters, not {len(text)}")
        return await self._compute(request, lambda job: json_content(schemas.explain_document(self.model, text)))

    async def nearest(self, request: Request) -> Response:
        params = _query(request)
        token = params.integer("token", 0, self.model.config.n_vocab - 1)
        k = params.integer("k", 1, 100, 10)
        params.end()
        return await self._compute(request, lambda job: json_content(schemas.nearest_document(self.model, token, k)))

    async def translate(self, request: Request) -> Response:
        params = _query(request)
        fields = {name: params.text(name) for name in ("from", "to", "source")}
        params.end()
        return await self._compute(request, lambda job: json_content(translate(self.model, fields, job.check)))

    async def read_translation(self, request: Request) -> Response:
        """Return a trace read as a translation, by the task of the first model."""
        return await self._handle(
            request, _query(request), lambda found: json_content(translation_document(self.model, found.trace))
        )

    def _endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Make a GET endpoint from a handler."""

        async def endpoint(request: Request) -> Response:
            return await self._handle(request, _query(request, repeated=["sel"]), handler)

        return endpoint

    async def benchmark_cache(self, request: Request) -> Response:
        return await self._handle(request, Params(await read_object(request)), cache_benchmark)

    async def export(self, request: Request) -> Response:
        """Export the page of a trace as one file: send a line after each part, and then the file. Other requests are
        served between the parts. The export stops when the client disconnects. Raises UsageError for a trace of the
        second model.
        """
        job = Job()
        lines = self._make_page(request.path_params["trace"], _query(request), job)
        return await self._stream(request, job, self.worker.take_turns(job, lines), lambda: None)

    def _make_page(self, name: str, params: QueryParams, job: Job) -> Generator[bytes]:
        """Yield a line after each part of a page, and one with the page, in the worker's thread: no other thread looks
        up traces.
        """
        find = self.cache.__getitem__
        where = TraceRequest(find(name).with_cancellation(job.check), params, find, job.check)
        selection = Selection(where.layer(), where.head(), where.position())
        view = params.text("view", "")
        settings = _settings(params.text("settings", ""))
        params.end()
        if where.trace.weights is not self.model.weights:
            raise UsageError("only texts that the first model has read can be saved")
        source = PageSource(self.model, where.trace, selection, self.checkpoint_bytes, view, settings)
        parts = source.count_parts()
        done = count(1)
        packer = PagePacker()
        for path, file in source.files():
            packer.add(path, file)
            if path.startswith(ABOUT_TRACE):
                yield json_line({"parts_done": min(next(done), parts), "parts": parts})
        yield json_line({"page": packer.page().text})

    async def _handle(self, request: Request, params: Params, handler: Handler) -> Response:
        name = request.path_params["trace"]
        find = self.cache.__getitem__
        return await self._compute(
            request, lambda job: handler(TraceRequest(find(name).with_cancellation(job.check), params, find, job.check))
        )

    async def _compute(self, request: Request, compute: Callable[[Job], Content]) -> Response:
        job = Job()
        content = await _cancel_on_disconnect(request, job, self.worker.run(job, lambda: compute(job)))
        return self.sending.respond(content)

    # Streams of JSON lines.

    async def trace(self, request: Request) -> Response:
        body = read_trace_request(self.model.config, Params(await read_object(request)))
        if body.against not in self.services:
            raise UsageError("there is no second model; start cutaway explore with --against")
        service = self.services[body.against]
        job = Job()
        if body.view:
            self.latest.begin(body.view, body.sequence, job)
        lines = self._lines(job, partial(service.run, body))
        return await self._stream(request, job, lines, partial(self.latest.end, job))

    async def generate(self, request: Request) -> Response:
        ids, config = read_request(self.model, Params(await read_object(request)))

        def compute(send: Send) -> None:
            for document in generate(self.model, ids, config):
                send(document)

        job = Job()
        return await self._stream(request, job, self._lines(job, compute), lambda: None)

    def _lines(self, job: Job, compute: Callable[[Send], None]) -> AsyncGenerator[bytes]:
        """Stream what `compute` sends, as lines that the worker's thread serialises: a long one takes a while."""
        return self.worker.stream(job, lambda send: compute(lambda document: send(json_line(document))))

    async def _stream(
        self, request: Request, job: Job, lines: AsyncGenerator[bytes], on_end: Callable[[], None]
    ) -> Response:
        """Stream the lines of a job; an error before the first line sets the status of the response."""

        def finish() -> None:
            job.cancel()
            on_end()

        try:
            first = await _cancel_on_disconnect(request, job, anext(lines))
        except Cancelled:
            first = json_line({"cancelled": True})
        except BaseException:
            finish()
            raise
        return JsonLines(first, lines, finish)


def _query(request: Request, repeated: Sequence[str] = ()) -> QueryParams:
    """Read the parameters of a GET request, from its query string, or from its path after the name of the trace."""
    path = [(name, value) for name, value in request.path_params.items() if name != "trace"]
    return QueryParams([*path, *request.query_params.multi_items()], repeated)


def _settings(text: str) -> schemas.Settings:
    """Parse the settings of the page, "language=zh&x-figure=F40"; raises UsageError for other parts of its address."""
    settings = parse_qsl(text, keep_blank_values=True)
    for name, _ in settings:
        if name != "language" and not name.startswith("x-"):
            raise UsageError(f"settings must be language or begin with x-, not {name[:40]!r}")
    return settings


async def _cancel_on_disconnect(request: Request, job: Job, result: Awaitable[T]) -> T:
    """Await a result, cancelling its job if the client disconnects meanwhile."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        job.cancel()

    watching = asyncio.create_task(watch())
    try:
        return await result
    finally:
        watching.cancel()
