"""The server as a process: where it listens, under which address, until Ctrl-C."""

import ipaddress
import secrets
import socket
from dataclasses import dataclass

import uvicorn

from cutaway.errors import UsageError
from cutaway.explore.app import Explorer, make_app
from cutaway.explore.safety import OWN_NUMBERS


@dataclass(frozen=True)
class Listener:
    """A socket that listens, its address for a browser, and the token where others than this machine reach it."""

    socket: socket.socket
    address: str
    port: int
    token: str | None


def listen(host: str, port: int) -> Listener:
    """Listen at a host and port, of which 0 is any that is free; raises OSError, naming both, where that cannot be, and
    UsageError for what is no host.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(place[:2], family=family)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{host} port {port}") from None
    except UnicodeError:
        raise UsageError(f"{host!r:.60} is no name of a host") from None
    number, port = listening.getsockname()[:2]
    address = ipaddress.ip_address(number)
    token = None if number in OWN_NUMBERS else secrets.token_urlsafe(24)
    name = socket.gethostname() if address.is_unspecified else f"[{number}]" if address.version == 6 else number
    return Listener(listening, f"http://{name}:{port}/{f'?token={token}' if token else ''}", port, token)


def serve(listener: Listener, explorer: Explorer) -> None:
    """Answer until Ctrl-C, which is raised as KeyboardInterrupt; only what goes wrong is told, on standard error."""
    config = uvicorn.Config(
        make_app(explorer, listener.port, listener.token),
        loop="asyncio",
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        timeout_graceful_shutdown=10,
    )
    _Server(config, explorer).run(sockets=[listener.socket])


class _Server(uvicorn.Server):
    """A server that ends what is being computed before it waits for the answers that are under way."""

    def __init__(self, config: uvicorn.Config, explorer: Explorer) -> None:
        super().__init__(config)
        self._explorer = explorer

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._explorer.worker.close()
        await super().shutdown(sockets)
