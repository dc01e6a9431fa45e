"""The page of a model that has learned a task: it opens on an example, and says what typed control tokens are."""

import pytest

from tests.browser.visit import WORDS, Visit

pytestmark = pytest.mark.slow


def test_a_translator_opens_on_a_translation(translator_visit: Visit) -> None:
    translator_visit.open("")
    box = translator_visit.page.locator("textarea")
    assert box.input_value().endswith("<|en|> Where is the station?<|de|> Wo ist der Bahnhof?")
    tokens = translator_visit.page.locator(".tokens button").all_inner_texts()
    assert "<|de|>" in tokens


@pytest.mark.parametrize("language", ["en", "zh"])
def test_typed_control_tokens_are_said_to_be_text(translator_visit: Visit, language: str) -> None:
    translator_visit.open(f"#1/tokens?language={language}")
    page = translator_visit.page
    page.locator(".title select").select_option(language)
    page.locator("textarea").fill("<|en|> Run!<|de|>")
    said = page.locator(".draft").inner_text()
    assert WORDS["prompt.task"][language].format(task="translation") in said
    page.locator(".prompt button").click()
    translator_visit.settle()
    assert "<|de|>" not in page.locator(".tokens button").all_inner_texts()
    assert page.locator(".draft").count() == 0


def test_a_text_in_the_address_is_read(translator_visit: Visit) -> None:
    translator_visit.open("#1/tokens?text=Run!")
    assert translator_visit.page.locator("textarea").input_value().endswith("Run!")
    assert "station" not in translator_visit.page.locator("textarea").input_value()
