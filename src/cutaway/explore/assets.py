"""The page's static files, served unbundled from the package."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

import cutaway.figures

PAGE = Path(__file__).parent / "page"
COLOURS = Path(cutaway.figures.__file__).parent / "colours.json"  # shared with the figures

# Fixed here because the system's type for ".js" varies, and browsers reject modules of type text/plain.
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


@cache  # a page asks for some 80 of them, and to walk through the folders takes longer than to send one
def assets() -> Mapping[str, Path]:
    """List the files that are served, by their path in the page's folder (cached); all others are 404.

    >>> assets()["index.html"].name
    'index.html'
    """
    files = {path.relative_to(PAGE).as_posix(): path for path in PAGE.rglob("*") if path.suffix in MEDIA_TYPES}
    return files | {COLOURS.name: COLOURS}


async def asset(request: Request) -> Response:
    """Serve a file with an ETag, which browsers revalidate on each load, so that an upgrade shows at once."""
    path = assets().get(request.path_params.get("path", "index.html"))
    if path is None:
        raise HTTPException(404)
    body = path.read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"etag": tag})
    return Response(body, media_type=MEDIA_TYPES[path.suffix], headers={"etag": tag})
