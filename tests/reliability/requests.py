"""Hostile requests to a running explorer: none gets a 5xx, none from elsewhere an answer, and it goes on as before.

A request follows from its number: half are written by hand and then broken, byte by byte, half ask real addresses for
unreal things. After every hundred a canary asks for the model, a trace and tensors, whose bytes must be what they were.
"""

import json
import os
import random
import secrets
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from cutaway.checkpoints import save_checkpoint
from cutaway.tokenizer.fast import Tokenizer
from tests.reliability.harness import Result, scratch
from tests.reliability.process import VARIABLES, cutaway
from tests.tiny import tiny_weights

CANARY_EVERY = 100
TIMEOUT = 60.0
PATIENCE = 0.1  # seconds to wait for a response to what may be half a request
GROWTH = 300 << 20  # bytes of memory that the server may have more at the end

NUMBERS = ("0", "1", "-1", "2", "1e3", "0x7", "٣", "1_0", "9" * 18, "9" * 5000, "-0", "NaN", "inf", "", " ", "null")
TEXTS = ("", "A", "logits", "attn.0[0]", "\0", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"))
SLICES = (
    *("attn.0[0,:,:]", "attn.9[0]", "logits[-1]", "q.0[:99999999999]", "q.0[::0]", "q.0[" + "0," * 400 + "0]", "[0]"),
    *("h.0.attn.c_attn.weight", "wte.weight[:]", "wte.weight", "../q", "attn.0[1:0]", "resid.pre.0[:,:]"),
)
SOUND = {
    "sel": ("logits[-1]", "attn.0[0,:,:]", "q.1[:,-1]", "resid.pre.0", "h.0.mlp.c_fc.weight[0]", "wte.weight[3:9:2,0]"),
    "enc": ("f32", "u8", "f16"),
    "format": ("json", "svg", "text"),
    "language": ("en", "zh"),
    "keys": ("0", "0,1"),
    "text": ("A robot", " café", "机器人", "<|endoftext|>"),
}
UNSOUND = (*NUMBERS, *TEXTS, *SLICES)
PARAMETERS = {  # of each address
    "/api/model": (),
    "/api/figures": (),
    "/api/parameters": (),
    "/api/tokens": ("text",),
    "/api/nearest": ("token", "k"),
    "/api/traces/{trace}/tensors": ("sel", "sel", "enc"),
    "/api/traces/{trace}/figures/{figure}": ("format", "language", "layer", "head", "position"),
    "/api/traces/{trace}/heads": ("layer", "size", "without_first"),
    "/api/traces/{trace}/search": ("query", "keys"),
    "/api/traces/{trace}/logit_lens": ("position", "k", "count"),
    "/api/traces/{trace}/divergence": ("with", "position", "other_position"),
    "/api/traces/{trace}/units": ("layer", "k", "units"),
    "/api/traces/{trace}/direct_logit_attribution": ("position", "token"),
    "/api/traces/{trace}/surprisal": (),
}
PATHS = (
    *("/", "/page/main.js", "/page/../../../../etc/passwd", "/page/%2e%2e/%2e%2e/secret.txt", "/page/..%5csecret.txt"),
    *("/page//etc/passwd", "/page/%00", "/page/main.js%00.html", "//evil.example/", "http://evil.example/", "/api"),
    *("/secret.txt", "/page/secret.txt", "/" + "a" * 9000, "/api/traces/../model", "/api/model;x", "/%", "/%zz", "*"),
)
HEADERS = (
    *("Content-Length: 0", "Content-Length: -1", "Content-Length: 5\r\nContent-Length: 6", ": empty", "no colon"),
    *("Transfer-Encoding: gzip, chunked", "Content-Type: text/plain", "Content-Type: application/json; charset=utf-7"),
    *("Range: bytes=0-1,2-3,4-5", "Expect: 100-continue", "Upgrade: websocket", "X: " + "y" * 70_000, "X\0: y"),
    *("If-None-Match: *", "Cookie: cutaway-1=x", "Accept-Encoding: gzip;q=0", "Transfer-Encoding: chunked"),
)
FOREIGN = (
    *(
        "Host: evil.example",
        "Host: 127.0.0.1.evil.example",
        "Host: localhost",
        "Host: 127.0.0.1:1",
        "Host: [::1",
        "Host:",
    ),
    *(
        "Origin: http://evil.example",
        "Origin: null",
        "Origin: http://localhost.evil.example",
        "Sec-Fetch-Site: cross-site",
    ),
    "Sec-Fetch-Site: same-site",
)


@dataclass(frozen=True)
class Hostile:
    """The bytes of a request. One from elsewhere (`is_foreign`) must be refused."""

    data: bytes
    is_foreign: bool = False
    is_whole: bool = True


class Server:
    """A running `cutaway explore`."""

    def __init__(self, model: Path, place: Path) -> None:
        self.log = place / "log.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                cutaway("explore", "--model", str(model), "--port", "0", "--json", "--threads", "1"),
                cwd=place,
                env=os.environ | VARIABLES,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        address = json.loads(self.process.stdout.readline())["address"]
        self.port = urlsplit(address).port or 80
        self.host = f"127.0.0.1:{self.port}"

    def ask(self, data: bytes, patience: float = TIMEOUT) -> bytes:
        """Send bytes and return all that comes; hang up if nothing does for `patience` seconds."""
        with socket.create_connection(("127.0.0.1", self.port), patience) as connection:
            found = bytearray()
            try:
                connection.sendall(data)
                while part := connection.recv(1 << 16):
                    found += part
            except (ConnectionResetError, BrokenPipeError, TimeoutError):
                pass  # the server would read no more, or waits for the rest of the request
            return bytes(found)

    def fetch(self, path: str, document: object = None) -> bytes:
        """Return the body of the response to a GET, or to a POST of a JSON document."""
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"http://{self.host}{path}", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            found: bytes = response.read()
            return found

    def memory(self) -> int:
        """Return the bytes that the process holds."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """Return the number of its open files and connections."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


def hostile_requests(trials: int, seed: int = 6) -> Result:
    """Send requests, one after the other, each on a connection of its own."""
    result = Result()
    with _serving() as (server, secret):
        canary = _canary(server)
        trace = canary[1].decode()
        memory = server.memory()
        descriptors = server.descriptors()
        for number in range(trials):
            request = _hostile(random.Random(f"{seed} {number}"), server.host, trace)
            response = server.ask(request.data, TIMEOUT if request.is_whole else PATIENCE)
            problems = _problems(request, response, secret)
            if (number + 1) % CANARY_EVERY == 0 and _canary(server) != canary:
                problems.append("the canary's answers have changed")
            if server.process.poll() is not None:
                problems.append(f"the server ended: {server.log.read_text()[-300:]}")
            result.add(f"request {number} of seed {seed}: {request.data[:120]!r}", problems)
        result.add("afterwards", _leaks(server, memory, descriptors))
    return result


@contextmanager
def _serving() -> Iterator[tuple[Server, str]]:
    """Serve a small model that has GPT-2's vocabulary, beside a file that nobody may read."""
    with scratch() as place:
        secret = secrets.token_hex(16)
        for directory in (place, place / "model"):
            directory.mkdir(exist_ok=True)
            (directory / "secret.txt").write_text(secret)
        save_checkpoint(place / "model", tiny_weights(n_vocab=50257, n_ctx=32, n_embd=12), tokenizer=Tokenizer.gpt2())
        server = Server(place / "model", place)
        try:
            yield server, secret
        finally:
            server.process.kill()
            server.process.communicate()


def _canary(server: Server) -> list[bytes]:
    """Ask what has one answer: the model, a trace's name, and its tensors."""
    name = json.loads(server.fetch("/api/traces", {"ids": [32, 9379, 1276]}).splitlines()[-1])["trace"]
    tensors = server.fetch(f"/api/traces/{name}/tensors?" + urlencode({"sel": "attn.0[0,:,:]"}))
    return [server.fetch("/api/model"), name.encode(), tensors]


def _problems(request: Hostile, response: bytes, secret: str) -> list[str]:
    status = response[9:12].decode("latin-1")
    problems = []
    if status.startswith("5") and status != "503":
        problems.append(f"status {status}: {response[-200:]!r}")
    if secret.encode() in response or b"root:x:" in response:
        problems.append("a file was read that is none of the server's")
    if request.is_foreign and status[:1] not in ("4", ""):
        problems.append(f"status {status} for a request from elsewhere")
    if b"Traceback" in response:
        problems.append("a traceback")
    return problems


def _leaks(server: Server, memory: int, descriptors: int) -> list[str]:
    deadline = time.monotonic() + 20
    while server.descriptors() > descriptors and time.monotonic() < deadline:
        time.sleep(0.2)  # connections are closed after the last byte is sent
    problems = []
    if server.descriptors() > descriptors:
        problems.append(f"{server.descriptors()} descriptors are open, {descriptors} were")
    if server.memory() > memory + GROWTH:
        problems.append(f"{(server.memory() - memory) >> 20} MiB more memory than before")
    if said := server.log.read_text():
        problems.append(f"the log says {said[-300:]!r}")
    return problems


def _hostile(rng: random.Random, host: str, trace: str) -> Hostile:
    kind = rng.choice((_broken, _broken, _unreal, _unreal, _posted, _foreign))
    return kind(rng, host, trace)


def _broken(rng: random.Random, host: str, trace: str) -> Hostile:
    """Change the bytes of a request, or its head."""
    path = rng.choice((*PATHS, f"/api/traces/{trace}/surprisal"))
    headers = [f"Host: {host}", *rng.sample(HEADERS, rng.randrange(3))]
    method = rng.choice(("GET", "GET", "POST", "HEAD", "OPTIONS", "PUT", "TRACE", "CONNECT", "get", "G\0T", "x" * 9000))
    body = rng.choice((b"", b"{}", b"5\r\nhello\r\n0\r\n\r\n", b"\xff" * 99))
    data = bytearray(_request(method, path, headers, body))
    for _ in range(rng.choice((0, 1, 1, 4, 30))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return Hostile(bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data) + 1)))]), is_whole=False)


def _unreal(rng: random.Random, host: str, trace: str) -> Hostile:
    """Ask an address that exists, now with its own parameters and now with others, some of them impossible."""
    path, names = rng.choice(list(PARAMETERS.items()))
    name = rng.choice((*[trace] * 9, "0" * 16, "..", quote("a/b", safe="")))
    figure = rng.choice(("F01", "F22", "F40", "T1", "F99", "f01", "../F01", "%00", "F" * 3000))
    chosen = [each for each in names if rng.random() < 0.7]
    if rng.random() < 0.1:
        chosen.append(rng.choice(("layer", "sel", "nosuch")))
    values = [rng.choice(SOUND.get(each, ("0", "1", "2")) if rng.random() < 0.7 else UNSOUND) for each in chosen]
    query = urlencode(list(zip(chosen, values, strict=True)))
    return Hostile(_request("GET", f"{path.format(trace=name, figure=figure)}?{query}", [f"Host: {host}"]))


def _posted(rng: random.Random, host: str, trace: str) -> Hostile:
    """Post a document with values of the wrong kind and size."""
    path = rng.choice(("/api/traces", "/api/generate", f"/api/traces/{trace}/cache_benchmark"))
    values: Sequence[object] = (
        *(0, -1, 10**30, 1e308, 0.5, True, None, "", "x" * 5000, "\ud800", [], [[]], {}, {"a": 1}, [1, 2, 3], [-1]),
        *([50257], [0] * 33, [1] * 5000, [{"kind": "zero_head", "layer": 0, "head": 0}], [{"kind": "no"}], ["1"]),
    )
    names: Sequence[str] = (
        "ids",
        "text",
        "interventions",
        "base",
        "against",
        "view",
        "sequence",
        "seed",
        "temperature",
        "stop",
    )
    names = (*names, "top_k", "max_new_tokens", "samples", "logprobs", "nosuch", "top_p", "repetition_penalty")
    document: dict[str, object] = {"ids": [32]}
    document |= {"max_new_tokens": 2} if path == "/api/generate" else {}
    document |= {rng.choice(names): rng.choice(values) for _ in range(rng.choice((0, 1, 1, 2)))}
    body = json.dumps(document).encode()
    body = rng.choice(
        (*[body] * 6, body[:-1], b"[" * 100_000, b"[" + body + b"]", b"NaN", b"{" + b'"a":1,' * 999 + b"}")
    )
    headers = [f"Host: {host}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return Hostile(_request("POST", path, headers, body))


def _foreign(rng: random.Random, host: str, trace: str) -> Hostile:
    """Ask a sound question from elsewhere."""
    foreign = rng.choice(FOREIGN)
    headers = [foreign] if foreign.startswith("Host") else [f"Host: {host}", foreign]
    path = rng.choice(("/", "/page/main.js", "/api/model", f"/api/traces/{trace}/surprisal"))
    return Hostile(_request("GET", path, headers), is_foreign=True)


def _request(method: str, path: str, headers: Sequence[str], body: bytes = b"") -> bytes:
    head = "\r\n".join((f"{method} {path} HTTP/1.1", *headers, "Connection: close"))
    return head.encode("latin-1", "replace") + b"\r\n\r\n" + body
