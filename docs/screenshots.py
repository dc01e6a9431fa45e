"""The README's pictures of the explorer: `python docs/screenshots.py` draws them again from the built-in model."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
TEXT = "A robot must obey the orders given it"

# The picture, the address after the #, and what must be there before it is taken.
PICTURES = (
    ("machine", "1/overview", ".candidates"),
    ("attention", "1/attention", ".meeting"),
    ("whatif", "1/whatif?do=values_are_keys", "text=The loss rises"),
)


def find_browser() -> str | None:
    """Find the browser that CUTAWAY_CHROMIUM names, or one in the search path."""
    return os.environ.get("CUTAWAY_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def main() -> None:
    """Serve the built-in model, and take each picture."""
    command = [sys.executable, "-m", "cutaway", "explore", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        assert server.stdout
        address = server.stdout.readline().strip()
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 940})
        IMAGES.mkdir(exist_ok=True)
        for name, fragment, shown in PICTURES:
            page.goto(f"{address}#{fragment}")
            page.wait_for_selector(shown)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=IMAGES / f"{name}.png")
        browser.close()
        server.terminate()


if __name__ == "__main__":
    main()
