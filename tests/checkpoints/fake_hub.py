"""A hub on 127.0.0.1 with the interface and the layout of the published GPT-2s, for `huggingface_hub` to ask."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "607a30d783dfa663caf39e06633721c8d4cfccd7"
LARGE = (
    ".safetensors",
    ".bin",
    ".h5",
    ".msgpack",
    ".ot",
    ".tflite",
    ".onnx",
)  # kept beside the repository, as by Git LFS

Files = dict[str, bytes]


class FakeHub(ThreadingHTTPServer):
    """Serves repositories by name; of one that is `gated` everyone sees the list of files, and nobody the files."""

    daemon_threads = True

    def __init__(self, repositories: dict[str, Files], gated: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = repositories
        self.gated = gated
        self.asked: list[str] = []  # "HEAD /path" or "GET /path"
        self.large = {sha256(data): data for files in repositories.values() for data in files.values()}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def delivered(self) -> set[str]:
        """Names of the files whose contents were sent."""
        names = {sha256(data): name for files in self.repositories.values() for name, data in files.items()}
        paths = [request.removeprefix("GET ") for request in self.asked if request.startswith("GET ")]
        small = {path.partition(f"/resolve/{COMMIT}/")[2] for path in paths if "/resolve/" in path}
        return {name for name in small if not name.endswith(LARGE)} | {
            names[path.removeprefix("/large/")] for path in paths if path.startswith("/large/")
        }


class Handler(BaseHTTPRequestHandler):
    """The few routes that fetching a model takes."""

    protocol_version = "HTTP/1.1"
    server: FakeHub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        if path.startswith("/large/"):
            self._send_part(self.server.large[path.removeprefix("/large/")])
        elif path.startswith("/api/models/"):
            repository, _, rest = path.removeprefix("/api/models/").partition("/revision/")
            repository, _, rest = repository.partition("/tree/") if not rest else (repository, "", "")
            self._send_description(repository, listed=bool(rest))
        else:
            repository, _, rest = path[1:].partition("/resolve/")
            self._send_file(repository, rest.partition("/")[2])

    do_HEAD = do_GET

    def _send_description(self, repository: str, *, listed: bool) -> None:
        files = self.server.repositories.get(repository)
        if files is None:
            self._refuse(401, "RepoNotFound", "Repository not found")
        elif listed:
            self._send(200, json.dumps([_description(name, data) for name, data in files.items()]).encode())
        else:
            siblings = [{"rfilename": name} for name in files]
            self._send(200, json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode())

    def _send_file(self, repository: str, name: str) -> None:
        data = self.server.repositories.get(repository, {}).get(name)
        if repository == self.server.gated:
            self._refuse(403, "GatedRepo", "Access to this model is restricted")
        elif data is None:
            self._refuse(404, "EntryNotFound", "Entry not found")
        elif name.endswith(LARGE):
            linked = {"X-Linked-ETag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data))}
            elsewhere = (
                f"http://localhost:{self.server.server_port}/large/{sha256(data)}"  # another host, as on the hub
            )
            self._send(302, b"", **linked, **{"X-Repo-Commit": COMMIT, "Location": elsewhere})
        else:
            self._send(200, data, **{"X-Repo-Commit": COMMIT, "ETag": f'"{sha1(data)}"'})

    def _send_part(self, data: bytes) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        span = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        self._send(206 if start else 200, data[start:], ETag=f'"{sha256(data)}"', **span)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, b"", **{"X-Error-Code": code, "X-Error-Message": message})

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server gives it
        pass


def _description(name: str, data: bytes) -> dict[str, object]:
    description: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": sha1(data)}
    if name.endswith(LARGE):
        description["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
    return description


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def fake_hub(repositories: dict[str, Files], gated: str = "") -> Iterator[FakeHub]:
    """A running hub, stopped at the end of the block."""
    hub = FakeHub(repositories, gated)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
