"""Everything can be done with the keys alone, and one sees where one is."""

import re

import numpy as np
import pytest

from cutaway.layout import minus
from tests.browser.conftest import Explorer
from tests.browser.visit import VIEWS, Visit

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("view", VIEWS)
def test_the_tab_key_reaches_every_control(visit: Visit, view: str) -> None:
    visit.open(f"#1/{view}" + ("?x-figure=F40" if view == "article" else ""))  # the chapter's last: nothing is unrolled
    wanted = visit.page.evaluate("look.focusable()")
    for _ in wanted:
        visit.page.keyboard.press("Tab")
    visited = visit.page.evaluate("look.visited")
    assert [each["name"] for each in visited if not each["isMarked"]] == []  # one sees where the focus is
    assert sorted(each["name"] for each in visited) == sorted(wanted)
    assert any(name.startswith("canvas") for name in wanted) == (visit.page.locator("cell-grid").count() > 0)


def test_enter_reads_a_text_opens_a_view_and_chooses_a_token(visit: Visit) -> None:
    visit.open("#1/play")
    visit.page.get_by_role("textbox", name="Text that the model reads").focus()
    visit.page.keyboard.press("Control+A")
    visit.page.keyboard.type("Hello there")
    visit.page.keyboard.press("Enter")
    tokens = visit.page.locator(".tokens button")
    tokens.get_by_text("␣there").wait_for()
    assert tokens.all_inner_texts() == ["<|endoftext|>", "Hello", "␣there"]
    tokens.nth(1).focus()
    visit.page.keyboard.press("Enter")
    assert tokens.nth(1).get_attribute("aria-pressed") == "true"
    visit.page.get_by_role("link", name="Attention").focus()
    visit.page.keyboard.press("Enter")
    visit.settle()
    assert visit.page.locator("h1").inner_text() == "Attention"
    visit.page.locator(".skip").focus()
    visit.page.keyboard.press("Enter")
    assert visit.page.evaluate("document.activeElement.id") == "main"


def test_keys_move_the_cursor_of_a_grid(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/attention?layer=3&head=2&x-step=vectors")
    grid = visit.page.locator("cell-grid").filter(has=visit.page.locator("canvas[data-rows='9']")).first
    number = grid.locator(".readout .number")
    grid.locator("canvas").focus()
    here = (0, 0)
    (rows, columns) = explorer.trace["q.3"].shape[1:]
    moves = {
        "ArrowDown": (1, 0), "ArrowRight": (0, 1), "End": (0, columns), "PageDown": (10, 0), "ArrowLeft": (0, -1),
        "ArrowUp": (-1, 0), "Home": (0, -columns), "PageUp": (-10, 0),
    }  # fmt: skip
    for key, (down, across) in moves.items():
        visit.page.keyboard.press(key)
        here = min(max(here[0] + down, 0), rows - 1), min(max(here[1] + across, 0), columns - 1)
        assert number.get_attribute("data-index") == f"2,{here[0]},{here[1]}", key
        assert number.inner_text() == minus(str(explorer.trace["q.3"][2][here])), key


def test_enter_on_a_cell_picks_it_and_its_table_says_the_same(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/attention?layer=3&head=2&position=8")
    grid = visit.page.locator("cell-grid").filter(has=visit.page.locator("canvas[data-rows='9']"))
    grid.locator("canvas").focus()
    for key in ("ArrowUp", "ArrowUp", "Home", "Enter"):
        visit.page.keyboard.press(key)
    visit.settle()
    assert visit.page.get_by_role("spinbutton", name="Position").input_value() == "6"
    grid.get_by_role("button", name="Table").press("Enter")
    cells = grid.locator("td .number").all_inner_texts()
    assert [np.float32(cell) for cell in cells] == explorer.trace["attn.3"][2].ravel().tolist()


@pytest.mark.parametrize("name", ["Vectors", "Next: The next token →"])
def test_the_focus_goes_along_to_the_view_that_a_link_opens(visit: Visit, name: str) -> None:
    visit.open("#1/overview")
    said = visit.page.locator(".said")
    assert said.inner_text() == "The machine: 9 tokens; the last one is “␣it”"
    visit.page.get_by_role("link", name=name).first.press("Enter")
    visit.settle()
    assert visit.page.evaluate("document.activeElement.id") == "main"
    title = visit.page.locator("h1").inner_text()
    assert visit.page.get_by_role("main", name=title, exact=True).count() == 1
    assert said.inner_text() == f"{title}: 9 tokens; the last one is “␣it”"  # announced, as the role of the line says
    assert said.get_attribute("role") == "status"


def test_a_button_that_goes_leaves_the_focus_on_the_page(visit: Visit) -> None:
    visit.open("#1/play")
    box = visit.page.get_by_role("textbox", name="Text that the model reads")
    box.fill("Hello")
    visit.page.get_by_role("button", name="Discard").press("Enter")
    assert box.evaluate("(box) => box === document.activeElement")


def test_what_texts_are_compared_with_keeps_the_focus(visit: Visit) -> None:
    visit.open("#1/compare")
    for name in ("Without the changes", "Another text"):
        button = visit.page.get_by_role("button", name=name)
        button.press("Enter")
        visit.settle()
        assert button.evaluate("(button) => button === document.activeElement")


def test_the_token_that_the_arrows_choose_is_announced(visit: Visit) -> None:
    visit.open("#1/stack?position=2")
    visit.page.get_by_role("button", name="The token after").press("Enter")
    visit.settle()
    assert visit.page.locator(".said").inner_text() == "Stack: “␣must”, position 4 (index 3)"


@pytest.mark.parametrize("menu", [".share", "article .tools details"])
def test_escape_closes_a_menu_and_leaves_the_focus_on_its_name(visit: Visit, menu: str) -> None:
    visit.open("#1/article?x-figure=F40")
    name = visit.page.locator(f"{menu} summary").first
    name.press("Enter")
    visit.page.keyboard.press("Tab")
    visit.page.keyboard.press("Escape")
    assert visit.page.locator(menu).first.get_attribute("open") is None
    assert name.evaluate("(name) => name === document.activeElement")


def test_sliders_say_what_they_set(visit: Visit, music_visit: Visit) -> None:
    visit.open("#1/play")
    music_visit.open("#1/music")
    assert [_slider_names(visit), _slider_names(music_visit)] == [
        ["Temperature 1", "Top-k (0: all) 40", "Top-p 1"],
        ["Temperature 1", "Top-p 0.98", "Events at most 79"],
    ]


def test_a_button_keeps_the_focus_while_it_writes_or_plays(music_visit: Visit) -> None:
    music_visit.open("#1/music?x-n=9")
    for name in ("A new piece", "Continue this one", "from"):
        button = music_visit.page.get_by_role("button", name=name)
        before = music_visit.page.url
        button.press("Enter")
        if name != "from":
            music_visit.page.wait_for_url(re.compile(f"^(?!{re.escape(before)}$)"))
        music_visit.settle()
        assert button.evaluate("(button) => button === document.activeElement"), name


def _slider_names(visit: Visit) -> list[str]:
    """As the browser tells them to a screen reader."""
    nodes = visit.page.context.new_cdp_session(visit.page).send("Accessibility.getFullAXTree")["nodes"]
    return [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "slider"]


def test_a_change_of_the_model_is_announced(visit: Visit) -> None:
    visit.open("#1/whatif")
    told = visit.page.locator(".strip .changed[role=status]")
    assert told.inner_text() == ""
    visit.page.get_by_role("switch").first.press("Enter")
    visit.settle()
    assert told.inner_text().startswith("The model is changed (1): ")
    told.get_by_role("button").press("Enter")
    visit.settle()
    assert told.inner_text() == ""


def test_the_figure_that_is_turned_to_is_announced(visit: Visit) -> None:
    visit.open("#1/article")
    told = visit.page.locator(".article > [role=status]")
    before = told.inner_text()
    visit.page.keyboard.press("ArrowRight")
    visit.settle()
    assert told.inner_text() != before
    assert told.inner_text() in visit.page.locator("article h2").first.inner_text()


def test_a_measured_proof_is_announced(visit: Visit) -> None:
    visit.open("#1/loop")
    visit.page.get_by_role("button", name="Measure now").press("Enter")
    visit.page.locator("main [role=status] .measured").wait_for()


@pytest.mark.parametrize(("language", "first"), [("en", "q, k, v"), ("zh", "q、k、v")])
def test_a_button_that_steps_says_where_it_is(visit: Visit, language: str, first: str) -> None:
    visit.open(f"#1/attention?language={language}")
    told = visit.page.locator(".player [role=status]")
    visit.page.locator(".player button").last.press("Enter")
    visit.settle()
    assert told.inner_text() == first
    visit.page.locator(".player input").press("ArrowRight")  # which a slider says itself
    visit.settle()
    assert told.inner_text() == ""


def test_measuring_keeps_the_focus_on_its_button(visit: Visit) -> None:
    visit.open("#1/whatif")
    visit.page.get_by_role("button", name="Measure all eight on this text").press("Enter")
    visit.page.get_by_role("button", name="Stop").wait_for()
    assert visit.page.evaluate("document.activeElement.textContent") == "Stop"
    visit.page.locator(".verdict").nth(7).wait_for()
    visit.settle()
    assert visit.page.evaluate("document.activeElement.textContent") == "Measure all eight on this text"
