"""Every view, in both widths, themes and languages: nothing breaks, nothing is cut off, axe finds nothing."""

from itertools import product

import pytest

from tests.browser.visit import LANGUAGES, PHONE, VIEWS, WIDE, WORDS, Visit

pytestmark = pytest.mark.slow

DRESSES = list(product((WIDE, PHONE), (False, True), LANGUAGES))
EXAMINED = [(WIDE, False, "en"), (PHONE, True, "zh")]  # by axe: both of each


def look_at(visit: Visit, view: str, dresses: list[tuple[int, bool, str]]) -> None:
    for dress in dresses:
        width, dark, language = dress
        visit.dress(width, dark, language)
        seen = visit.everything()
        assert visit.page.locator("h1").inner_text() == WORDS[f"{view}.title"][language]
        assert seen["language"] == LANGUAGES[language]
        assert visit.overflow() <= 0, dress
        assert visit.untranslated() == []
        if dress in EXAMINED:
            assert visit.accessibility_faults() == [], dress


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_in_every_dress(visit: Visit, view: str) -> None:
    visit.open(f"#1/{view}")
    look_at(visit, view, DRESSES)


@pytest.mark.parametrize("view", VIEWS)
def test_a_model_without_a_tokenizer(mute_visit: Visit, view: str) -> None:
    for ids in ("0", "7,60,0,7,7,31,2"):
        mute_visit.open(f"#1/{view}?ids={ids}")
        assert mute_visit.page.locator(".tokens button").all_inner_texts() == [f"#{i}" for i in ids.split(",")]
    look_at(mute_visit, view, EXAMINED)
