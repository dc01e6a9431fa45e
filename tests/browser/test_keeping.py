"""An interaction takes nothing away: the picture stays until the next one is there, and so do scroll and focus."""

import numpy as np
import pytest
from playwright.sync_api import Route

from cutaway.trace import Intervention
from tests.browser.conftest import Explorer
from tests.browser.visit import OFFERED, VIEWS, Visit

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
    assert 0 <= box["y"] < 60
    assert 0 <= box["x"] <= 1280 - box["width"]
    line = visit.page.locator(".tokens").bounding_box()
    assert line
    assert line["height"] < 60  # one line, however long the text


def test_what_was_typed_and_not_run_stays(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/play")
    box = visit.page.locator("[name=text]")
    box.fill("The old man ")
    visit.page.locator(".draft").get_by_text(f"5 of {explorer.model.config.n_ctx:,} tokens").wait_for()
    visit.page.locator("ol.candidates button").first.click()
    visit.settle()
    assert box.input_value() == "The old man "
    visit.page.get_by_role("button", name="Remove the space").click()
    assert box.input_value() == "The old man"
    visit.page.get_by_role("button", name="Discard").click()
    assert box.input_value().startswith("A robot")
    assert visit.page.locator(".draft").count() == 0


@pytest.mark.parametrize(("language", "message"), [("en", "shorten it"), ("zh", "请缩短")])
def test_an_error_is_in_the_language_of_the_page_and_names_what_is_still_shown(
    visit: Visit, explorer: Explorer, language: str, message: str
) -> None:
    n_ctx = explorer.model.config.n_ctx
    too_long = "robot " * (n_ctx + 1)
    visit.open(f"#1/play?language={language}")
    visit.page.locator("[name=text]").fill(too_long)
    visit.page.locator("form.prompt button").click()
    failure = visit.page.locator(".failure")
    failure.wait_for()
    assert message in failure.inner_text()
    assert f"{n_ctx:,}" in failure.inner_text()
    assert {"en": "still the text before", "zh": "之前的文本"}[language] in failure.inner_text()
    assert visit.page.locator("main.previous").count() == 1
    box = visit.page.locator("[name=text]")
    assert box.input_value() == too_long  # to be shortened
    above = failure.bounding_box()
    below = box.bounding_box()
    assert above
    assert below
    assert above["y"] + above["height"] <= below["y"]  # the box, which is open, does not cover it
    visit.complaints.clear()  # a browser reports every answer that is an error


def test_a_link_that_cannot_be_read_offers_a_beginning(visit: Visit) -> None:
    visit.page.goto(f"{visit.address}#1/play?ids=999999")
    visit.page.get_by_role("button", name="Start with the example").click()
    visit.settle()
    assert visit.page.locator(".tokens .token").count() == 9
    visit.complaints.clear()


def test_menus_close_with_escape_and_with_a_press_elsewhere(visit: Visit) -> None:
    visit.open("#1/input")
    for close in ("key", "press"):
        visit.page.locator(".tools summary").first.click()
        assert visit.page.locator(".tools details[open]").count() == 1
        if close == "key":
            visit.page.keyboard.press("Escape")
        else:
            visit.page.locator("h1").click()
        assert visit.page.locator(".tools details[open]").count() == 0


def test_a_number_out_of_range_is_marked_and_made_to_fit(visit: Visit, explorer: Explorer) -> None:
    last = explorer.model.config.n_layer - 1
    visit.open("#1/attention?layer=3")
    field = visit.page.get_by_role("spinbutton", name="Layer")
    field.fill("")
    assert "layer=3" in visit.page.url
    field.fill("99")
    assert field.evaluate("(each) => each.matches(':invalid')")
    field.press("Enter")
    field.blur()
    visit.settle()
    assert field.input_value() == str(last)
    assert f"layer={last}" in visit.page.url


def test_requests_of_a_view_that_was_left_are_dropped(visit: Visit) -> None:
    """The head that is chosen is not asked for behind the thousand that are no longer shown."""
    dropped = list[str]()
    visit.page.on("requestfailed", lambda request: dropped.append(request.url))
    visit.open(f"#1/play?ids={','.join(['9379', '262'] * 150)}")
    with visit.page.expect_request("**/figures/T1*"):
        visit.page.evaluate("location.hash = location.hash.replace('/play', '/article') + '&x-figure=T1'")
    visit.page.evaluate("location.hash = location.hash.replace('T1', 'F18')")
    visit.settle()
    assert any("/figures/T1" in url for url in dropped)
    assert visit.page.locator(".failure").count() == 0


def test_a_new_token_asks_for_its_own_surprisal_only(visit: Visit) -> None:
    visit.open("#1/play")
    asked = list[str]()
    visit.page.on("request", lambda request: asked.append(request.url) if "surprisal" in request.url else None)
    for _ in range(2):
        visit.page.locator("ol.candidates button").first.click()
        visit.settle()
    assert [url.rpartition("?")[2] for url in asked] == ["first=9", "first=10"]


@pytest.mark.parametrize("ids", ["32,9379,1276", "50256,9379", "50256,32,9379,340"])
def test_the_surprisal_of_another_text_is_its_own(visit: Visit, explorer: Explorer, ids: str) -> None:
    visit.open("#1/play?ids=50256,32,9379,1276")
    visit.settle()
    visit.page.evaluate("(ids) => { location.hash = `#1/play?ids=${ids}`; }", ids)
    visit.settle()
    tokens = [int(token) for token in ids.split(",")]
    probs = explorer.trace_of(tokens)["probs"]
    shown = [float(text) for text in visit.page.locator("ol.surprisal .number").all_inner_texts()]
    expected = [-np.log(probs[i, token]) for i, token in enumerate(tokens[1:])]
    assert shown == pytest.approx(expected, abs=0.006)


def test_the_surprisal_of_a_changed_model_is_its_own(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/play")
    visit.page.evaluate("location.hash = '#1/play?do=no_positions'")
    visit.page.locator(".changed b").wait_for()
    visit.settle()
    probs = explorer.trace.intervene(Intervention("no_positions"))["probs"]
    shown = [float(text) for text in visit.page.locator("ol.surprisal .number").all_inner_texts()]
    expected = [-np.log(probs[i, token]) for i, token in enumerate(explorer.ids[1:])]
    assert shown == pytest.approx(expected, abs=0.006)


def test_an_earlier_token_shows_what_was_expected_after_it_and_writes_on_from_there(visit: Visit) -> None:
    visit.open("#1/play?position=3")
    came = visit.page.locator(".candidates .came .token")
    assert came.inner_text().startswith("␣obey")
    visit.page.locator("ol.candidates button").first.click()
    visit.settle()
    assert visit.page.locator(".tokens .token").count() == 5


def test_surprise_is_a_colour_of_its_own_for_each_token(visit: Visit) -> None:
    visit.open("#1/play")
    tokens = visit.page.locator("ol.surprisal button")
    heats = tokens.evaluate_all("(all) => all.map((each) => parseFloat(each.style.getPropertyValue('--heat')))")
    nats = [float(text) for text in tokens.locator(".number").all_inner_texts()]
    assert [heat for _, heat in sorted(zip(nats, heats, strict=True))] == sorted(heats)
    assert len(set(heats)) > 5  # none is only as long as its word
    tokens.nth(3).click()
    visit.settle()
    assert visit.page.locator(".candidates .came .token").inner_text().startswith("␣obey")


def test_the_pieces_of_a_character_stand_together(visit: Visit) -> None:
    visit.open("#1/attention?text=%E6%9C%BA%E5%99%A8")
    assert visit.page.locator(".tokens .joined > span").all_inner_texts() == ["机", "器"]
    assert "机·1" in visit.page.locator(".meeting").inner_text()
    assert visit.page.locator(".tokens button").first.get_attribute("aria-label") == "<|endoftext|>"


def test_a_frame_stands_there_before_the_model_answers(visit: Visit) -> None:
    held = list[Route]()

    def hold(route: Route) -> None:
        held.append(route)

    visit.page.route("**/api/model", hold)
    visit.page.goto(f"{visit.address}#1/play")
    assert visit.page.locator("#frame .brand").inner_text() == "Cutaway"
    while not held:
        visit.page.wait_for_timeout(50)
    held[0].continue_()
    visit.settle()
    assert visit.page.locator("#frame").count() == 0
    assert visit.page.locator("ol.candidates button").count() == 10


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_words_of_a_view_are_explained(visit: Visit, language: str) -> None:
    for view in VIEWS:
        visit.open(f"#1/{view}?language={language}")
        visit.page.locator(".glossary").evaluate("(each) => { each.open = true; }")
        meanings = visit.page.locator(".glossary dd").all_inner_texts()
        assert len(meanings) >= 2
        assert all(len(meaning) > 5 for meaning in meanings), meanings


@pytest.mark.parametrize(("view", "tokens"), [("play", ".surprisal"), ("tokens", ".chips")])
def test_another_token_is_pressed_without_drawing_the_others_again(visit: Visit, view: str, tokens: str) -> None:
    visit.open(f"#1/{view}")
    found = visit.page.locator(tokens).first
    pressed = found.locator("[aria-pressed=true]")
    found.locator("button").nth(2).click()
    visit.settle()
    found.evaluate(
        """(list) => {
          globalThis.changed = [];
          new MutationObserver((records) => changed.push(...records.map(({ target }) => target.tagName)))
            .observe(list, { subtree: true, childList: true, attributes: true, characterData: true });
        }"""
    )
    found.locator("button").nth(4).click()
    visit.settle()
    assert visit.page.evaluate("changed") == ["BUTTON", "BUTTON"]
    assert pressed.count() == 1
    assert found.locator("button").nth(4).get_attribute("aria-pressed") == "true"
    visit.page.locator(".title select").select_option("zh")
    visit.settle()
    assert pressed.count() == 1


TEXT = "机器 🤖 robots must obey the orders"
RAW = """(labels) => {
  const VOCABULARY = "[data-tensor^=lens], .candidates, .likely, .lens, .names, .bars, .output";
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    const { data, parentElement: parent } = texts.currentNode;
    if (labels.includes(data.trim()) && !parent.closest(VOCABULARY)) found.push(data);
  }
  return found;
}"""


@pytest.mark.parametrize(
    "view", [view for view in OFFERED if view not in ("tokens", "article")]
)  # where bytes are shown
def test_the_pieces_of_a_character_are_called_after_it_in_every_view(
    tour: Visit, explorer: Explorer, view: str
) -> None:
    labels = [explorer.model.tokenizer.label(token) for token in explorer.model.encode(TEXT)]  # type: ignore[union-attr]
    raw = [label for label in labels if "\\x" in label]
    assert len(raw) > 5
    tour.open(f"#1/{view}?text={TEXT}&position=2")
    seen = str(tour.everything()["text"])
    assert tour.page.evaluate(RAW, raw) == []
    assert "机" in seen
    if view in ("play", "attention", "stack", "loop", "overview", "input", "compare"):
        assert "机·" in (tour.page.locator("main").text_content() or "")


def test_in_figures_of_the_article_too(tour: Visit, explorer: Explorer) -> None:
    labels = [explorer.model.tokenizer.label(token) for token in explorer.model.encode(TEXT)]  # type: ignore[union-attr]
    raw = [label for label in labels if "\\x" in label]
    for figure in ("F15", "F22", "F24", "F30", "F33", "F36", "F37", "F43", "F50", "F60"):
        tour.open(f"#1/article?text={TEXT}&x-figure={figure}")
        assert tour.page.evaluate(RAW, raw) == [], figure


@pytest.mark.parametrize(
    ("view", "button", "opened"),
    [
        ("heads", ".beside .buttons button", "Attention"),
        ("heads", ".atlas [aria-pressed=true]", "Attention"),
        ("stack", "main .buttons button >> nth=0", "Attention"),
        ("whatif?do=no_scale", "main .buttons button >> nth=1", "Compare"),
    ],
)
def test_a_view_that_a_button_opens_begins_at_its_top(visit: Visit, view: str, button: str, opened: str) -> None:
    visit.page.set_viewport_size({"width": 1280, "height": 500})
    visit.open(f"#1/{view}")
    visit.page.evaluate("scrollTo(0, 400)")
    visit.page.locator(button).evaluate("(each) => each.click()")
    visit.settle()
    assert visit.page.locator("h1").inner_text() == opened
    assert visit.page.evaluate("scrollY") == 0


def test_the_loop_shows_the_token_that_is_pressed_and_writes_on_from_there(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/loop")
    visit.page.locator(".tokens button").nth(3).click()
    visit.settle()
    best = explorer.model.tokenizer.label(int(explorer.trace.logits_at(3).argmax()))  # type: ignore[union-attr]
    assert visit.page.locator("svg.loop .output").text_content().strip() == best  # type: ignore[union-attr]
    assert "becomes position 5 (index 4)" in visit.page.locator(".becomes").inner_text()
    visit.page.get_by_role("button", name="Write the likeliest token").click()
    visit.settle()
    assert visit.page.locator(".tokens button").all_inner_texts()[3:] == ["␣must", best]


def test_what_is_typed_is_shown_as_tokens_and_an_empty_box_has_examples(visit: Visit) -> None:
    visit.open("#1/play")
    box = visit.page.locator("[name=text]")
    draft = visit.page.locator(".draft")
    box.fill("A robot 机")
    draft.locator(".token").nth(3).wait_for()
    assert draft.locator(".token").all_inner_texts() == ["A", "␣robot", "机·1", "机·2"]
    assert "5 of 1,024 tokens" in draft.inner_text()
    box.fill("")
    example = draft.locator("button").first
    words = example.inner_text()
    example.press("Enter")
    assert box.input_value() == words
    draft.get_by_text("tokens", exact=False).first.wait_for()


@pytest.mark.parametrize("view", ["play", "loop", "overview"])
def test_a_full_text_takes_no_token(mute_visit: Visit, mute_explorer: Explorer, view: str) -> None:
    full = mute_explorer.model.config.n_ctx
    mute_visit.open(f"#1/{view}?ids={','.join(['7'] * full)}")
    buttons = "ol.candidates button" if view != "loop" else ".buttons button >> nth=0"
    assert {button.is_disabled() for button in mute_visit.page.locator(buttons).all()} == {True}
    if view == "play":
        assert f"The context is full: {full} tokens." in mute_visit.page.locator("main").inner_text()


def test_a_link_to_a_later_token_is_not_cut(visit: Visit) -> None:
    visit.open("#1/whatif")
    form = visit.page.locator("form", has=visit.page.locator("[name=key]"))
    form.locator("[name=query]").fill("3")
    form.locator("[name=query]").press("Tab")
    visit.page.wait_for_url("**position=3**")
    visit.settle()
    visit.page.keyboard.type("7")  # instead of what Tab has marked
    form.get_by_role("button").click()
    visit.page.locator(".failure").get_by_text("choose an earlier key").wait_for()
    assert "do=" not in visit.page.url
