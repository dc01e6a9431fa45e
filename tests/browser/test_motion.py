"""Move what the article moves: with play, step and scrub; and in steps only for those who asked for less motion."""

import pytest

from tests.browser.conftest import Explorer
from tests.browser.numbers import wrong_numbers
from tests.browser.visit import PHONE, WORDS, Visit

pytestmark = pytest.mark.slow

MOVING = ["F08", "F09", "F16", "F17", "F55", "F56"]


def frame(visit: Visit) -> int:
    return int(visit.page.locator(".player").first.get_attribute("data-at") or "")


@pytest.mark.parametrize("figure", MOVING)
def test_a_figure_is_stepped_and_scrubbed(visit: Visit, explorer: Explorer, figure: str) -> None:
    visit.open(f"#1/article?x-figure={figure}")
    step = visit.page.get_by_role("button", name="Step", exact=True).first  # the next figure, when in sight, moves too
    step.focus()
    moving = visit.page.locator(".motion").first
    seen = {moving.inner_html()}
    for at in (1, 2, 3):
        visit.page.keyboard.press("Enter")
        visit.settle()
        assert frame(visit) == at
        seen.add(moving.inner_html())
        assert step.evaluate("(each) => each === document.activeElement")
    assert len(seen) == 4
    scrub = visit.page.get_by_role("slider", name="Go to a step").first
    scrub.press("End")
    visit.settle()
    assert frame(visit) == int(scrub.get_attribute("max") or "")
    assert wrong_numbers(explorer.trace, visit.page.evaluate("look.numbers()")) == []
    visit.page.reload()
    visit.settle()
    assert frame(visit) == int(scrub.get_attribute("max") or "")  # the frame is in the link


@pytest.mark.parametrize("figure", MOVING)
def test_a_figure_plays(private_visit: Visit, figure: str) -> None:
    private_visit.page.clock.install()
    private_visit.open(f"#1/article?x-figure={figure}")
    private_visit.page.get_by_role("button", name="Play").first.click()
    private_visit.page.clock.run_for(1000)
    private_visit.page.wait_for_function("() => document.querySelector('.player').dataset.at !== '0'")
    private_visit.page.get_by_role("button", name="Pause").first.click()
    paused = frame(private_visit)  # 1, or more where the machine is slow: the clock goes on by itself
    assert paused >= 1
    private_visit.page.clock.run_for(3000)
    assert frame(private_visit) == paused


@pytest.mark.parametrize("figure", MOVING)
def test_motion_fits_a_phone_and_can_be_done_without(visit: Visit, figure: str) -> None:
    visit.page.set_viewport_size({"width": PHONE, "height": 800})
    visit.page.emulate_media(reduced_motion="reduce")
    visit.open(f"#1/article?x-figure={figure}&x-frame=3")
    assert visit.page.get_by_role("button", name="Play").count() == 0
    assert visit.page.get_by_role("button", name="Step", exact=True).count() == 1
    assert visit.overflow() <= 0


def test_the_token_that_comes_out_drops_into_the_next_column(visit: Visit) -> None:
    visit.open("#1/article?x-figure=F08&x-frame=3")
    ending = "document.getAnimations().filter((each) => each.effect.target.closest('svg.loop'))"
    all_over = f"Promise.all({ending}.map((each) => each.finished)).then(() => null)"
    visit.page.evaluate(all_over)
    step = visit.page.get_by_role("button", name="Step", exact=True).first
    step.scroll_into_view_if_needed()  # now, not between the two boxes
    loop = visit.page.locator("svg.loop").first
    above = loop.locator(".output")
    out = above.bounding_box()
    word = (above.text_content() or "").strip()
    assert out
    step.click()
    visit.settle()  # so that they have begun
    below = loop.locator(".moving", has_text=word).last
    visit.page.evaluate(all_over)
    box = below.bounding_box()
    assert box
    assert box["y"] > out["y"] + 50
    assert box["x"] > out["x"] + 30


def test_the_loop_writes_and_its_token_moves(visit: Visit) -> None:
    visit.open("#1/loop")
    word = (visit.page.locator("svg.loop .output").text_content() or "").strip()
    visit.page.get_by_role("button", name=WORDS["loop.step"]["en"]).click()
    visit.settle()
    assert visit.page.locator(".tokens .token").last.inner_text() == word
    assert visit.page.locator("svg.loop .moving", has_text=word).count() >= 1


def test_the_newest_column_of_the_cache_is_in_sight(visit: Visit) -> None:
    for width in (1440, PHONE):
        visit.page.set_viewport_size({"width": width, "height": 800})
        visit.open(f"#1/loop?ids={','.join(['9379'] * 60)}")
        newest = visit.page.locator(".cache td.computed").last
        box = newest.bounding_box()
        assert box
        assert box["x"] + box["width"] <= width
        assert visit.page.locator(".cache thead th").all_inner_texts()[-2:] == ["60", "61"]  # which come next


def test_a_column_is_lit_from_below_layer_by_layer(visit: Visit, explorer: Explorer) -> None:
    layers = explorer.model.config.n_layer
    lit = []
    for frame in range(4):
        visit.open(f"#1/article?x-figure=F16&x-frame={frame}")
        lit.append(visit.page.locator("svg.loop").first.locator(".computed .lit").count())
    assert lit == [0, layers // 2, layers, layers]
