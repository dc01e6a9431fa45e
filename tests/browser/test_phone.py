"""A phone, where what is wider than the window shows that there is more."""

import pytest
from playwright.sync_api import Page

from tests.browser.visit import PHONE, VIEWS, Visit

pytestmark = pytest.mark.slow

SIZE = 390  # pixels, of most phones

# The boxes that scroll sideways, by how many pixels they fade out before, at the start and at the end of the way.
BOXES = """() => [...document.querySelectorAll("body *")].filter((each) => each.checkVisibility()
    && ["auto", "scroll"].includes(getComputedStyle(each).overflowX) && each.scrollWidth > each.clientWidth + 1)
  .map((each) => ({ name: each.ariaLabel ?? each.className, isBox: each.className === "scroll",
    mask: getComputedStyle(each).maskImage, after: parseFloat(getComputedStyle(each).getPropertyValue("--after")) }))"""


# The numbers whose sign of percent, or unit, is on another line.
BROKEN = """(all) => all.filter((each) => new Set([...each.getClientRects()].map(({ y }) => y)).size > 1)
  .map((each) => each.textContent)"""


def silent(page: Page) -> list[str]:
    """The names of the boxes that scroll sideways and do not show it."""
    boxes = page.evaluate(BOXES)
    return [box["name"] for box in boxes if "gradient" not in box["mask"] or (box["isBox"] and not box["after"] >= 16)]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("view", VIEWS)
def test_what_scrolls_sideways_shows_it(tour: Visit, view: str, language: str) -> None:
    tour.page.set_viewport_size({"width": SIZE, "height": 844})
    tour.open(f"#1/{view}?language={language}")
    assert silent(tour.page) == []
    assert tour.overflow() <= 0
    assert tour.page.locator("main .number").evaluate_all(BROKEN) == []


def test_figures_that_scroll_sideways_show_it(tour: Visit) -> None:
    tour.page.set_viewport_size({"width": SIZE, "height": 844})
    tour.open("#1/article")
    figures = tour.page.evaluate("fetch('api/figures').then((answer) => answer.json())")["figures"]
    wide = 0
    for figure in figures:
        tour.page.evaluate("(id) => { location.hash = `#1/article?x-figure=${id}`; }", figure["id"])
        tour.settle()
        wide += len(tour.page.evaluate(BOXES)) > 2  # beside the tokens and the menu
        assert silent(tour.page) == [], figure["id"]
    assert wide > 20


def test_music_and_translation_show_what_scrolls(music_visit: Visit, translator_visit: Visit) -> None:
    for visit, view in ((music_visit, "music"), (translator_visit, "translation")):
        visit.page.bring_to_front()
        visit.page.set_viewport_size({"width": SIZE, "height": 844})
        visit.open(f"#1/{view}")
        assert silent(visit.page) == []
        assert visit.overflow() <= 0


def test_a_box_fades_where_there_is_more_only(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": SIZE, "height": 844})
    visit.open("#1/parameters")
    box = visit.page.locator(".scroll").first
    fades = "(each) => ['--before', '--after'].map((name) => parseFloat(getComputedStyle(each).getPropertyValue(name)))"
    before, after = box.evaluate(fades)
    assert (before, after > 0) == (0, True)
    box.evaluate("(each) => each.scrollTo(each.scrollWidth, 0)")
    visit.page.wait_for_timeout(100)
    before, after = box.evaluate(fades)
    assert (before > 0, after) == (True, 0)
    visit.page.set_viewport_size({"width": 1280, "height": 844})
    visit.leave_and_open(visit.page.url)
    assert box.evaluate(fades) == [0, 0]


FADES = "(wide) => getComputedStyle(document.querySelector('.scroll')).getPropertyValue('--before') === wide"


def test_a_box_that_no_longer_scrolls_has_no_fade(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 500, "height": 800})
    visit.open("#1/output")
    box = visit.page.locator(".scroll").first
    box.evaluate("(each) => each.scrollTo(each.scrollWidth, 0)")
    visit.page.wait_for_function(FADES, arg="32px")
    visit.page.set_viewport_size({"width": 1900, "height": 800})
    visit.page.wait_for_function(FADES, arg="0px")


# The rules for a browser without scroll-driven animations, in force in this one.
AS_ELSEWHERE = """() => {
  const rules = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]);
  const others = rules.filter((rule) => rule.conditionText?.startsWith("not (animation-timeline"));
  const sheet = new CSSStyleSheet();
  const inside = others.flatMap((rule) => [...rule.cssRules]).map((rule) => rule.cssText);
  sheet.replaceSync(`${inside.join("")} .scroll { mask: none; }`);
  document.adoptedStyleSheets = [sheet];
}"""


def test_a_browser_without_scroll_driven_animations_has_shadows(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 500, "height": 800})
    visit.open("#1/output")
    box = visit.page.locator(".scroll").first
    box.scroll_into_view_if_needed()
    visit.page.evaluate(AS_ELSEWHERE)
    shadows = box.evaluate("(each) => getComputedStyle(each).backgroundAttachment")
    assert shadows == "local, local, scroll, scroll"  # what goes along with the content covers what stays


def test_the_weights_of_attention_are_in_sight_on_the_narrowest_phone(tour: Visit) -> None:
    tour.page.set_viewport_size({"width": PHONE, "height": 740})
    tour.open("#1/attention")
    box = tour.page.locator(".meeting").locator("xpath=..").bounding_box()
    assert box is not None
    for cell in tour.page.locator(".meeting .weight .number").all():
        edge = cell.bounding_box()
        assert edge is not None
        assert edge["x"] + edge["width"] <= box["x"] + box["width"]


def test_the_last_token_is_not_faded_at_the_end_of_the_line(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": PHONE, "height": 740})
    visit.open("#1/overview")
    line, last = (visit.page.locator(each).last.bounding_box() for each in (".tokens", ".tokens button"))
    assert line is not None
    assert last is not None
    assert line["x"] + line["width"] - (last["x"] + last["width"]) >= 19  # pixels that fade


@pytest.mark.parametrize("view", ["tokens", "compare"])
def test_a_box_for_a_text_is_as_high_as_its_text(tour: Visit, view: str) -> None:
    tour.page.set_viewport_size({"width": PHONE, "height": 740})
    tour.open(f"#1/{view}")
    box = tour.page.locator("main textarea").first
    assert box.evaluate("(each) => each.scrollHeight <= each.clientHeight")


def test_the_strip_beside_a_matrix_that_moves_is_narrower(tour: Visit) -> None:
    tour.page.set_viewport_size({"width": PHONE, "height": 740})
    tour.open("#1/article?x-figure=F55")
    assert tour.page.locator(".sweep-vector").first.evaluate("(each) => each.clientWidth") == 58
