"""Vectors that are added stand close together in one scale, with one legend; tools and numbers come when wanted."""

import numpy as np
import pytest

from tests.browser.conftest import Explorer
from tests.browser.numbers import printed
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
    [limit] = set(canvases.evaluate_all("(all) => all.map((each) => each.dataset.limit)"))
    assert float(limit) > 0
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
        assert printed(number.inner_text())[0] == pytest.approx(float(explorer.trace[tensor][8, column]), rel=1e-6)
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


@pytest.mark.parametrize("view", ["attention?x-step=softmax", "heads", "input", "article?x-figure=F35"])
def test_no_number_is_told_before_one_is_pointed_at(visit: Visit, view: str) -> None:
    visit.open(f"#1/{view}")
    readouts = visit.page.locator("main p.readout")
    assert readouts.count() > 0
    assert set(readouts.all_inner_texts()) == {""}


@pytest.mark.parametrize("how", ["Escape", "button"])
def test_a_matrix_is_enlarged_and_put_back(visit: Visit, how: str) -> None:
    visit.open("#1/heads")
    visit.page.evaluate("scrollTo(0, 200)")
    visit.page.wait_for_timeout(100)
    visit.settle()  # more rows of heads have come into sight
    grid = visit.page.locator(".beside cell-grid")
    button = grid.get_by_role("button", name="Enlarge")
    button.focus()
    before = visit.page.evaluate(PLACE_AND_SIZE)
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_function(f"(width) => ({PLACE_AND_SIZE})[2] > 2 * width", arg=before[2])
    assert button.get_attribute("aria-pressed") == "true"
    canvas = grid.locator("canvas")
    box = canvas.bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["y"] + box["height"] <= 800
    canvas.press("ArrowUp")
    assert grid.locator(".readout .number").count() == 1
    button.focus()
    visit.page.keyboard.press("Escape" if how == "Escape" else "Enter")
    visit.page.wait_for_function(f"(before) => String({PLACE_AND_SIZE}) === String(before)", arg=before)
    assert button.get_attribute("aria-pressed") == "false"
    assert button.evaluate("(each) => each === document.activeElement")


PLACE_AND_SIZE = """[scrollY, document.documentElement.scrollHeight,
  document.querySelector(".beside canvas").clientWidth, document.querySelector(".beside canvas").clientHeight]"""


def test_a_strip_is_not_enlarged(visit: Visit) -> None:
    visit.open("#1/stack")
    assert visit.page.locator("cell-grid").count() == 5
    assert visit.page.get_by_role("button", name="Enlarge").count() == 0


CELL = """([row, column]) => {
  const canvas = [...document.querySelectorAll("cell-grid canvas")].find((each) => each.dataset.rows === "9");
  const { width, height } = canvas.getBoundingClientRect();
  const [left, top] = [width - 9 * Math.min(64, (width - 104) / 9), 18];
  const [wide, high] = [(width - left) / 9, (height - top) / 9];
  return look.colours(canvas, Math.floor(left + column * wide) + 4, Math.floor(top + row * high) + 4, 1, 1);
}"""


@pytest.mark.parametrize(
    "view", ["attention?layer=5&head=5&x-step=softmax", "heads?layer=5&head=5", "article?x-figure=F40&layer=5&head=5"]
)
@pytest.mark.parametrize("dark", [False, True])
def test_much_stands_out_from_the_paper_and_what_is_masked_does_not(visit: Visit, view: str, dark: bool) -> None:
    visit.page.emulate_media(color_scheme="dark" if dark else "light")
    visit.open(f"#1/{view}")
    much, masked = (np.array(visit.page.evaluate(CELL, place)) for place in ([0, 0], [0, 8]))
    paper = np.array([21, 23, 28] if dark else [251, 250, 248])
    assert np.abs(much - paper).mean() > 150
    assert np.abs(masked - paper).mean() < 50
    assert (masked.max() - masked.min()) < 20  # grey, which no weight is


def test_the_ticks_of_the_legend_stand_where_the_colours_are(visit: Visit) -> None:
    visit.open("#1/heads")
    ticks = visit.page.locator(".legend.share").first.locator(".tick")
    places = ticks.evaluate_all(
        "(all) => all.map((each) => [parseFloat(each.textContent), parseFloat(each.style.left)])"
    )
    assert len(places) == 4
    for percent, place in places:
        assert place == pytest.approx(10 * percent**0.5, abs=0.1)  # colours go by the square root
