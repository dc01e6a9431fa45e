"""Answers as HTTP has them: bodies, lines as they come, and errors with their status."""

from collections.abc import AsyncIterator, Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from cutaway.errors import CutawayError, UsageError
from cutaway.explore.encoding import Content, json_content, json_line, one_line
from cutaway.explore.trace_cache import UnknownTrace
from cutaway.explore.worker import Cancelled, Document


def reply(content: Content, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A body as a response."""
    return Response(content.body, status, headers, content.media_type)


class Lines(StreamingResponse):
    """Documents as they come, each a line of JSON; `end` is called when the last is sent or the client has gone."""

    def __init__(self, first: Document, rest: AsyncIterator[Document], end: Callable[[], None]) -> None:
        super().__init__(_lines(first, rest), media_type="application/x-ndjson")
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()


async def _lines(first: Document, rest: AsyncIterator[Document]) -> AsyncIterator[bytes]:
    yield json_line(first)
    try:
        async for document in rest:
            yield json_line(document)
    except Cancelled:
        yield json_line({"cancelled": True})
    except (CutawayError, MemoryError) as error:  # too late for a status of its own
        yield json_line({"error": one_line(error)})


def _failed(status: int) -> Callable[[Request, Exception], Response]:
    return lambda request, error: reply(json_content({"error": one_line(error)}), status)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return reply(json_content({"error": error.detail}), error.status_code, error.headers)


def _cancelled(request: Request, error: Exception) -> Response:
    return reply(json_content({"cancelled": True}), 409)


def _bug(request: Request, error: Exception) -> Response:
    return reply(json_content({"error": f"the server failed ({type(error).__name__}); its terminal says more"}), 500)


# By the kind of error; of several that fit, the most special one counts.
HANDLERS = {
    UnknownTrace: _failed(404),
    UsageError: _failed(400),
    CutawayError: _failed(500),
    RecursionError: _failed(400),  # of a JSON body: a message quotes what is nested too deeply
    ClientDisconnect: _failed(400),
    HTTPException: _http_error,
    Cancelled: _cancelled,
    Exception: _bug,
}
