"""A bar for what takes long, and a button that stops it."""

import pytest
from playwright.sync_api import Route

from tests.browser.visit import Visit

pytestmark = pytest.mark.slow


def never(route: Route) -> None:
    """Never answer a request."""


def test_an_answer_that_takes_long_shows_a_bar_and_can_be_stopped(visit: Visit) -> None:
    visit.open("#1/overview")
    visit.page.route("**/logit_lens?**", never)
    visit.page.get_by_role("navigation").get_by_role("link", name="Stack").click()
    bar = visit.page.locator(".news progress")
    assert bar.count() == 0  # not at once
    bar.wait_for()
    visit.page.locator(".news").get_by_role("button", name="Stop").click()
    visit.page.locator(".failure").get_by_text("Stopped.").wait_for()
    visit.settle()
    assert bar.count() == 0
    visit.page.unroute("**/logit_lens?**")
    visit.page.locator(".tokens button").nth(3).click()
    visit.settle()
    assert visit.page.locator(".failure").count() == 0
    assert visit.page.locator(".tower .node .token").first.inner_text()


def test_a_view_that_is_left_takes_its_bar_along(visit: Visit) -> None:
    visit.open("#1/overview")
    visit.page.route("**/logit_lens?**", never)
    visit.page.get_by_role("navigation").get_by_role("link", name="Stack").click()
    visit.page.locator(".news progress").wait_for()
    visit.page.get_by_role("navigation").get_by_role("link", name="Tokens").click()
    visit.page.locator(".news progress").wait_for(state="detached")
    visit.settle()
    assert visit.page.locator("h1").inner_text() == "Tokens"
