"""Response bodies, streams of JSON lines, and errors with their status codes."""

import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from cutaway.errors import CutawayError, NonFiniteError, UsageError
from cutaway.web.worker import Cancelled

MAX_ERROR_CHARACTERS = 400
MAX_SENDING_BYTES = 512 << 20
CHUNK_BYTES = 256 << 10  # what one write timeout covers, and what the connection of a slow client buffers


@dataclass(frozen=True)
class Content:
    """A response body and its media type."""

    body: bytes
    media_type: str


def json_content(document: object) -> Content:
    """Serialise as JSON; NaN and infinities, which JSON lacks, become null.

    >>> json_content({"loss": float("inf"), "ids": (1, 2)}).body
    b'{"loss":null,"ids":[1,2]}'
    """
    return Content(_dumps(document), "application/json")


def json_line(document: object) -> bytes:
    """Serialise as one line of a JSON Lines stream.

    >>> json_line({"id": 1})
    b'{"id":1}\\n'
    """
    return _dumps(document) + b"\n"


def _dumps(document: object) -> bytes:
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:  # rare, so documents are searched for NaN only then
        text = json.dumps(_finite(document), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def one_line(error: BaseException) -> str:
    """Return an error's message on one line of at most `MAX_ERROR_CHARACTERS`.

    >>> one_line(ValueError("bad\\n input"))
    'bad input'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MAX_ERROR_CHARACTERS else f"{text[: MAX_ERROR_CHARACTERS - 3]}..."


def respond(content: Content, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Make a response from a body.

    >>> respond(Content(b"hi", "text/plain")).status_code
    200
    """
    return Response(content.body, status, headers, content.media_type)


class SendingBudget:
    """A limit, in bytes, on the bodies of all responses that are being sent; a single body may be larger.

    A client that does not read keeps its body in memory until the connection's write timeout (`web/server.py`).

    >>> budget = SendingBudget(limit=100)
    >>> budget.respond(Content(b"hi", "text/plain")).status_code
    200
    """

    def __init__(self, limit: int = MAX_SENDING_BYTES) -> None:
        self.limit = limit
        self.held = 0

    def respond(self, content: Content) -> Response:
        """Make a response from a body; raises HTTPException (503) if too much is being sent already."""
        if self.held and self.held + len(content.body) > self.limit:
            raise HTTPException(503, "other responses are still being sent; try again", {"retry-after": "5"})
        return _ChunkedResponse(content, self)


class _ChunkedResponse(Response):
    """A response that is sent in chunks, each after the client has read most of the one before."""

    def __init__(self, content: Content, budget: SendingBudget) -> None:
        super().__init__(content.body, media_type=content.media_type)
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._budget.held += len(self.body)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for first in range(0, len(self.body) or 1, CHUNK_BYTES):
                chunk = self.body[first : first + CHUNK_BYTES]
                more = first + CHUNK_BYTES < len(self.body)
                await send({"type": "http.response.body", "body": chunk, "more_body": more})
        finally:
            self._budget.held -= len(self.body)


class JsonLines(StreamingResponse):
    """A stream of lines of JSON, long ones in chunks.

    An error after the first line can no longer set the status, so it becomes the last line. `on_end` is called when
    the last line is sent or the client has disconnected.
    """

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes], on_end: Callable[[], None]) -> None:
        super().__init__(_chunks(_lines(first, rest)), media_type="application/x-ndjson")
        self._rest = rest
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()
            await self._rest.aclose()  # now, not when it is garbage-collected


async def _chunks(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Split long lines, so that each chunk is sent after the client has read most of the one before."""
    async for line in lines:
        for first in range(0, len(line), CHUNK_BYTES):
            yield line[first : first + CHUNK_BYTES]


async def _lines(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    try:
        async for line in rest:
            yield line
    except Cancelled:
        yield json_line({"cancelled": True})
    except (CutawayError, MemoryError) as error:
        yield json_line({"error": one_line(error)})


ExceptionHandler = Callable[[Request, Exception], Response]


def error_response(status: int) -> ExceptionHandler:
    """Make an exception handler that sends the message with that status code.

    >>> answer = error_response(400)
    >>> response = answer(Request({"type": "http"}), UsageError("k is missing"))
    >>> response.status_code, response.body
    (400, b'{"error":"k is missing"}')
    """
    return lambda request, error: respond(json_content({"error": one_line(error)}), status)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return respond(json_content({"error": error.detail}), error.status_code, error.headers)


def _cancelled(request: Request, error: Exception) -> Response:
    return respond(json_content({"cancelled": True}), 409)


def _internal_error(request: Request, error: Exception) -> Response:
    message = f"internal server error ({type(error).__name__}); see the server's terminal"
    return respond(json_content({"error": message}), 500)


# By exception class; the most specific one applies.
EXCEPTION_HANDLERS: Mapping[type[Exception], ExceptionHandler] = {
    UsageError: error_response(400),
    NonFiniteError: error_response(422),  # the model cannot answer, and the server has no bug
    CutawayError: error_response(500),
    RecursionError: error_response(400),  # a message quotes JSON that is nested too deeply
    ClientDisconnect: error_response(400),
    HTTPException: _http_error,
    Cancelled: _cancelled,
    Exception: _internal_error,
}
