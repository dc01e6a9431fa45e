import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from asyncio.constants import ACCEPT_RETRY_DELAY
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cutaway.errors import UsageError
from cutaway.explore.app import Explorer, make_app
from cutaway.web import server
from cutaway.web.server import Listener, listen, serve
from cutaway.web.worker import Worker
from tests.explore.served import slow


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = listen("127.0.0.1", 0)
    yield listener
    listener.socket.close()


@pytest.mark.parametrize(
    ("host", "start"), [("127.0.0.1", "http://127.0.0.1:"), ("localhost", "http://"), ("::1", "http://[::1]:")]
)
def test_loopback_addresses_need_no_token(host: str, start: str) -> None:
    try:
        listener = listen(host, 0)
    except OSError:
        pytest.skip(f"{host} is unavailable")
    with listener.socket:
        assert listener.token is None
        assert listener.address.startswith(start)
        assert listener.address.endswith(f":{listener.port}/")


def test_other_addresses_contain_a_token() -> None:
    first = listen("0.0.0.0", 0)
    second = listen("0.0.0.0", 0)
    with first.socket, second.socket:
        assert first.token
        assert len(first.token) == 32
        assert first.token != second.token
        assert first.address == f"http://{socket.gethostname()}:{first.port}/?token={first.token}"


def test_errors_name_host_and_port(listener: Listener) -> None:
    with pytest.raises(OSError, match="Address already in use") as error:
        listen("127.0.0.1", listener.port)
    assert error.value.filename == f"127.0.0.1 port {listener.port}"
    with pytest.raises(OSError, match=".") as error:
        listen("no such host", 0)
    assert error.value.filename == "no such host port 0"


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[uvicorn.Server]:
    """Collect the running servers, to stop them: a thread gets no Ctrl-C."""
    servers: list[uvicorn.Server] = []
    startup = uvicorn.Server.startup

    async def started(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        await startup(server, sockets)
        servers.append(server)

    monkeypatch.setattr(uvicorn.Server, "startup", started)
    return servers


@pytest.mark.parametrize("host", ["a..b", "h" * 300, "\udcff"])
def test_rejects_invalid_hostnames(host: str) -> None:
    with pytest.raises(UsageError, match="^invalid hostname: "):
        listen(host, 0)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what the server knows of the client."""
    await JSONResponse({"scheme": scope["scheme"], "client": scope["client"][0]})(scope, receive, send)


@contextmanager
def serving(listener: Listener, servers: list[uvicorn.Server], app: ASGIApp = echo) -> Iterator[None]:
    """Serve an app in a thread, which has ended afterwards."""
    thread = threading.Thread(target=serve, args=(listener, app, Worker()))
    thread.start()
    try:
        yield
    finally:
        servers[0].should_exit = True
        thread.join(20)
    assert not thread.is_alive()


def test_serves_until_told_to_exit(listener: Listener, servers: list[uvicorn.Server]) -> None:
    with serving(listener, servers), urllib.request.urlopen(listener.address, timeout=20) as response:
        assert json.load(response) == {"scheme": "http", "client": "127.0.0.1"}
        assert response.headers["server"] is None


def test_small_responses_are_not_held_back(listener: Listener, servers: list[uvicorn.Server]) -> None:
    with serving(listener, servers), socket.create_connection(("127.0.0.1", listener.port), timeout=20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert client.recv(4096)
        [connection] = servers[0].server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_ignores_the_headers_of_proxies(listener: Listener, servers: list[uvicorn.Server]) -> None:
    forwarded = {"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.7"}
    request = urllib.request.Request(listener.address, headers=forwarded)
    with serving(listener, servers), urllib.request.urlopen(request, timeout=20) as response:
        assert json.load(response) == {"scheme": "http", "client": "127.0.0.1"}


def test_shutdown_cancels_running_jobs(
    listener: Listener, servers: list[uvicorn.Server], caplog: pytest.LogCaptureFixture
) -> None:
    model, weights = slow()
    explorer = Explorer(model, 5)
    thread = threading.Thread(target=serve, args=(listener, make_app(explorer, listener.port), explorer.worker))
    thread.start()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{listener.address}api/traces", b'{"ids": [1]}', headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        assert json.loads(response.readline()) == {"layers_done": 1, "layers": 3}
        assert weights.reached.wait(20)
        servers[0].should_exit = True
        while not is_closed(listener):
            time.sleep(0.01)
        weights.go_on.set()
        assert json.loads(response.read()) == {"cancelled": True}
    thread.join(20)
    assert not thread.is_alive()
    assert [record for record in caplog.records if record.levelname not in ("DEBUG", "INFO")] == []


def is_closed(listener: Listener) -> bool:
    return listener.socket.fileno() == -1


def connect(listener: Listener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=20)


def is_disconnected(connection: socket.socket) -> bool:
    """Read to the end; raises TimeoutError if the server keeps the connection open."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


GET = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\n"


@pytest.mark.slow
def test_a_client_that_does_not_read_is_disconnected(
    listener: Listener, servers: list[uvicorn.Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "WRITE_TIMEOUT", 0.1)
    ended = threading.Event()

    async def send_much(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.set()

    with serving(listener, servers, send_much), connect(listener) as connection:
        connection.sendall(GET)
        assert ended.wait(20)


@pytest.mark.slow
@pytest.mark.parametrize("begin", [b"", b"GET / HT", GET[:-2], POST, POST + b"half", GET + b"GET /"])
def test_a_client_that_does_not_finish_its_request_is_disconnected(
    listener: Listener, servers: list[uvicorn.Server], monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 0.1)

    async def read_body(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        await JSONResponse({})(scope, receive, send)

    with serving(listener, servers, read_body), connect(listener) as connection:
        connection.sendall(begin)
        assert is_disconnected(connection)


@pytest.mark.slow
def test_a_complete_request_may_be_computed_for_longer(
    listener: Listener, servers: list[uvicorn.Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 0.05)

    async def compute(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.3)
        await echo(scope, receive, send)

    with serving(listener, servers, compute), urllib.request.urlopen(listener.address, timeout=20) as response:
        assert response.status == 200


HOSTILE = (
    b"\x16\x03\x01\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    GET[:-2] + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n",
    GET[:-2] + b"x: " + b"a" * 100_000 + b"\r\n\r\n",
)


@pytest.mark.parametrize("request_bytes", HOSTILE)
def test_nothing_is_logged_about_invalid_requests(
    listener: Listener, servers: list[uvicorn.Server], caplog: pytest.LogCaptureFixture, request_bytes: bytes
) -> None:
    with serving(listener, servers), connect(listener) as connection:
        connection.sendall(request_bytes)
        assert connection.recv(12).startswith(b"HTTP/1.1 ")
    assert [record for record in caplog.records if record.levelname not in ("DEBUG", "INFO")] == []


async def answer_late(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer when asyncio has tried again to accept the connections that it could not accept when the request came."""
    await asyncio.sleep(2 * ACCEPT_RETRY_DELAY)
    await echo(scope, receive, send)


SERVE_WITH_FEW_DESCRIPTORS = """
import resource, sys
from cutaway.web.server import listen, serve
from cutaway.web.worker import Worker
from tests.web import test_server

resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
listener = listen("127.0.0.1", 0)
print(listener.port, flush=True)
serve(listener, getattr(test_server, sys.argv[1]), Worker())
"""
COMPLAINT = "cutaway: no more connections can be accepted for now: Too many open files\n"


def serve_with_few_descriptors(app: str) -> tuple[subprocess.Popen[str], int]:
    """Start a server of an app of this module in a process; returns it with its port."""
    command = [sys.executable, "-c", SERVE_WITH_FEW_DESCRIPTORS, app]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.mark.slow
def test_a_flood_of_connections_is_told_in_one_line() -> None:
    process, port = serve_with_few_descriptors("echo")
    assert process.stderr is not None
    flood = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(60)]
    told = process.stderr.readline()
    for connection in flood:
        connection.close()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as response:
        assert response.status == 200
    process.terminate()
    _, rest = process.communicate(timeout=30)
    assert told == COMPLAINT
    assert rest == ""


@pytest.mark.slow
def test_a_server_that_exits_soon_after_a_flood_prints_nothing_more() -> None:
    process, port = serve_with_few_descriptors("answer_late")
    with process, socket.create_connection(("127.0.0.1", port), timeout=20) as open_request:
        open_request.sendall(GET)
        flood = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(60)]
        assert process.stderr is not None
        assert process.stderr.readline() == COMPLAINT
        process.terminate()
        assert process.communicate(timeout=30) == ("", "")
        for connection in flood:
            connection.close()
