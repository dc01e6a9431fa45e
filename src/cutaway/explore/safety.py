"""Who may ask, and what a browser may do with the answer.

Any page that a browser has open can send requests to this machine, and can have a name of its own point here (DNS
rebinding). So by default only requests to this machine's own names are answered; where others can reach the server,
only those who have the token. A page of another origin can neither post nor read.
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


OWN_NUMBERS = ("127.0.0.1", "::1")  # where others cannot listen in; at any other number a token is needed


def own_hosts(port: int) -> frozenset[str]:
    """What a browser on this machine may call a server on that port."""
    names = ("localhost", "127.0.0.1", "[::1]")
    return frozenset([f"{name}:{port}" for name in names] + (list(names) if port == 80 else []))


class Guard:
    """The app behind it gets only what may pass, and every answer gets the headers.

    Without a token the Host must be one of this machine's own names, with one everybody needs the token: once in the
    address, from then on as a cookie that no other site's page makes a browser send.
    """

    def __init__(self, app: ASGIApp, port: int, token: str | None) -> None:
        self._app, self._hosts, self._token = app, own_hosts(port), token
        self._cookie = f"cutaway-{port}"  # browsers do not keep the cookies of two ports apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)  # starting and stopping; there are no web sockets
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_RAW_HEADERS]}
            await send(message)

        answer = self._answer(Request(scope)) or self._app
        await answer(scope, receive, send_with_headers)

    def _answer(self, request: Request) -> Response | None:
        """What stands in the way of a request, or None."""
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or (self._token is None and hosts[0].lower() not in self._hosts):
            return _refused("the Host of the request is none of this server's names")
        if request.method not in ("GET", "HEAD") and not _same_origin(request, hosts[0]):
            return _refused("the request comes from a page of another origin")
        return self._without_token(request) if self._token else None

    def _without_token(self, request: Request) -> Response | None:
        """The way in for who brings the token, the way out for who has none, None for who has been let in."""
        assert self._token is not None
        if _equal(request.cookies.get(self._cookie), self._token):
            return None
        if request.scope["path"] == "/" and _equal(request.query_params.get("token"), self._token):
            entrance = RedirectResponse("/", 303)  # so that the token does not stay in the address
            entrance.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return entrance
        return _refused("open the address with the token that the terminal shows")


def _same_origin(request: Request, host: str) -> bool:
    """Whether a request comes from our own page, or from no page at all: browsers name the origin of every post."""
    origins = request.headers.getlist("origin")
    return origins in ([], [f"http://{host}"], [f"https://{host}"])


def _equal(given: str | None, token: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(), token.encode())


def _refused(reason: str) -> Response:
    return JSONResponse({"error": reason}, 403)


async def read_object(request: Request) -> dict[str, object]:
    """The JSON object in a request's body; raises HTTPException or UsageError where there is none, or too large a one.

    Only `application/json` is taken: a page of another origin cannot send it without asking first, and is refused.
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
