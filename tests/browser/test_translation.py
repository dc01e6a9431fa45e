"""The pages of a translator: they open on an example; one translates, and maps attention from source to target."""

import re

import numpy as np
import pytest
from playwright.sync_api import Locator

from cutaway.trace import Trace
from tests.browser.conftest import Explorer
from tests.browser.numbers import printed, wrong_cells, wrong_numbers
from tests.browser.visit import PHONE, WIDE, WORDS, Visit

pytestmark = pytest.mark.slow


def test_a_translator_opens_on_a_translation(translator_visit: Visit) -> None:
    translator_visit.open("")
    box = translator_visit.page.locator("[name=text]")
    assert box.input_value().endswith("<|en|> Where is the station?<|de|> Wo ist der Bahnhof?")
    tokens = translator_visit.page.locator(".tokens button").all_inner_texts()
    assert "<|de|>" in tokens


@pytest.mark.parametrize("language", ["en", "zh"])
def test_typed_control_tokens_are_said_to_be_text(translator_visit: Visit, language: str) -> None:
    translator_visit.open(f"#1/tokens?language={language}")
    page = translator_visit.page
    page.locator(".title select").select_option(language)
    page.locator("[name=text]").fill("<|en|> Run!<|de|>")
    said = page.locator(".draft").inner_text()
    assert WORDS["prompt.task.translation"][language] in said
    page.locator(".prompt button").click()
    translator_visit.settle()
    assert "<|de|>" not in page.locator(".tokens button").all_inner_texts()
    assert page.locator(".draft").count() == 0


def test_a_text_in_the_address_is_read(translator_visit: Visit) -> None:
    translator_visit.open("#1/tokens?text=Run!")
    assert translator_visit.page.locator("[name=text]").input_value().endswith("Run!")
    assert "station" not in translator_visit.page.locator("[name=text]").input_value()


def traced(visit: Visit, explorer: Explorer) -> Trace:
    """The trace of the text in the address."""
    return explorer.model.trace([int(i) for i in re.findall(r"[?&]ids=([\d,]+)", visit.page.url)[0].split(",")])


def translate(visit: Visit, sentence: str, direction: str) -> None:
    page = visit.page
    page.get_by_role("textbox", name="Sentence to translate").fill(sentence)
    page.get_by_role("radio", name=direction).check()
    before = page.url
    page.locator(".translate").get_by_role("button", name="Translate").click()
    page.wait_for_function("(before) => location.href !== before && location.href.includes('position=')", arg=before)
    visit.settle()


def pressed(visit: Visit) -> list[str]:
    return visit.page.locator(".translations [aria-pressed=true] .translated").all_inner_texts()


def marked(visit: Visit) -> dict[str, float]:
    """The tokens of the source with their weights."""
    tokens = visit.page.locator("ol[aria-labelledby=translation-source] li")
    return {
        each.locator(".token").inner_text(): printed(each.locator(".number").inner_text())[0] for each in tokens.all()
    }


def target(visit: Visit, name: str) -> Locator:
    return visit.page.locator("ol[aria-labelledby=translation-target]").get_by_role("button", name=name, exact=True)


def said(visit: Visit) -> str:
    return " ".join(visit.page.locator("#translation-said").inner_text().split())


def test_it_opens_on_the_head_that_goes_through_the_source(
    translator_visit: Visit, translator_explorer: Explorer
) -> None:
    translator_visit.open("#1/translation")
    page = translator_visit.page
    assert page.url.endswith("&layer=5&head=4&position=7")
    assert page.get_by_role("textbox", name="Sentence to translate").input_value() == "Where is the station?"
    assert page.get_by_role("radio", name="English → German").is_checked()
    assert pressed(translator_visit) == ["Wo ist der Bahnhof?"]
    weights = marked(translator_visit)
    assert max(weights, key=lambda token: weights[token]) == "␣is"
    assert target(translator_visit, "␣ist").get_attribute("aria-pressed") == "true"
    trace = traced(translator_visit, translator_explorer)
    assert wrong_numbers(trace, page.evaluate("look.numbers()")) == []
    [grid] = page.evaluate("(n) => look.grids(n)", 60)
    assert (grid["tensor"], grid["rows"], grid["columns"]) == ("attn.5", 6, 7)
    assert wrong_cells(trace, grid) == []


def test_a_sentence_is_translated_in_both_directions(translator_visit: Visit, translator_explorer: Explorer) -> None:
    translator_visit.open("#1/translation")
    model = translator_explorer.model
    for sentence, direction, way in (
        ("I am hungry.", "English → German", "<|en|> I am hungry.<|de|>"),
        ("Das Wetter ist heute schön.", "German → English", "<|de|> Das Wetter ist heute schön.<|en|>"),
    ):
        translate(translator_visit, sentence, direction)
        trace = traced(translator_visit, translator_explorer)
        written = model.decode(list(trace.ids))
        assert written.startswith(way)
        assert pressed(translator_visit) == [written.removeprefix(way).strip()]
        greedy = [int(trace.logits_at(i).argmax()) for i in range(trace.n_prefix - 1, len(trace) - 1)]
        assert greedy == list(trace.ids[trace.n_prefix :])
        labels = translator_visit.page.locator(".translations [aria-pressed=true] small").all_inner_texts()
        assert labels == ["greedy"]


def test_one_of_the_beams_is_looked_into(translator_visit: Visit, translator_explorer: Explorer) -> None:
    translator_visit.open("#1/translation")
    page = translator_visit.page
    scores = page.locator(".translations .number").all_inner_texts()
    assert len(scores) == 5
    values = [printed(each)[0] for each in scores]
    assert values == sorted(values, reverse=True)
    page.locator(".translations button").nth(3).click()
    page.locator(".translations button").nth(3).and_(page.locator("[aria-pressed=true]")).wait_for()
    translator_visit.settle()
    [text] = pressed(translator_visit)
    assert translator_explorer.model.decode(list(traced(translator_visit, translator_explorer).ids)).endswith(text)
    assert page.locator(".translations .number").all_inner_texts() == scores


def test_pointing_at_a_target_marks_what_it_looks_at(translator_visit: Visit, translator_explorer: Explorer) -> None:
    translator_visit.open("#1/translation")
    trace = traced(translator_visit, translator_explorer)
    before = marked(translator_visit)
    target(translator_visit, "␣Bahnhof").hover()
    weights = list(marked(translator_visit).values())
    np.testing.assert_allclose(weights, trace["attn.5"][4, 9, :7], atol=0.0051)  # after der
    assert "Before “␣Bahnhof” is written, at “␣der”, most weight is on ␣station 59 %" in said(translator_visit)
    translator_visit.page.locator("h1").hover()
    assert marked(translator_visit) == before
    assert translator_visit.page.url.endswith("position=7")
    target(translator_visit, "␣Bahnhof").click()
    translator_visit.settle()
    assert translator_visit.page.url.endswith("position=9")


def test_arrows_move_along_the_target_and_enter_chooses(translator_visit: Visit) -> None:
    translator_visit.open("#1/translation")
    page = translator_visit.page
    page.locator("ol[aria-labelledby=translation-target] button[tabindex='0']").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.textContent") == "␣Bahnhof"
    assert page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "translation-said"
    assert "␣station" in said(translator_visit)
    page.keyboard.press("Enter")
    translator_visit.settle()
    assert page.url.endswith("position=9")
    assert page.evaluate("document.activeElement.textContent") == "␣Bahnhof"
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.textContent") == "␣Wo"


@pytest.mark.parametrize("mean", ["layer", "all"])
def test_means_are_of_all_heads(translator_visit: Visit, translator_explorer: Explorer, mean: str) -> None:
    translator_visit.open("#1/translation")
    translator_visit.page.get_by_role("radio", name=f"the mean of {'all' if mean == 'all' else 'the layer'}").check()
    translator_visit.settle()
    assert f"x-mean={mean}" in translator_visit.page.url
    trace = traced(translator_visit, translator_explorer)
    layers = range(trace.config.n_layer) if mean == "all" else [5]
    expected = np.mean([trace[f"attn.{layer}"][:, 7, :7] for layer in layers], axis=(0, 1))
    np.testing.assert_allclose(list(marked(translator_visit).values()), expected, atol=0.0051)


def test_the_map_has_a_table_and_chooses(translator_visit: Visit) -> None:
    translator_visit.open("#1/translation")
    page = translator_visit.page
    page.get_by_role("button", name="Table: From source to target: layer 5, head 4").click()
    assert page.locator("cell-grid tbody th").all_inner_texts() == ["␣Wo", "␣ist", "␣der", "␣Bahnhof", "?", "(end)"]
    page.locator("main canvas").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    translator_visit.settle()
    assert page.url.endswith("position=8&x-table=attn")


def test_nothing_empty_stands_beside_the_map_of_heads(translator_visit: Visit) -> None:
    page = translator_visit.page
    page.set_viewport_size({"width": 1440, "height": 900})
    translator_visit.open("#1/translation")
    names = (".radios >> nth=-1", "figure.aligned", ".head-map")
    weights, aligned, heads = (page.locator(name).bounding_box() for name in names)
    assert weights
    assert aligned
    assert heads
    assert aligned["y"] - (weights["y"] + weights["height"]) <= 24
    assert aligned["x"] + aligned["width"] <= heads["x"]
    assert heads["y"] < aligned["y"] < heads["y"] + heads["height"]


def test_a_link_restores_it(translator_visit: Visit) -> None:
    translator_visit.open("#1/translation")
    translate(translator_visit, "Tom hat gestern einen roten Apfel gegessen.", "German → English")
    page = translator_visit.page
    page.get_by_role("radio", name="the mean of all heads").check()
    page.get_by_role("spinbutton", name="Layer").fill("3")
    translator_visit.settle()
    before = translator_visit.everything()
    translator_visit.leave_and_open(page.url)
    assert translator_visit.everything() == before
    assert page.get_by_role("radio", name="German → English").is_checked()


def test_try_this_shows_a_word_and_what_it_looks_at(translator_visit: Visit) -> None:
    translator_visit.open("#1/translation?layer=0&head=0")
    page = translator_visit.page
    assert page.locator(".try").inner_text() == "Try this See “␣ist” look at “␣is”"
    page.locator(".try button").click()
    translator_visit.settle()
    assert "layer=5&head=4&position=7" in page.url
    assert page.locator(".try").inner_text() == "Try this See “␣Bahnhof” look at “␣station”"


def test_another_text_is_said_to_be_no_translation(translator_visit: Visit) -> None:
    translator_visit.open("#1/translation?text=Run!")
    page = translator_visit.page
    assert WORDS["translation.none"]["en"] in page.locator("main").inner_text()
    translate(translator_visit, "Run!", "English → German")
    assert len(pressed(translator_visit)) == 1


def test_a_long_sentence_is_cut_and_says_so(translator_visit: Visit) -> None:
    translator_visit.open("#1/translation")
    translate(translator_visit, "The house is very beautiful. " * 20, "English → German")
    assert "tokens at its end were not read" in translator_visit.page.locator("main").inner_text()
    assert translator_visit.overflow() <= 0


def test_nothing_is_translated_with_changes(translator_visit: Visit) -> None:
    translator_visit.open("#1/translation?do=zero_ablate_head:layer=5,head=4")
    page = translator_visit.page
    assert page.locator(".translate").get_by_role("button", name="Translate").is_disabled()
    assert WORDS["play.unchanged"]["en"] in page.locator(".translate").inner_text()


def test_a_model_of_text_says_how_to_open_a_translator(visit: Visit) -> None:
    visit.open("#1/translation")
    assert WORDS["translation.absent"]["en"] in visit.page.locator("main").inner_text()
    assert visit.page.locator("main code").inner_text() == "cutaway explore --model builtin-translation"


@pytest.mark.parametrize(
    ("width", "dark", "language"), [(WIDE, False, "en"), (WIDE, True, "zh"), (PHONE, False, "en"), (PHONE, True, "zh")]
)
def test_it_is_whole_in_every_dress(translator_visit: Visit, width: int, dark: bool, language: str) -> None:
    translator_visit.open("#1/translation")
    translator_visit.dress(width, dark, language)
    assert translator_visit.overflow() <= 0
    assert translator_visit.untranslated() == []
    assert language == "en" or translator_visit.badly_translated() == []
    assert translator_visit.accessibility_faults() == []
