"""The theme follows the system until the reader chooses one, which is remembered."""

import pytest

from tests.browser.visit import Visit

pytestmark = pytest.mark.slow


def paper(visit: Visit) -> str:
    return str(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_a_button_goes_through_the_themes_and_the_choice_is_remembered(private_visit: Visit) -> None:
    visit = private_visit
    visit.page.emulate_media(color_scheme="dark")
    visit.open("#1/attention")
    lamp = visit.page.locator(".lamp")
    picture = "document.querySelector('cell-grid canvas').toDataURL()"
    seen = [(lamp.get_attribute("aria-label"), paper(visit), visit.page.evaluate(picture))]
    for _ in range(2):
        lamp.click()
        visit.settle()
        seen.append((lamp.get_attribute("aria-label"), paper(visit), visit.page.evaluate(picture)))
    names, papers, pictures = zip(*seen, strict=True)
    assert names == ("Theme: as the system has it", "Theme: light", "Theme: dark")
    assert papers[0] == papers[2] != papers[1]
    assert pictures[0] == pictures[2] != pictures[1]  # they are drawn again
    visit.page.emulate_media(color_scheme="light")
    visit.leave_and_open(visit.address)
    assert paper(visit) == papers[2]
    lamp.click()
    assert paper(visit) == papers[1]  # as the system has it now


SHADES = """(all) => all.map((each) => [Number(/(\\d+) %/.exec(each.title)[1]),
  getComputedStyle(each).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)])"""


def test_in_the_dark_much_is_light(visit: Visit) -> None:
    visit.page.emulate_media(color_scheme="dark")
    visit.open("#1/attention")
    for dark in (True, False):
        visit.page.emulate_media(color_scheme="dark" if dark else "light")
        visit.page.locator(".tokens button").nth(7 if dark else 8).click()  # so that the map is drawn again
        visit.settle()
        shades = visit.page.locator(".head-map button").evaluate_all(SHADES)
        little = min(shades)[1]
        much = max(shades)[1]
        assert (much > 2 * little) if dark else (little > 2 * much)
