import json
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest
import uvicorn

from cutaway.errors import UsageError
from cutaway.explore.app import Explorer
from cutaway.explore.server import Listener, listen, serve
from tests.explore.served import mute, slow


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = listen("127.0.0.1", 0)
    yield listener
    listener.socket.close()


@pytest.mark.parametrize(
    ("host", "start"), [("127.0.0.1", "http://127.0.0.1:"), ("localhost", "http://"), ("::1", "http://[::1]:")]
)
def test_this_machine_needs_no_token(host: str, start: str) -> None:
    try:
        listener = listen(host, 0)
    except OSError:
        pytest.skip(f"there is no {host} here")
    with listener.socket:
        assert listener.token is None
        assert listener.address.startswith(start)
        assert listener.address.endswith(f":{listener.port}/")


def test_others_need_the_token_in_the_address() -> None:
    first, second = listen("0.0.0.0", 0), listen("0.0.0.0", 0)
    with first.socket, second.socket:
        assert first.token
        assert len(first.token) == 32
        assert first.token != second.token
        assert first.address == f"http://{socket.gethostname()}:{first.port}/?token={first.token}"


def test_a_port_that_is_taken_is_named(listener: Listener) -> None:
    with pytest.raises(OSError, match="Address already in use") as error:
        listen("127.0.0.1", listener.port)
    assert error.value.filename == f"127.0.0.1 port {listener.port}"
    with pytest.raises(OSError, match=".") as error:
        listen("no such host", 0)
    assert error.value.filename == "no such host port 0"


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[uvicorn.Server]:
    """The servers that run, to be told to end: in a thread there is no Ctrl-C."""
    servers: list[uvicorn.Server] = []
    startup = uvicorn.Server.startup

    async def started(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        await startup(server, sockets)
        servers.append(server)

    monkeypatch.setattr(uvicorn.Server, "startup", started)
    return servers


@pytest.mark.parametrize("host", ["a..b", "h" * 300, "\udcff"])
def test_what_is_no_host_is_one_line(host: str) -> None:
    with pytest.raises(UsageError, match="is no name of a host$"):
        listen(host, 0)


def test_serves_until_it_is_told_to_end(listener: Listener, servers: list[uvicorn.Server]) -> None:
    thread = threading.Thread(target=serve, args=(listener, Explorer(mute(), 5)))
    thread.start()
    with urllib.request.urlopen(f"{listener.address}api/model", timeout=20) as response:
        assert json.load(response)["checkpoint"] == {"name": "mute", "bytes": 5}
        assert response.headers["server"] is None
    servers[0].should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def test_what_is_being_read_at_the_end_is_not_read_to_the_end(
    listener: Listener, servers: list[uvicorn.Server], caplog: pytest.LogCaptureFixture
) -> None:
    model, weights = slow()
    thread = threading.Thread(target=serve, args=(listener, Explorer(model, 5)))
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
