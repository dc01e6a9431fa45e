"""The page's static files, served unbundled from the package."""

import hashlib
import json
from collections.abc import Collection, Mapping
from functools import cache, lru_cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

import cutaway.figures
from cutaway.explore.modules import ENTRY, module_texts
from cutaway.web.responses import json_content
from cutaway.web.worker import Document

PAGE = Path(__file__).parent / "page"
COLOURS = Path(cutaway.figures.__file__).parent / "colours.json"  # shared with the figures
INDEX = "index.html"
WORDS = "words.json"  # generated from the files in i18n/

# What main.js and transport.js request as soon as the modules are loaded.
FIRST_REQUESTS = (f"page/{WORDS}", f"page/{COLOURS.name}", "api/model")

# Fixed here because the type that systems give ".js" varies, and browsers reject modules of type text/plain.
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


@cache  # a page requests some 80 of them, and walking through the folders takes longer than sending one
def assets() -> Mapping[str, Path]:
    """List the served files, by their path in the page's folder (cached); all others are 404.

    >>> assets()["index.html"].name
    'index.html'
    """
    files = {path.relative_to(PAGE).as_posix(): path for path in PAGE.rglob("*") if path.suffix in MEDIA_TYPES}
    return files | {COLOURS.name: COLOURS}


def text_of(name: str) -> str:
    """Read a file that is served.

    >>> text_of("index.html")[:15]
    '<!doctype html>'
    """
    return assets()[name].read_text(encoding="utf-8")


def words_document(rooms: Collection[str] = ()) -> Document:
    """Return the page's texts by name, from some files in i18n/ or from all.

    >>> words_document(["article"])["article.title"]["en"]
    'The article'
    """
    names = [name for name in assets() if name.startswith("i18n/") and (not rooms or Path(name).stem in rooms)]
    return {name: text for file in sorted(names) for name, text in json.loads(text_of(file)).items()}


def version() -> str:
    """Return the version of the page's files, which changes if any of them changes.

    >>> version() == version()
    True
    """
    return _digest(tuple(path.stat().st_mtime_ns for path in assets().values()))


@lru_cache(maxsize=1)  # called for each file; modification times tell if one has changed
def _digest(_times: Collection[int]) -> str:
    texts = {name: text_of(name) for name in assets()}
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def index_page() -> str:
    """Return the page with links that preload all its modules and its first requests.

    Without the links, a browser finds the modules level by level, each after those that import it. The addresses of
    files contain their version, so a browser requests each file once, and all files again after an upgrade.

    >>> "/lib/cells.js" in index_page()
    True
    """
    folder = f"page-{version()}"
    links = [f'<link rel="modulepreload" href="{folder}/{name}">' for name in module_texts(text_of)]
    requests = [f'<link rel="preload" as="fetch" crossorigin href="{path}">' for path in FIRST_REQUESTS]
    script = f'<script type="module" src="{folder}/{ENTRY}">'
    text = text_of(INDEX).replace('"page/', f'"{folder}/')
    return text.replace(script, "\n    ".join([*links, *requests, script]))


async def asset(request: Request) -> Response:
    """Serve a file with an ETag, which browsers revalidate on each load, so that an upgrade takes effect at once. A
    file whose address contains the version is cached for good.
    """
    name = request.path_params.get("path", INDEX)
    body = _body(name)
    headers = {"etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}
    if request.path_params.get("version") == version():
        headers["cache-control"] = "private, max-age=31536000, immutable"
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=MEDIA_TYPES[Path(name).suffix], headers=headers)


def _body(name: str) -> bytes:
    if name == INDEX:
        return index_page().encode()
    if name == WORDS:
        return json_content(words_document()).body
    path = assets().get(name)
    if path is None:
        raise HTTPException(404)
    return path.read_bytes()
