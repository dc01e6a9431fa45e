"""An interaction takes nothing away: the picture stays until the next one is there, and so do scroll and focus."""

import pytest

from tests.browser.visit import Visit

pytestmark = pytest.mark.slow

# Notes, from now on, the least height of the page, every scroll, and placeholders that are shown.
WATCH = """() => {
  globalThis.seen = { heights: [], scrolls: [scrollY], waits: 0 };
  new MutationObserver(() => {
    seen.heights.push(document.documentElement.scrollHeight);
    seen.scrolls.push(scrollY);
    seen.waits += document.querySelectorAll("main .waiting").length;
  }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}"""

STEPS = {  # of a view: how far to scroll, and what to press
    "play": (150, "ol.candidates button >> nth=1"),
    "loop": (150, ".buttons button >> nth=0"),
    "attention": (300, ".tokens button >> nth=5"),
    "mlp": (600, ".tokens button >> nth=5"),
    "stack": (300, ".tokens button >> nth=5"),
    "output": (500, ".tokens button >> nth=5"),
}


@pytest.mark.parametrize("view", STEPS)
def test_the_picture_stays_until_the_next_one_is_there(visit: Visit, view: str) -> None:
    (down, button) = STEPS[view]
    visit.page.set_viewport_size({"width": 1280, "height": 600})
    visit.open(f"#1/{view}")
    visit.page.evaluate(f"scrollTo(0, {down})")
    before = visit.page.evaluate("scrollY")
    assert before > 0
    visit.page.evaluate(WATCH)
    pressed = visit.page.locator(button)
    pressed.evaluate("(each) => { each.focus({ preventScroll: true }); each.click(); }")
    visit.settle()
    seen = visit.page.evaluate("seen")
    assert seen["waits"] == 0
    assert max(abs(each - before) for each in seen["scrolls"]) <= 1  # of a fraction of a pixel, rounded
    assert min(seen["heights"]) >= before + 600
    assert pressed.evaluate("(each) => each === document.activeElement")


def test_one_key_after_another_writes_one_token_after_another(visit: Visit) -> None:
    visit.open("#1/play")
    visit.page.locator("ol.candidates button").first.focus()
    for count in (10, 11, 12):
        visit.page.keyboard.press("2")
        visit.page.wait_for_function("(n) => document.querySelectorAll('.tokens .token').length === n", arg=count)
        visit.settle()


def test_a_change_of_layer_keeps_the_field_and_the_place(visit: Visit) -> None:
    visit.open("#1/mlp?layer=0")
    field = visit.page.get_by_role("spinbutton", name="Layer")
    field.focus()
    for layer in ("1", "2", "3"):
        visit.page.keyboard.press("ArrowUp")
        visit.settle()
        assert field.input_value() == layer
        assert field.evaluate("(each) => each === document.activeElement")


def test_a_view_begins_at_its_top(visit: Visit) -> None:
    visit.open("#1/output")
    visit.page.evaluate("scrollTo(0, 900)")
    visit.page.locator("nav a").first.click()
    visit.settle()
    assert visit.page.evaluate("scrollY") == 0


def test_the_line_of_tokens_stays_in_sight_and_shows_the_chosen_one(visit: Visit) -> None:
    visit.open(f"#1/attention?ids={','.join(['9379'] * 300)}&position=200")
    visit.page.evaluate("scrollTo(0, 800)")
    chosen = visit.page.locator(".tokens [aria-pressed=true]")
    box = chosen.bounding_box()
    assert box
    assert box["y"] < 60
    assert 0 <= box["x"] <= 1280 - box["width"]
    line = visit.page.locator(".tokens").bounding_box()
    assert line
    assert line["height"] < 60  # one line, however long the text
