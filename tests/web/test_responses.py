import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from cutaway.errors import CheckpointError, EngineError, UsageError
from cutaway.web.responses import EXCEPTION_HANDLERS, JsonLines, json_content, one_line
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
    async def rest() -> AsyncIterator[Document]:
        yield {"n": 2}
        if end:
            raise end

    ended: list[None] = []
    response = TestClient(JsonLines({"n": 1}, rest(), lambda: ended.append(None))).get("/")
    found = lines(response.text)
    assert found[:2] == [{"n": 1}, {"n": 2}]
    assert found[-1] == last
    assert ended == [None]
    assert response.headers["content-type"] == "application/x-ndjson"


def test_on_end_is_called_on_disconnect() -> None:
    async def rest() -> AsyncIterator[Document]:
        await asyncio.sleep(20)
        yield {}

    ended: list[None] = []
    with TestClient(JsonLines({"n": 1}, rest(), lambda: ended.append(None))).stream("GET", "/") as response:
        found = response.iter_lines()  # which leaves when it is let go
        assert next(found) == '{"n":1}'
        assert ended == []
    assert ended == [None]


def test_json_has_null_for_nan_and_infinity() -> None:
    document = {"a": [1.5, float("nan")], "b": {"c": (float("inf"), "text", None, True)}}
    assert json.loads(json_content(document).body) == {"a": [1.5, None], "b": {"c": [None, "text", None, True]}}


def test_an_error_is_one_short_line() -> None:
    assert one_line(ValueError("two\n lines")) == "two lines"
    assert one_line(MemoryError()) == "MemoryError"
    assert len(one_line(ValueError("x" * 9999))) == 400
