"""Attention is one picture on one screen, and every step lights its columns."""

import re
from urllib.parse import unquote

import numpy as np
import pytest

from tests.browser.conftest import Explorer
from tests.browser.visit import PHONE, WORDS, Visit

pytestmark = pytest.mark.slow

STEPS = ["vectors", "scores", "scaled", "masked", "softmax", "sum", "merge"]


def test_the_picture_fits_one_screen(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 1440, "height": 900})
    visit.open("#1/attention")
    for part in (".meeting", ".stepper"):
        box = visit.page.locator(part).bounding_box()
        assert box
        assert box["y"] + box["height"] <= 900
        assert box["x"] + box["width"] <= 1440
    assert visit.page.locator(".meeting tbody tr").count() == 9


def test_step_by_step_the_columns_are_lit(visit: Visit) -> None:
    visit.open("#1/attention")
    assert visit.page.locator(".meeting .lit").count() == 0  # before the first step all of them are shown
    slider = visit.page.get_by_role("slider", name=WORDS["player.scrub"]["en"])
    assert slider.get_attribute("aria-valuetext") == WORDS["attention.picture"]["en"]
    lit = set()
    step = visit.page.get_by_role("button", name="Step", exact=True)
    step.focus()
    for name in STEPS:
        visit.page.keyboard.press("Enter")
        visit.settle()
        assert f"x-step={name}" in visit.page.url
        assert visit.page.locator(".stages [aria-current]").inner_text().startswith(str(STEPS.index(name) + 1))
        assert slider.get_attribute("aria-valuetext") == WORDS[f"attention.{name}"]["en"]
        lit.add(visit.page.locator(".meeting .lit").evaluate_all("(all) => all.map((each) => each.cellIndex).join()"))
        assert step.evaluate("(each) => each === document.activeElement")
    assert len(lit) == len(STEPS) - 1  # the mask is in the column of the scores
    assert "" not in lit


def test_weights_are_percent_and_in_the_readout_exact(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/attention?x-step=softmax&layer=5&head=5&position=8&x-key=2")
    grid = visit.page.locator("cell-grid").last
    assert grid.locator(".legend .tick").all_inner_texts() == ["0", "5", "25", "100 %"]
    canvas = grid.locator("canvas")
    assert (canvas.get_attribute("aria-label") or "").startswith("All tokens: 9 by 9 numbers from 0.0 % to 100 %.")
    canvas.press("ArrowLeft")
    canvas.press("ArrowRight")
    weight = explorer.trace["attn.5"][5, 8, 2]
    assert np.float32(grid.locator(".readout .number").inner_text()) == weight
    visit.open("#1/attention?x-step=sum&layer=5&head=5&position=8")
    table = visit.page.locator("table", has=visit.page.locator("th:text-is('w·v[0]')"))
    weights = table.locator("tbody td:nth-child(2)").all_inner_texts()
    assert weights == [f"{100 * each:.2f} %" for each in explorer.trace["attn.5"][5, 8]]


def test_the_slider_reaches_the_first_step(visit: Visit) -> None:
    visit.open("#1/attention")
    visit.page.get_by_role("slider", name=WORDS["player.scrub"]["en"]).press("ArrowRight")
    visit.settle()
    assert f"x-step={STEPS[0]}" in visit.page.url


def test_play_goes_through_all_steps_and_ends(private_visit: Visit) -> None:
    private_visit.page.clock.install()
    private_visit.open("#1/attention?x-step=softmax")
    private_visit.page.get_by_role("button", name="Play").click()
    private_visit.page.clock.run_for(2600)
    private_visit.page.wait_for_function("() => location.hash.includes('x-step=sum')")
    private_visit.page.clock.run_for(10000)
    private_visit.page.wait_for_function("() => location.hash.includes('x-step=merge')")
    private_visit.page.get_by_role("button", name="Play").wait_for()


def test_less_motion_leaves_the_steps(visit: Visit) -> None:
    visit.page.emulate_media(reduced_motion="reduce")
    visit.open("#1/attention")
    assert visit.page.get_by_role("button", name="Play").count() == 0
    visit.page.get_by_role("button", name="Step", exact=True).click()
    visit.settle()
    assert "x-step=vectors" in visit.page.url


def test_a_strip_tells_the_number_under_the_pointer(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/attention?layer=6&head=3")
    strip = visit.page.locator(".meeting tbody number-strip").first
    box = strip.bounding_box()
    assert box
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    number = visit.page.locator("read-out .number")
    (head, token, column) = map(int, (number.get_attribute("data-index") or "").split(","))
    assert (head, token) == (3, 0)
    assert np.float32(number.inner_text()) == explorer.trace["k.6"][head, token, column]


def test_links_worth_seeing_open_their_head(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/attention?position=5")
    visit.page.locator(".links button").first.click()
    visit.settle()
    assert visit.page.locator(".meeting tr.marked").count() == 1
    (head, query, key) = map(
        int, (visit.page.locator(".links .number").first.get_attribute("data-index") or "").split(",")
    )
    weights = [
        explorer.trace[f"attn.{layer}"][:, query, 1 : query - 1].max() for layer in range(explorer.model.config.n_layer)
    ]
    assert explorer.trace[f"attn.{int(np.argmax(weights))}"][head, query, key] == max(weights)


@pytest.mark.parametrize("tokens", [9, 200])
def test_a_phone_shows_the_token_that_looks(visit: Visit, tokens: int) -> None:
    visit.page.set_viewport_size({"width": PHONE, "height": 800})
    visit.open(f"#1/attention?ids={','.join((['50256', '32', '9379'] * tokens)[:tokens])}")
    looks = visit.page.locator("svg.arcs text.strong").bounding_box()
    assert looks
    if tokens == 9:
        assert looks["x"] + looks["width"] <= PHONE
    assert visit.overflow() <= 0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_before_the_first_step_the_whole_picture_is_explained(visit: Visit, language: str) -> None:
    visit.open(f"#1/attention?language={language}")
    note = visit.page.locator(".explains")
    assert note.inner_text() == WORDS["attention.begin.note"][language]
    assert WORDS["attention.z"][language] in visit.page.locator(".meeting tfoot").inner_text()
    visit.open(f"#1/attention?language={language}&x-step=softmax")
    assert note.inner_text() == WORDS["attention.softmax.note"][language]


def test_links_name_layer_head_and_share_in_words(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/attention")
    previous = [explorer.trace[f"attn.{layer}"][:, 8, 7] for layer in range(explorer.model.config.n_layer)]
    (layer, head) = np.unravel_index(np.argmax(previous), np.shape(previous))
    words = f"the one before: layer {layer}, head {head} gives {100 * np.max(previous):.0f} %"
    assert words in visit.page.locator(".links").inner_text()


def test_only_what_is_shown_of_a_head_is_fetched(visit: Visit) -> None:
    visit.open("#1/attention?layer=2&head=1")
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(unquote(request.url)))
    visit.page.evaluate("location.hash = location.hash.replace('head=1', 'head=3')")
    visit.page.wait_for_selector("canvas[data-tensor='attn.2'][data-offset='243']")
    [request] = [url for url in asked if "/tensors?" in url]
    matrices = [sel for sel in re.findall(r"sel=([^&]+)", request) if sel.endswith("[3,:,:]")]
    assert sorted(matrices) == ["attn.2[3,:,:]", "k.2[3,:,:]", "v.2[3,:,:]"]  # of the scores one row


ARCS = "(all) => all.map((each) => each.dataset.index)"
HEATS = "() => [...document.querySelectorAll('.tokens button')].map((each) => each.style.getPropertyValue('--heat'))"


def test_pointing_at_a_row_lights_its_arc_and_its_cell(visit: Visit) -> None:
    visit.open("#1/attention?layer=5&head=5&x-step=softmax")
    picture = "[...document.querySelectorAll('cell-grid canvas')].at(-1).toDataURL()"
    before = visit.page.evaluate(picture)
    visit.page.locator(".meeting tbody tr").nth(2).hover()
    assert visit.page.locator(".meeting tr.marked th").all_inner_texts() == ["␣robot"]
    assert visit.page.locator(".arcs .lit").evaluate_all(ARCS) == ["5,8,2"]
    assert visit.page.evaluate(picture) != before  # its cell has the frame
    visit.page.locator("h1").hover()
    assert visit.page.locator(".meeting tr.marked, .arcs .lit").count() == 0
    assert visit.page.evaluate(picture) == before


def test_the_text_is_coloured_by_what_the_token_that_is_pointed_at_looks_at(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/attention?layer=5&head=5")
    tokens = visit.page.locator(".tokens button")
    for query in (8, 3, 8):
        if query == 3:
            tokens.nth(query).hover()
        else:
            visit.page.locator("h1").hover()
        visit.settle()
        weights = explorer.trace["attn.5"][5, query]
        heats = [float(heat.removesuffix("%") or 0) for heat in visit.page.evaluate(HEATS)]
        np.testing.assert_allclose(heats, 100 * np.sqrt(weights), atol=0.51)
    visit.open("#1/mlp")
    assert set(visit.page.evaluate(HEATS)) == {""}


def test_without_the_mask_the_softmax_is_said_to_count_later_tokens(visit: Visit) -> None:
    visit.open("#1/attention?x-step=softmax&do=no_mask")
    assert visit.page.locator(".explains").inner_text() == WORDS["attention.softmax.note.nomask"]["en"]


def test_in_a_long_text_the_arcs_of_a_wide_window_are_all_in_sight(visit: Visit) -> None:
    visit.open(f"#1/attention?ids={','.join((['50256', '32', '9379'] * 120)[:353])}")
    for arc in (visit.page.locator("svg.arcs text.strong"), visit.page.locator("svg.arcs")):
        box = arc.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1280


def test_the_same_links_choose_a_head_among_all(visit: Visit) -> None:
    visit.open("#1/attention?position=5")
    links = visit.page.locator(".links button").all_inner_texts()
    visit.open("#1/heads?position=5")
    assert visit.page.locator(".links button").all_inner_texts() == links
    visit.page.locator(".links button").last.click()
    visit.settle()
    (layer, head) = re.findall(r"layer (\d+), head (\d+)", links[-1])[0]
    assert visit.page.locator(".beside h2").inner_text() == f"Layer {layer}, head {head}"
