"""Every view, in both widths, themes and languages: nothing breaks, nothing is cut off, axe finds nothing."""

from itertools import product

import pytest

from cutaway.trace import Intervention
from tests.browser.conftest import Explorer
from tests.browser.numbers import wrong_numbers
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
        assert language == "en" or visit.badly_translated() == []
        if dress in EXAMINED:
            assert visit.accessibility_faults() == [], dress


@pytest.mark.parametrize("view", VIEWS)
def test_views_work_in_every_theme_and_language(tour: Visit, view: str) -> None:
    tour.open(f"#1/{view}")
    look_at(tour, view, DRESSES)


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1280, 800)])
@pytest.mark.parametrize("language", LANGUAGES)
def test_all_that_is_measured_of_a_head_is_on_one_screen(visit: Visit, width: int, height: int, language: str) -> None:
    visit.page.set_viewport_size({"width": width, "height": height})
    visit.open(f"#1/heads?language={language}")
    beside = visit.page.locator(".beside")
    assert beside.locator("tbody tr").count() == 6
    assert beside.evaluate("(each) => each.scrollHeight <= each.clientHeight")


@pytest.mark.parametrize("view", VIEWS)
def test_a_model_without_a_tokenizer(mute_tour: Visit, view: str) -> None:
    for ids in ("0", "7,60,0,7,7,31,2"):
        mute_tour.open(f"#1/{view}?ids={ids}")
        assert mute_tour.page.locator(".tokens button").all_inner_texts() == [f"#{i}" for i in ids.split(",")]
    look_at(mute_tour, view, EXAMINED)


def test_a_second_text_keeps_its_line_breaks(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/compare?text=A robot%0A must obey")
    box = visit.page.get_by_role("textbox", name="Text B")
    assert box.input_value() == "A robot\n must"  # without the last token
    box.press("Enter")
    wanted = ",".join(map(str, [*explorer.model.prompt_ids(""), *explorer.model.encode("A robot\n must")]))
    visit.page.wait_for_function(f"() => location.hash.endsWith('x-ids={wanted}')")
    visit.settle()
    assert box.input_value() == "A robot\n must"


def test_the_page_patches_a_vector_from_another_text(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/whatif?layer=2&position=3")
    form = visit.page.locator("form", has=visit.page.locator("[name=source]"))
    form.locator("[name=source]").fill("A cat will")
    form.get_by_role("button").click()
    visit.page.wait_for_function(
        "() => location.hash.includes('do=patch_residual:layer=2,position=3,source=50256.32.')"
    )
    visit.settle()
    source = (*explorer.model.prompt_ids(""), *explorer.model.encode("A cat will"))
    patched = explorer.trace.intervene(Intervention("patch_residual", layer=2, position=3, source=source))
    visit.page.locator("nav a").nth(VIEWS.index("output")).click()
    visit.settle()
    entries = visit.page.evaluate("look.numbers()")
    assert len(entries) > 10
    assert wrong_numbers(patched, entries) == []
    assert WORDS["whatif.kind.patch_residual"]["en"] in visit.page.locator("main").inner_text()  # where no sum is
