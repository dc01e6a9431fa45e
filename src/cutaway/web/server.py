"""The server process: the listening socket, its address, and uvicorn until Ctrl-C."""

import ipaddress
import secrets
import socket
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from cutaway.checks import show
from cutaway.errors import UsageError
from cutaway.web.security import LOOPBACK_ADDRESSES
from cutaway.web.worker import Worker


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
    """Return the part of an address that names the host: brackets around IPv6, our hostname for "all interfaces"."""
    address = ipaddress.ip_address(number)
    if address.is_unspecified:
        return socket.gethostname()
    return f"[{number}]" if address.version == 6 else number


def serve(listener: Listener, app: ASGIApp, worker: Worker) -> None:
    """Serve until Ctrl-C, which is raised as KeyboardInterrupt; only errors are logged, to standard error."""
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing is known of a proxy, so X-Forwarded-* headers are any client's to write
        lifespan="off",
        timeout_graceful_shutdown=10,
    )
    _Server(config, worker).run(sockets=[listener.socket])


class _Server(uvicorn.Server):
    """A server that cancels running jobs before it waits for open responses."""

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self._worker = worker

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._worker.close()
        await super().shutdown(sockets)
