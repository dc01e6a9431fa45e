"""Access control for a server on a personal machine, and the security headers of its responses.

Any page that is open in a browser can send requests to this machine, and can point a hostname of its own at it (DNS
rebinding). So by default only requests for this machine's own hostnames are accepted; where other machines can reach
the server, a token is required. Pages of another origin can neither post nor read, nor keep the server busy; they can
only link to the page.
"""

import hmac
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cutaway.errors import CheckpointError, UsageError
from cutaway.untrusted import MAX_JSON_BYTES, parse_object

HEADERS = {
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self'; img-src 'self' data: blob:; style-src 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")  # unreachable from other machines; any other address requires a token


def loopback_hosts(port: int) -> frozenset[str]:
    """Return the `Host` headers with which a browser on this machine reaches a server on that port.

    >>> sorted(loopback_hosts(8477))
    ['127.0.0.1:8477', '[::1]:8477', 'localhost:8477']
    """
    names = ("localhost", "127.0.0.1", "[::1]")
    return frozenset([f"{name}:{port}" for name in names] + (list(names) if port == 80 else []))


class Guard:
    """ASGI middleware that rejects requests from elsewhere with 403, and adds `HEADERS` to every response; a response's
    own `cache-control` stays.

    Without a token, `Host` must be one of `loopback_hosts`. With one, every request needs it: first in the address
    (`/?token=…`), then in a cookie that browsers do not send for pages of other sites.
    """

    def __init__(self, app: ASGIApp, port: int, token: str | None) -> None:
        self._app = app
        self._hosts = loopback_hosts(port)
        self._token = token
        self._cookie = f"cutaway-{port}"  # browsers share the cookies of all ports of a host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)  # lifespan; there are no web sockets
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name: value for name, value in message.get("headers", ()) if name == b"cache-control"}
                headers = [(name, value) for name, value in _RAW_HEADERS if name not in own]
                message = {**message, "headers": [*message.get("headers", ()), *headers]}
            await send(message)

        responder = self._intercept(Request(scope)) or self._app
        await responder(scope, receive, send_with_headers)

    def _intercept(self, request: Request) -> Response | None:
        """Return the response to a request that must not reach the app, else None."""
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or (self._token is None and hosts[0].lower() not in self._hosts):
            return _forbidden("the Host header is not one of this server's hostnames")
        if not _is_same_origin(request, hosts[0]) or _is_embedded_elsewhere(request):
            return _forbidden("the request comes from a page of another origin")
        return self._authenticate(request) if self._token else None

    def _authenticate(self, request: Request) -> Response | None:
        """Set the cookie if the token matches, else 403; None if already authenticated."""
        assert self._token is not None
        if _matches(request.cookies.get(self._cookie), self._token):
            return None
        if request.scope["path"] == "/" and _matches(request.query_params.get("token"), self._token):
            redirect = RedirectResponse("/", 303)  # so that the token does not stay in the address bar
            redirect.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return redirect
        return _forbidden("open the address with the token that the terminal shows")


def _is_same_origin(request: Request, host: str) -> bool:
    """Accept our own origin, or none: browsers send `Origin` with every POST; other clients may not."""
    origins = request.headers.getlist("origin")
    return origins in ([], [f"http://{host}"], [f"https://{host}"])


def _is_embedded_elsewhere(request: Request) -> bool:
    """Recognise requests of pages of another origin: what they load (an image, say) or open, except the page itself.

    Browsers send `Sec-Fetch-Site` with every request to this machine, even without `Origin`. Other clients may not.
    """
    headers = request.headers
    if all(site in ("same-origin", "none") for site in headers.getlist("sec-fetch-site")):
        return False
    opened = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    return not (opened and request.method == "GET" and request.scope["path"] == "/")


def _matches(given: str | None, token: str) -> bool:
    """Compare in constant time."""
    return given is not None and hmac.compare_digest(given.encode(), token.encode())


def _forbidden(reason: str) -> Response:
    return JSONResponse({"error": reason}, 403)


async def read_object(request: Request) -> dict[str, object]:
    """Read the JSON object in a request's body; an empty body is an empty object.

    Only `application/json` is accepted: a page of another origin cannot send it without a preflight, which fails.
    Raises HTTPException (413, 415) for a body that is too large or of another type, UsageError for invalid JSON.

    >>> import asyncio
    >>> async def receive() -> Message:
    ...     return {"type": "http.request", "body": b'{"text": "A robot"}'}
    >>> headers = [(b"content-type", b"application/json")]
    >>> asyncio.run(read_object(Request({"type": "http", "headers": headers}, receive)))
    {'text': 'A robot'}
    """
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "the body must be application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise HTTPException(413, f"the body is larger than {MAX_JSON_BYTES} bytes")
    try:
        return parse_object(bytes(body) or b"{}", Path("request"), "its body")
    except CheckpointError as error:
        raise UsageError(str(error)) from None
