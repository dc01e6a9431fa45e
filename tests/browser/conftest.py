"""A browser, and two explorers to look at with it: the built-in model's, and one of a model of odd shape."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import pytest

import cutaway
from cutaway.checkpoints import save_checkpoint
from cutaway.model import Model
from cutaway.music.codecs import CODECS
from cutaway.trace import Trace
from tests.tiny import tiny_weights

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ViewportSize

    from tests.browser.visit import Visit


class Seen(TypedDict):
    """Settings of a page unless a test says otherwise."""

    viewport: "ViewportSize"
    locale: str


# The first takes a quarter less time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",  # what it opens is our own page
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",  # it asks nobody on its own
    "--disable-component-update",
    "--disable-sync",
]
SEEN: Seen = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"}
ROBOT = "A robot must obey the orders given it"


def find_chromium() -> str | None:
    """Find a browser that the tests can use."""
    named = os.environ.get("CUTAWAY_CHROMIUM")
    return named or next((path for path in map(shutil.which, NAMES) if path), None)


def has_browser() -> bool:
    return find_chromium() is not None and bool(find_spec("playwright")) and bool(find_spec("axe_playwright_python"))


if not has_browser():
    collect_ignore = [str(path) for path in Path(__file__).parent.glob("test_*.py") if path.name != "test_browser.py"]


@dataclass(frozen=True)
class Explorer:
    """A server of its own, as a process, and the same model in this one."""

    address: str
    process: subprocess.Popen[str]
    model: Model

    @cached_property
    def ids(self) -> list[int]:
        """The tokens that the page starts with."""
        return [*self.model.prompt_ids(""), *self.model.encode(ROBOT)] if self.model.tokenizer else [0]

    @cached_property
    def trace(self) -> Trace:
        return self.trace_of(self.ids)

    def trace_of(self, ids: list[int]) -> Trace:
        return Trace(self.model.config, self.model.weights, self.model.tokenizer, ids)


def start(*arguments: str, port: int = 0) -> tuple[str, "subprocess.Popen[str]"]:
    """`cutaway explore` on that port, or any that is free: its address, and the process."""
    command = [sys.executable, "-m", "cutaway", "explore", "--port", str(port), "--json", *arguments]
    threads = os.environ.get("OPENBLAS_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    environment = os.environ | {"OPENBLAS_NUM_THREADS": threads}  # as many as here: the last bits depend on it
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout
    return json.loads(process.stdout.readline())["address"], process


def served(model: Model, *arguments: str) -> Iterator[Explorer]:
    address, process = start(*arguments)
    with process:
        yield Explorer(address, process, model)
        process.kill()


@pytest.fixture(scope="package")
def explorer() -> Iterator[Explorer]:
    """The built-in model's."""
    yield from served(cutaway.load())


@pytest.fixture(scope="package")
def mute_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model without a tokenizer: one layer, three heads, a vocabulary of 61."""
    folder = tmp_path_factory.mktemp("models") / "mute"
    save_checkpoint(folder, tiny_weights(n_layer=1, n_head=3, n_vocab=61))
    return folder


@pytest.fixture(scope="package")
def mute_explorer(mute_model: Path) -> Iterator[Explorer]:
    yield from served(cutaway.load(mute_model, engine="reference"), "--model", str(mute_model))


@pytest.fixture(scope="package")
def deep_explorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explorer]:
    """That of a small random model of as many layers as the smallest GPT-2."""
    folder = tmp_path_factory.mktemp("models") / "deep"
    save_checkpoint(folder, tiny_weights(n_layer=12, n_head=2, n_vocab=61))
    yield from served(cutaway.load(folder, engine="reference"), "--model", str(folder))


@pytest.fixture(scope="package")
def music_explorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explorer]:
    """That of a small random model of music."""
    folder = tmp_path_factory.mktemp("models") / "music"
    codec = CODECS["perf388"]
    save_checkpoint(folder, tiny_weights(n_layer=2, n_head=3, n_vocab=codec.n_vocab, n_ctx=80), tokenizer=codec)
    yield from served(cutaway.load(folder, engine="reference"), "--model", str(folder))


@pytest.fixture(scope="package")
def translator_explorer() -> Iterator[Explorer]:
    name = "builtin-translation"
    yield from served(cutaway.load(name), "--model", name)


@pytest.fixture(scope="package")  # and no longer: while Playwright runs, no other test of this process can use asyncio
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield chromium
        chromium.close()


def visiting(browser: "Browser", address: str) -> "Iterator[Visit]":
    """A browser with nothing in its memory; whatever the page complained of fails the test."""
    from tests.browser.visit import Visit

    with browser.new_context(**SEEN) as context:
        visit = Visit(context, address)
        yield visit
        assert visit.complaints == []


@pytest.fixture(scope="package")
def context(browser: "Browser") -> "Iterator[BrowserContext]":
    """Open the context that tabs share: the cache of files, and no memory, for a page has none beyond its tab."""
    with browser.new_context(**SEEN) as context:
        context.new_page()  # a browser that closes its last tab starts the next one slowly
        yield context


@pytest.fixture
def private_visit(browser: "Browser", explorer: Explorer) -> "Iterator[Visit]":
    """A browser of its own, for what Playwright sets for all tabs: the clock, and what a page is permitted to do."""
    yield from visiting(browser, explorer.address)


def anew(visit: "Visit") -> "Iterator[Visit]":
    """A tab with nothing in its memory: a new one takes longer to open than the page. A test that adds a script to the
    page uses `private_visit`.
    """
    visit.forget()
    yield from going_on(visit)
    visit.page.unroute_all()


def going_on(visit: "Visit") -> "Iterator[Visit]":
    """The tab as the test before has left it, as a reader goes on from view to view: for tests that only look. Whatever
    the page complained of fails the test.
    """
    visit.page.bring_to_front()  # what is behind another tab is not drawn
    visit.page.set_viewport_size(SEEN["viewport"])
    visit.page.emulate_media(color_scheme="light", reduced_motion="no-preference")
    yield visit
    complaints = visit.complaints.copy()
    visit.complaints.clear()
    assert complaints == []


def tab_of(name: str) -> Any:
    """Make the fixture of a tab that stays open on an explorer, which is a fixture of that name."""

    @pytest.fixture(scope="package")
    def tab(context: "BrowserContext", request: pytest.FixtureRequest) -> "Iterator[Visit]":
        from tests.browser.visit import Visit

        visit = Visit(context, request.getfixturevalue(name).address)
        yield visit
        visit.page.close()

    return tab


def visit_of(name: str, prepare: "Callable[[Visit], Iterator[Visit]]") -> Any:
    """Make the fixture of a visit to a tab, which is a fixture of that name and is prepared for each test."""

    @pytest.fixture
    def visit(request: pytest.FixtureRequest) -> "Iterator[Visit]":
        yield from prepare(request.getfixturevalue(name))

    return visit


open_tab = tab_of("explorer")
mute_open_tab = tab_of("mute_explorer")
deep_open_tab = tab_of("deep_explorer")
music_open_tab = tab_of("music_explorer")
translator_open_tab = tab_of("translator_explorer")

visit = visit_of("open_tab", anew)
mute_visit = visit_of("mute_open_tab", anew)
deep_visit = visit_of("deep_open_tab", anew)
music_visit = visit_of("music_open_tab", anew)
translator_visit = visit_of("translator_open_tab", anew)
tour = visit_of("open_tab", going_on)
mute_tour = visit_of("mute_open_tab", going_on)
