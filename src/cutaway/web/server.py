"""The server process: the listening socket, its address, and uvicorn until Ctrl-C."""

import asyncio
import errno
import ipaddress
import secrets
import socket
import time
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from cutaway.checks import show
from cutaway.errors import UsageError, complain
from cutaway.web.security import LOOPBACK_ADDRESSES
from cutaway.web.worker import Worker

REQUEST_TIMEOUT = 60.0  # seconds that a client may take to send a request, header and body
WRITE_TIMEOUT = 30.0  # seconds that a client may take to read what is in its connection's buffer
_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
QUIET = 60.0  # seconds in which a message is not repeated


@dataclass(frozen=True)
class Listener:
    """A listening socket, its address for a browser, and the token if other machines can reach it."""

    socket: socket.socket
    address: str
    port: int
    token: str | None


def listen(host: str, port: int) -> Listener:
    """Listen at a host and port; port 0 picks a free one.

    Raises UsageError for an invalid hostname, OSError naming host and port if the address is unavailable.

    >>> with listen("127.0.0.1", 0).socket as listening:
    ...     listening.getsockname()[0]
    '127.0.0.1'
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{host} port {port}") from None
    except UnicodeError:
        raise UsageError(f"invalid hostname: {show(host)}") from None
    number, port = listening.getsockname()[:2]
    token = None if number in LOOPBACK_ADDRESSES else secrets.token_urlsafe(24)
    query = f"?token={token}" if token else ""
    return Listener(listening, f"http://{_display_host(number)}:{port}/{query}", port, token)


def _display_host(number: str) -> str:
    """Return the host part of an address: brackets around IPv6, our hostname for "all interfaces"."""
    address = ipaddress.ip_address(number)
    if address.is_unspecified:
        return socket.gethostname()
    return f"[{number}]" if address.version == 6 else number


def serve(listener: Listener, app: ASGIApp, worker: Worker) -> None:
    """Serve until Ctrl-C, which is raised as KeyboardInterrupt; only errors are logged, to standard error.

    A client that sends its request or reads its response too slowly is disconnected.
    """
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=_Connection,
        ws="none",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # no proxy is known, so any client may write X-Forwarded-* headers
        lifespan="off",
        timeout_graceful_shutdown=10,
    )
    _Server(config, worker).run(sockets=[listener.socket])


class _Connection(H11Protocol):
    """A connection with timeouts for the client's part: its request, and reading the response."""

    _request_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in H11Protocol
        super().connection_made(transport)
        # A response is two writes, and Nagle's algorithm would hold back the second until the client has acknowledged
        # the first, 40 ms later. asyncio disables it only for sockets that name their protocol, which these do not.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request_timer = self.loop.call_later(REQUEST_TIMEOUT, transport.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete:
            self._stop_request_timer()  # the request is complete
        elif self._request_timer is None:
            self._request_timer = self.loop.call_later(REQUEST_TIMEOUT, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_TIMEOUT, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_request_timer()
        if self._write_timer is not None:
            self._write_timer.cancel()
        super().connection_lost(exc)

    def _stop_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None


class _Server(uvicorn.Server):
    """A server that cancels running jobs before it waits for open responses."""

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self._worker = worker
        self._complained = -QUIET

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._handle_exception)
        await super().startup(sockets)

    def _handle_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log in one line, and not each time, that the system has no resources for a connection.

        asyncio tries again to accept it after a second, even if the server has closed its sockets in the meantime.
        """
        error = context.get("exception")
        if self.should_exit and "_start_serving" in context["message"]:
            return
        if not isinstance(error, OSError) or error.errno not in _NO_RESOURCES or "socket" not in context:
            loop.default_exception_handler(context)
        elif time.monotonic() >= self._complained + QUIET:
            self._complained = time.monotonic()
            complain(f"no more connections can be accepted for now: {error.strerror}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._worker.close()
        await super().shutdown(sockets)
