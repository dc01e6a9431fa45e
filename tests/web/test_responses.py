import asyncio
import json
from collections.abc import AsyncGenerator

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message

from cutaway.errors import CheckpointError, EngineError, UsageError
from cutaway.web import responses
from cutaway.web.responses import (
    EXCEPTION_HANDLERS,
    Content,
    JsonLines,
    SendingBudget,
    json_content,
    json_line,
    one_line,
)
from cutaway.web.worker import Cancelled, Document
from tests.explore.served import lines


@pytest.mark.parametrize(
    ("error", "status", "document"),
    [
        (UsageError("two\nlines"), 400, {"error": "two lines"}),
        (CheckpointError("gone"), 500, {"error": "gone"}),
        (HTTPException(413, "large"), 413, {"error": "large"}),
        (Cancelled(), 409, {"cancelled": True}),
        (RecursionError("deep"), 400, {"error": "deep"}),
        (
            ZeroDivisionError("x"),
            500,
            {"error": "internal server error (ZeroDivisionError); see the server's terminal"},
        ),
    ],
)
def test_errors_have_a_status_and_a_line(error: Exception, status: int, document: Document) -> None:
    async def fail(request: Request) -> Response:
        raise error

    app = Starlette(routes=[Route("/", fail)], exception_handlers=EXCEPTION_HANDLERS)
    response = TestClient(app, raise_server_exceptions=False).get("/")
    assert (response.status_code, response.json()) == (status, document)
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("end", "last"),
    [
        (None, {"n": 2}),
        (Cancelled(), {"cancelled": True}),
        (EngineError("not\nfinite"), {"error": "not finite"}),
        (MemoryError(), {"error": "MemoryError"}),
    ],
)
def test_streams_end_with_the_error(end: Exception | None, last: Document) -> None:
    async def rest() -> AsyncGenerator[bytes]:
        yield json_line({"n": 2})
        if end:
            raise end

    ended: list[None] = []
    response = TestClient(JsonLines(b'{"n":1}\n', rest(), lambda: ended.append(None))).get("/")
    found = lines(response.text)
    assert found[:2] == [{"n": 1}, {"n": 2}]
    assert found[-1] == last
    assert ended == [None]
    assert response.headers["content-type"] == "application/x-ndjson"


def test_on_end_is_called_on_disconnect() -> None:
    async def rest() -> AsyncGenerator[bytes]:
        await asyncio.sleep(20)
        yield b""

    ended: list[None] = []
    with TestClient(JsonLines(b'{"n":1}\n', rest(), lambda: ended.append(None))).stream("GET", "/") as response:
        found = response.iter_lines()  # which leaves when it is let go
        assert next(found) == '{"n":1}'
        assert ended == []
    assert ended == [None]


def test_streams_send_long_lines_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "CHUNK_BYTES", 10)
    sent: list[bytes] = []

    async def rest() -> AsyncGenerator[bytes]:
        yield json_line({"text": "x" * 20})

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    asyncio.run(JsonLines(b'{"n":1}\n', rest(), lambda: None)({"type": "http"}, receive, send))
    assert [len(body) for body in sent] == [0, 8, 10, 10, 10, 2, 0]
    assert lines(b"".join(sent).decode()) == [{"n": 1}, {"text": "x" * 20}]


def test_what_a_stream_is_made_from_is_closed_when_the_client_leaves() -> None:
    closed: list[None] = []

    async def rest() -> AsyncGenerator[bytes]:
        try:
            while True:
                yield b"{}\n"
        finally:
            closed.append(None)

    async def send(message: Message) -> None:
        if message.get("body") == b"{}\n":
            left.set()
            await asyncio.Event().wait()

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    async def main() -> None:
        stream = JsonLines(b'{"n":1}\n', rest(), lambda: None)
        await stream({"type": "http"}, receive, send)
        assert closed == [None]

    left = asyncio.Event()
    asyncio.run(main())


def test_json_has_null_for_nan_and_infinity() -> None:
    document = {"a": [1.5, float("nan")], "b": {"c": (float("inf"), "text", None, True)}}
    assert json.loads(json_content(document).body) == {"a": [1.5, None], "b": {"c": [None, "text", None, True]}}


def test_an_error_is_one_short_line() -> None:
    assert one_line(ValueError("two\n lines")) == "two lines"
    assert one_line(MemoryError()) == "MemoryError"
    assert len(one_line(ValueError("x" * 9999))) == 400


class TestSendingBudget:
    @pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 30])
    def test_sends_the_whole_body(self, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        monkeypatch.setattr(responses, "CHUNK_BYTES", 10)
        body = bytes(range(size))

        async def endpoint(request: Request) -> Response:
            return SendingBudget().respond(Content(body, "application/octet-stream"))

        response = TestClient(Starlette(routes=[Route("/", endpoint)])).get("/")
        assert response.content == body
        assert response.headers["content-length"] == str(size)
        assert response.headers["content-type"] == "application/octet-stream"

    def test_bounds_what_is_being_sent_until_the_client_has_read_or_is_gone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(responses, "CHUNK_BYTES", 10)
        budget = SendingBudget(limit=100)
        content = Content(bytes(60), "text/plain")
        sent = []

        async def send(message: Message) -> None:
            sent.append(len(message.get("body", b"")))
            with pytest.raises(HTTPException, match="still being sent") as error:
                budget.respond(content)
            assert error.value.status_code == 503
            budget.respond(Content(bytes(40), "text/plain"))  # there is room for this one
            if len(sent) == 4:
                raise OSError("the client is gone")

        async def receive() -> Message:
            raise AssertionError

        with pytest.raises(OSError, match="gone"):
            asyncio.run(budget.respond(content)({"type": "http"}, receive, send))
        assert sent == [0, 10, 10, 10]
        assert budget.held == 0

    def test_a_single_response_may_be_larger_than_the_budget(self) -> None:
        assert SendingBudget(limit=1).respond(Content(bytes(60), "text/plain")).status_code == 200
