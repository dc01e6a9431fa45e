"""Nothing on the page jumps: the layout shifts of every view, while it opens and when another token is chosen."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Explorer, visiting
from tests.browser.visit import PHONE, VIEWS, WIDE, Visit

pytestmark = pytest.mark.slow

MOST = 0.1  # cumulative layout shift, as web.dev calls good; here all shifts of a visit together

# Notes every shift, also those that follow an input at once, which the measure itself leaves out.
WATCH = """globalThis.shifts = [];
new PerformanceObserver((list) => {
  for (const { value, sources } of list.getEntries()) {
    const places = sources.map(({ node, previousRect, currentRect }) => {
      const element = node?.nodeType === Node.TEXT_NODE ? node.parentElement : node;
      return `${element?.tagName} .${element?.className} ${previousRect.y} -> ${currentRect.y}`;
    });
    shifts.push({ value, places });
  }
}).observe({ type: "layout-shift", buffered: true });"""


def watching(browser: Browser, explorer: Explorer) -> Iterator[Visit]:
    """A browser that notes the layout shifts of its pages."""
    for visit in visiting(browser, explorer.address):
        visit.page.add_init_script(WATCH)
        yield visit


@pytest.fixture
def watched(browser: Browser, explorer: Explorer) -> Iterator[Visit]:
    yield from watching(browser, explorer)


def check_nothing_jumps(watched: Visit, view: str, width: int) -> None:
    watched.page.set_viewport_size({"width": width, "height": 800})
    watched.leave_and_open(f"{watched.address}#1/{view}")
    watched.page.locator(".tokens button").nth(3).evaluate("(each) => each.click()")
    watched.settle()
    shifts = watched.page.evaluate("shifts.sort((a, b) => b.value - a.value)")
    assert sum(shift["value"] for shift in shifts) <= MOST, shifts[:3]


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_jumps(watched: Visit, view: str) -> None:
    for width in (WIDE, PHONE):
        check_nothing_jumps(watched, view, width)


def test_nothing_jumps_in_music_and_translation(
    browser: Browser, music_explorer: Explorer, translator_explorer: Explorer
) -> None:
    for explorer, view in ((music_explorer, "music"), (translator_explorer, "translation")):
        for watched in watching(browser, explorer):
            for width in (WIDE, PHONE):
                check_nothing_jumps(watched, view, width)


def test_a_jump_is_noticed(watched: Visit) -> None:
    watched.open("#1/play")
    watched.page.evaluate("document.querySelector('main').style.paddingTop = '300px'")
    watched.page.wait_for_function("(most) => shifts.some(({ value }) => value > most)", arg=MOST)
