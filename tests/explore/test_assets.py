import json
import mimetypes
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cutaway.explore import assets
from cutaway.figures.colours import colours
from tests.explore.served import client_of, mute

FILES = {path.relative_to(assets.PAGE).as_posix() for path in assets.PAGE.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def client() -> TestClient:
    return client_of(mute())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A page of two files, with a file beside the page's folder."""
    (tmp_path / "secret.json").write_text("{}")
    page = tmp_path / "page"
    (page / "lib").mkdir(parents=True)
    (page / "index.html").write_text('<!doctype html><script type="module" src="page/main.js">')
    (page / "main.js").write_text("1")
    (page / "lib" / "cells.js").write_text("1")
    (page / "notes.txt").write_text("not of the page")
    monkeypatch.setattr(assets, "PAGE", page)
    assets.assets.cache_clear()
    yield page
    assets.assets.cache_clear()


def test_every_file_of_the_page_has_its_media_type(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mimetypes, "guess_type", None)  # what the system believes does not matter
    for name in FILES - {"index.html"}:
        response = client.get(f"/page/{name}")
        assert response.status_code == 200, name
        assert response.content == (assets.PAGE / name).read_bytes()
        assert response.headers["content-type"] == assets.MEDIA_TYPES[Path(name).suffix]


def test_scripts_have_the_media_type_that_browsers_require(client: TestClient) -> None:
    kinds = {client.get(f"/page/{name}").headers["content-type"] for name in FILES if name.endswith(".js")}
    assert kinds == {"text/javascript; charset=utf-8"}


def test_the_root_is_the_page(client: TestClient) -> None:
    response = client.get("/")
    links = re.findall(r' *<link rel="(?:modulepreload|preload)".*\n', response.text)
    written = (assets.PAGE / "index.html").read_text(encoding="utf-8")
    text = re.sub(r"<link rel=.(?:modulepreload|preload).*\n *", "", response.text)
    assert text.replace(f"page-{assets.version()}/", "page/") == written
    assert len(links) > len(assets.FIRST_REQUESTS)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert client.get("/page/index.html").content == response.content


def test_the_root_loads_every_module_that_the_page_imports(client: TestClient) -> None:
    loaded = re.findall(r'<link rel="modulepreload" href="page-\w+/([^"]+)">', client.get("/").text)
    wanted = {name for name in FILES if name.endswith(".js")} - {"unpack.js"}  # a script of exported files
    assert sorted(loaded) == sorted(wanted)


def test_the_root_asks_at_once_for_what_the_page_begins_with(client: TestClient) -> None:
    asked = re.findall(r'<link rel="preload" as="fetch" crossorigin href="([^"]+)">', client.get("/").text)
    assert asked == list(assets.FIRST_REQUESTS)
    for path in asked:
        assert client.get(f"/{path}").status_code == 200


def test_the_words_are_those_of_all_views(client: TestClient) -> None:
    files = [json.loads(path.read_text(encoding="utf-8")) for path in (assets.PAGE / "i18n").glob("*.json")]
    words = client.get("/page/words.json").json()
    assert words == {name: text for file in files for name, text in file.items()}
    assert len(words) == sum(map(len, files))  # each is in one file
    response = client.get("/page/words.json")
    assert client.get("/page/words.json", headers={"if-none-match": response.headers["etag"]}).status_code == 304


def test_the_colours_are_the_figures(client: TestClient) -> None:
    assert json.loads(client.get("/page/colours.json").content) == colours()


def test_etags_revalidate(client: TestClient, folder: Path) -> None:
    first = client.get("/page/lib/cells.js")
    assert first.headers["cache-control"] == "no-cache"
    tag = {"if-none-match": first.headers["etag"]}
    again = client.get("/page/lib/cells.js", headers=tag)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert "content-security-policy" in again.headers
    (folder / "lib" / "cells.js").write_text("2")
    assert client.get("/page/lib/cells.js", headers=tag).content == b"2"


def test_modules_are_asked_for_once_a_version(client: TestClient, folder: Path) -> None:
    (script,) = re.findall(r'src="(page-\w+/main.js)"', client.get("/").text)
    kept = client.get(f"/{script}").headers["cache-control"]
    assert "immutable" in kept
    assert "no-cache" not in kept
    (folder / "main.js").write_text("2")
    assert client.get(f"/{script}").headers["cache-control"] == "no-cache"  # what is kept is never of another version
    assert script not in client.get("/").text


@pytest.mark.parametrize(
    "path",
    [
        *("../secret.json", "..%2fsecret.json", "%2e%2e/secret.json", "lib/../../secret.json", "..\\secret.json"),
        *("lib/..%2f..%2fsecret.json", "/etc/passwd", "%2fetc%2fpasswd", "lib/cells.js%00", "lib", "lib/", ""),
        *("lib/./cells.js", "lib//cells.js", "notes.txt", "index.html/", "../page/index.html", "x" * 5000),
    ],
)
def test_other_paths_are_not_served(client: TestClient, folder: Path, path: str) -> None:
    response = client.get(f"http://127.0.0.1:8477/page/{path}")
    assert response.status_code in (403, 404) or response.content[:15] in (b"<!doctype html>", b"1")
    assert response.content != b"{}"
    assert response.content != b"not of the page"
