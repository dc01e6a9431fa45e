"""The page's own files, as they are in the package: nothing is built, nothing is fetched from elsewhere."""

import hashlib
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

import cutaway.figures

PAGE = Path(__file__).parent / "page"
COLOURS = Path(cutaway.figures.__file__).parent / "colours.json"  # the page draws in the figures' colours

# Written down here, because what the system says of ".js" differs, and a browser runs no module that is called text.
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


def assets() -> dict[str, Path]:
    """Every file that can be asked for, by its path in the page's folder. What is not listed is not there."""
    files = {path.relative_to(PAGE).as_posix(): path for path in PAGE.rglob("*") if path.suffix in MEDIA_TYPES}
    return files | {COLOURS.name: COLOURS}


async def asset(request: Request) -> Response:
    """One of the files. A browser asks each time whether its copy is still good, so an upgrade shows at once."""
    path = assets().get(request.path_params.get("path", "index.html"))
    if path is None:
        raise HTTPException(404)
    body = path.read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"etag": tag})
    return Response(body, media_type=MEDIA_TYPES[path.suffix], headers={"etag": tag})
