import json
import re
import signal
import subprocess
import sys
import urllib.request
import webbrowser
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import cutaway
from cutaway.cli.view import view_ids
from cutaway.errors import INTERRUPTED
from cutaway.explore.app import Explorer
from cutaway.model import Model
from tests.cli.invoke import invoke


@dataclass
class Served:
    """Records what would have been served."""

    models: list[str] = field(default_factory=list)
    against: list[str] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    warmed_up: list[list[int]] = field(default_factory=list)  # the ids of texts that were read ahead


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """Nothing is served and no browser is opened, but the socket is real."""
    from cutaway.explore import app
    from cutaway.web import server

    served = Served()

    made: list[Explorer] = []

    class Recorded(Explorer):
        def __init__(self, model: Model, checkpoint_bytes: int, against: Model | None = None) -> None:
            super().__init__(model, checkpoint_bytes, against)
            made.append(self)

        def warm_up(self, ids: Sequence[int]) -> None:
            served.warmed_up.append(list(ids))

    def serve(listener: server.Listener, *_: object) -> None:
        listener.socket.close()
        served.models.append(made[-1].model.name)
        served.against += [made[-1].against.name] if made[-1].against else []
        served.bytes.append(made[-1].checkpoint_bytes)

    monkeypatch.setattr(app, "Explorer", Recorded)
    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr(webbrowser, "open", served.opened.append)
    return served


def test_prints_the_address_and_serves(served: Served, tiny: str) -> None:
    result = invoke("explore", "--port", "0", "--model", tiny)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("http://127.0.0.1:")
    assert result.out.endswith("/\n")
    assert served.models == ["tiny"]
    assert served.bytes[0] > 0
    assert served.opened == []


def test_says_on_a_terminal_how_the_server_is_stopped(served: Served, tiny: str) -> None:
    assert "Ctrl-C stops the server" in invoke("explore", "--port", "0", "--model", tiny, terminal=True).err


def test_begins_with_a_text(served: Served, tiny: str) -> None:
    address = invoke("explore", "--port", "0", "--model", tiny, "--text", "A robot must").out
    assert address.endswith("/#1/overview?ids=50256,32,9379,1276\n")


def test_begins_at_the_given_text_layer_head_and_position(served: Served, tiny: str, mute: str) -> None:
    out = invoke("explore", "--port", "0", "--model", tiny, "--layer", "1", "--head", "1", "--position", "-2").out
    assert re.fullmatch(r"http://\S+/#1/overview\?ids=50256,32,9379,[\d,]+&layer=1&head=1&position=7\n", out)
    out = invoke("explore", "--port", "0", "--model", mute, "--ids", "5", "6").out
    assert out.endswith("/#1/overview?ids=5,6\n")


def test_the_text_that_the_page_opens_on_is_read_ahead(served: Served, tiny: str, mute: str) -> None:
    invoke("explore", "--port", "0", "--model", tiny, "--text", "A robot must")
    invoke("explore", "--port", "0", "--model", mute, "--ids", "5", "6")
    invoke("explore", "--port", "0", "--model", mute)
    assert served.warmed_up == [[50256, 32, 9379, 1276], [5, 6], [0]]


@pytest.mark.slow
def test_opens_the_file_on_request(served: Served, tiny: str, tmp_path: Path) -> None:
    file = tmp_path / "a robot.html"
    assert invoke("explore", "--model", tiny, "--text", "A", "--export", str(file), "--open").code == 0
    assert served.opened == [file.as_uri()]


def test_compares_with_another_model(served: Served, tiny: str, mute: str) -> None:
    assert invoke("explore", "--port", "0", "--model", tiny, "--against", tiny).code == 0
    assert (served.models, served.against) == (["tiny"], ["tiny"])
    assert "cannot be compared with tiny" in invoke("explore", "--port", "0", "--model", tiny, "--against", mute).error


def test_opens_a_browser_on_request(served: Served, tiny: str) -> None:
    out = invoke("explore", "--port", "0", "--model", tiny, "--open").out
    assert served.opened == [out.strip()]


def test_the_document_has_the_address(served: Served, tiny: str) -> None:
    document = invoke("explore", "--port", "0", "--model", tiny, "--json").document
    assert set(document) == {"model", "engine", "dtype", "address"}
    assert document["model"] == "tiny"


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("--port", "65536"), 2, "port must be from 0 to 65535, not 65536"),
        (("--port", "0", "--host", "no such host"), 1, "no such host port 0: "),
        (("--port", "0", "--model", "nowhere"), 3, "nowhere"),
        (("--port", "0", "--layer", "2"), 2, "layer must be from 0 to 1, not 2"),
        (("--port", "0", "--text", "A", "--position", "2"), 2, "position must be from -2 to 1, not 2"),
        (("--port", "0", "--text", "a " * 40), 2, "tokens long; the context holds 32; shorten it"),
        (("--port", "0", "--ids", "50257"), 2, "a token id must be from 0 to 50256, not 50257"),
        (("--port", "0", "--text", "A", "--ids", "1"), 2, "not allowed with argument --text"),
        (
            ("--export", "x.html", "--port", "0"),
            2,
            "--export cannot be combined with --host, --port or --against",
        ),
    ],
)
def test_an_unavailable_address_is_one_line(
    arguments: tuple[str, ...], code: int, part: str, served: Served, tiny: str
) -> None:
    result = invoke("explore", "--model", tiny, *arguments)
    assert result.code == code
    assert part in result.error
    assert served.models == []


def test_text_requires_a_tokenizer(served: Served, mute: str) -> None:
    result = invoke("explore", "--port", "0", "--model", mute, "--text", "A robot")
    assert result.code == 2
    assert "no tokenizer files" in result.error


@pytest.mark.slow
@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.skipif(sys.platform == "win32", reason="there Ctrl-C cannot be sent to one process")
def test_runs_until_ctrl_c(tiny: str) -> None:
    command = [sys.executable, "-m", "cutaway", "explore", "--port", "0", "--model", tiny, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["address"]
        with urllib.request.urlopen(f"{address}api/model", timeout=60) as response:
            assert json.load(response)["name"] == "tiny"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (INTERRUPTED, b"", b"")


@pytest.mark.parametrize(
    "module", ["cutaway", "cutaway.cli", "cutaway.cli.explore", "cutaway.model", "cutaway.figures"]
)
def test_nothing_else_loads_a_web_server(module: str) -> None:
    code = f"import sys, {module}; print(*({{'starlette', 'uvicorn', 'anyio', 'asyncio'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.split() == []


@pytest.mark.slow
def test_writes_the_page_into_one_file(tiny: str, tmp_path: Path) -> None:
    file = tmp_path / "robot.html"
    arguments = ("explore", "--model", tiny, "--text", "A robot", "--export", str(file), "--layer", "1", "--head", "1")
    result = invoke(*arguments)
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{file}: {file.stat().st_size:,} bytes\n"
    assert invoke(*arguments, "--json").document["bytes"] == file.stat().st_size


@pytest.mark.slow
def test_rejects_invalid_exports(tiny: str, tmp_path: Path) -> None:
    export = ("explore", "--model", tiny, "--text", "A robot", "--export")
    assert invoke(*export, str(tmp_path / "x.html"), "--head", "99").code == 2
    assert not (tmp_path / "x.html").exists()
    assert invoke(*export, str(tmp_path / "none" / "x.html")).error.endswith("No such file or directory\n")


def test_a_translator_opens_on_a_translation_that_it_writes() -> None:
    model = cutaway.load("builtin-translation")
    ids = view_ids(model, Namespace(ids=None, text=None))
    assert model.decode(ids) == "<|en|> Where is the station?<|de|> Wo ist der Bahnhof?"
    assert model.n_prefix(ids) == ids.index(model.encode("<|de|>", allow_special=True)[0]) + 1
    assert view_ids(model, Namespace(ids=None, text="Run!")) == model.input_ids("Run!")
