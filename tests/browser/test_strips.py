"""Vectors that are added stand close together in one scale, with one legend; tools and numbers come when wanted."""

import pytest

from tests.browser.conftest import Explorer
from tests.browser.visit import PHONE, WIDE, Visit

pytestmark = pytest.mark.slow

PLACE = "layer=3&head=2&position=8"
ATTENTION_AND_MLP = ["resid.mid.3 - resid.pre.3", "resid.mid.3", "resid.post.3 - resid.mid.3"]
SHOWN = "[...document.querySelectorAll('.strips .tools')].map((each) => getComputedStyle(each).opacity === '1')"
BOX = "(each) => [each.offsetTop, each.offsetHeight]"
ADDED = {
    f"stack?{PLACE}": ["resid.pre.3", *ATTENTION_AND_MLP, "resid.post.3"],
    f"mlp?{PLACE}": ["mlp_out.3", "resid.mid.3", "resid.post.3"],
    f"attention?{PLACE}&x-step=merge": ["attn_out.3", "resid.pre.3", "resid.mid.3"],
    "input?position=8": ["wte.weight", "wpe.weight", "resid.pre.0"],
}


@pytest.mark.parametrize("width", [WIDE, PHONE])
@pytest.mark.parametrize("view", ADDED)
def test_strips_that_are_added_share_one_legend_and_one_line(visit: Visit, view: str, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 800})
    visit.open(f"#1/{view}")
    [group] = visit.page.locator(".strips").all()
    canvases = group.locator("canvas")
    tensors = canvases.evaluate_all("(all) => all.map((each) => each.dataset.tensor)")
    assert tensors == ADDED[view]
    assert len(set(canvases.evaluate_all("(all) => all.map((each) => each.dataset.limit)"))) == 1
    assert group.locator(".legend").count() == group.locator(".readout").count() == 1
    high = group.locator("cell-grid").evaluate_all("(all) => all.map((each) => each.offsetHeight)")
    assert max(high) < 110  # a strip of 22 pixels stood in 160


def test_pointing_at_a_strip_tells_its_number_and_moves_nothing(visit: Visit, explorer: Explorer) -> None:
    visit.open(f"#1/stack?{PLACE}")
    group = visit.page.locator(".strips")
    before = group.evaluate(BOX)
    visit.page.locator("h1").hover()
    for i, tensor in ((2, "resid.mid.3"), (0, "resid.pre.3"), (4, "resid.post.3")):
        canvas = group.locator("canvas").nth(i)
        canvas.hover(position={"x": 3, "y": 9})
        column = int(3.5 * explorer.model.config.n_embd / canvas.evaluate("(each) => each.clientWidth"))
        number = group.locator(".readout .number")
        assert (number.get_attribute("data-tensor"), number.get_attribute("data-index")) == (tensor, f"8,{column}")
        assert float(number.inner_text()) == pytest.approx(float(explorer.trace[tensor][8, column]), rel=1e-6)
        visit.page.wait_for_function(f"(i) => ({SHOWN}).every((is, at) => is === (at === i))", arg=i)
        assert group.evaluate(BOX) == before


def test_keys_alone_read_a_strip_and_reach_its_tools(visit: Visit) -> None:
    visit.open(f"#1/mlp?{PLACE}")
    group = visit.page.locator(".strips")
    group.locator("canvas").nth(1).focus()
    visit.page.keyboard.press("End")
    assert group.locator(".readout .number").get_attribute("data-tensor") == "resid.mid.3"
    visit.page.keyboard.press("Shift+Tab")
    visit.page.keyboard.press("Shift+Tab")
    focused = "document.activeElement.getAttribute('aria-label')"
    assert visit.page.evaluate(focused) == "Table: What came from attention"
    visit.page.keyboard.press("Enter")
    assert group.locator("table").count() == 1
    assert group.locator("table td .number").first.get_attribute("data-tensor") == "resid.mid.3"


def test_the_legend_follows_the_text(visit: Visit) -> None:
    visit.open("#1/input?position=8")
    group = visit.page.locator(".strips")
    before = group.locator(".legend").inner_text()
    group.locator("canvas").nth(1).hover()
    visit.page.get_by_role("spinbutton", name="Position").fill("0")
    visit.settle()
    assert group.locator(".legend").inner_text() != before
    assert group.locator(".readout .number").get_attribute("data-index", timeout=1000).startswith("0,")  # type: ignore[union-attr]
