"""A page that is looked at in a browser, and everything that goes wrong there."""

import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from playwright.sync_api import BrowserContext, ConsoleMessage, Page

from cutaway.explore.assets import PAGE

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
LOOK = (Path(__file__).parent / "look.js").read_text(encoding="utf-8")
WORDS: dict[str, dict[str, str]] = {
    name: words for path in PAGE.glob("i18n/*.json") for name, words in json.loads(path.read_text("utf-8")).items()
}
LOADING = list(WORDS["loading"].values())
LANGUAGES = {"en": "en", "zh": "zh-Hans"}  # as the page calls them, and as HTML does
CHINESE = "[\u4e00-\u9fff]"
HALF_WIDTH = re.compile(f"{CHINESE}[,;:!?] ?{CHINESE}|{CHINESE}\\({CHINESE}|{CHINESE}[,;:] |{CHINESE}\\.( |$)")
ENGLISH = re.compile(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}")  # three words in a row
WIDE = 1280
PHONE = 360

Found = dict[str, object]


def _views() -> list[str]:
    """The ids of all views, in the order of the menu."""
    app = (PAGE / "views" / "index.js").read_text(encoding="utf-8")
    files = dict(re.findall(r'import \{ (\w+) \} from "\./(\w+\.js)"', app))
    listed = re.findall(r"\w+", app.split("VIEWS = [")[1].split("]")[0])
    found = [
        re.search(r'= \{ id: "(\w+)"', (PAGE / "views" / files[name]).read_text(encoding="utf-8")) for name in listed
    ]
    return [match[1] for match in found if match]


VIEWS = _views()
OFFERED = [view for view in VIEWS if view not in ("music", "translation")]  # in the menu of a model of text


class Visit:
    """A browser's page on the explorer at `address`. `complaints` are errors, and requests that leave the origin."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.address = address
        self.complaints = list[str]()
        self.page: Page = context.new_page()
        self.page.add_init_script(LOOK)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error.stack or error}"))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console: {message.text}")

    def _asked(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:", "about:")):
            self.complaints.append(f"request: {url}")

    def forget(self) -> None:
        """Leave nothing of what was done in this tab."""
        if self.page.url.startswith(self.address):
            self.page.evaluate("sessionStorage.clear(), localStorage.clear()")
        self.page.goto("about:blank")
        self.page.mouse.move(-1, -1)

    def open(self, fragment: str) -> None:
        """Go to a state of the page, and wait until everything is there."""
        self.page.goto(self.address + fragment)
        self.settle()

    def leave_and_open(self, url: str) -> None:
        """The page at that whole address as somebody else would open it, with nothing left of this one."""
        self.page.goto("about:blank")
        self.page.goto(url)
        self.settle()

    def settle(self) -> None:
        """Wait until all that was asked for has come and is drawn."""
        self.page.wait_for_function("(loading) => look.isCalm(loading)", arg=LOADING)
        assert [complaint for complaint in self.complaints if complaint.startswith("error")] == []

    def dress(self, width: int, dark: bool, language: str) -> None:
        """Another width, another theme, another language."""
        self.page.set_viewport_size({"width": width, "height": 800})
        self.page.emulate_media(color_scheme="dark" if dark else "light")
        self.page.locator(".title select").select_option(language)
        self.settle()

    def everything(self) -> Found:
        """The text that a reader sees, and what the controls are set to."""
        found: Found = self.page.evaluate("look.everything()")
        return found

    def overflow(self) -> int:
        """Return how many pixels the page is wider than the window."""
        wider: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return wider

    def accessibility_faults(self) -> list[str]:
        """Return what axe finds, a line for each element."""
        self.page.evaluate(AXE)
        found = self.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        return [
            f"{rule['id']}: {node['html'][:160]} {_reasons(node)}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]

    def badly_translated(self) -> list[str]:
        """Return the prose of a Chinese page that is English, or has half-width punctuation between Chinese words."""
        lines: list[str] = self.page.evaluate("look.prose()")
        return [line for line in lines if ENGLISH.search(line) or HALF_WIDTH.search(line)]

    def untranslated(self) -> Sequence[str]:
        """Names of words that stand on the page instead of the words."""
        lines = str(self.everything()["text"]).splitlines()
        rooms = {name.split(".")[0] for name in WORDS if "." in name}
        keys = re.compile(rf"({'|'.join(rooms)})\.[a-z][a-z.]*")
        return [line for line in lines if keys.fullmatch(line.strip())]


def _reasons(node: dict[str, list[dict[str, str]]]) -> str:
    return "; ".join(check["message"] for kind in ("any", "all", "none") for check in node[kind])
