"""The article as an article: chapters, sentences that lead from figure to figure, and pages that go on."""

import pytest

from cutaway.figures import all_figures
from tests.browser.visit import WORDS, Visit

pytestmark = pytest.mark.slow


def figures(visit: Visit) -> list[str]:
    shown: list[str] = visit.page.locator(".chapter article").evaluate_all("(all) => all.map((e) => e.dataset.figure)")
    return shown


@pytest.mark.parametrize("language", ["en", "zh"])
def test_sentences_lead_to_every_figure(language: str) -> None:
    for figure in all_figures():
        assert len(WORDS[f"prose.{figure}"][language]) >= 18


def test_a_figure_has_its_chapter_its_name_and_its_lead(visit: Visit) -> None:
    visit.open("#1/article?x-figure=F33")
    shown = visit.page.locator("article.figure")
    assert shown.locator(".place").inner_text().startswith(WORDS["section.steps"]["en"])
    assert shown.locator("h2").inner_text() == "Step 2: scores and weights F33"
    assert shown.locator(".prose").inner_text() == WORDS["prose.F33"]["en"]
    assert visit.page.locator(".contents .chapter-title").count() == 17


def test_the_list_shows_the_figure_that_is_tried(visit: Visit) -> None:
    visit.open("#1/article")
    visit.page.locator(".try button").click()
    visit.settle()
    item = visit.page.locator(".contents [aria-current]")
    assert item.inner_text().endswith("F30")
    visit.page.wait_for_function(
        """() => {
          const box = (name) => document.querySelector(name).getBoundingClientRect();
          const [item, list] = [box(".contents [aria-current]"), box(".contents")];
          return item.top >= list.top && item.bottom <= list.bottom;
        }"""
    )


def test_who_scrolls_on_reads_on_to_the_end_of_the_chapter(visit: Visit) -> None:
    visit.open("#1/article?x-figure=F38&layer=5&head=0")
    assert figures(visit) == ["F38"]
    for _ in range(6):
        visit.page.mouse.move(700, 600)
        visit.page.mouse.wheel(0, 4000)
        visit.page.wait_for_timeout(100)
        visit.settle()
    assert figures(visit) == ["F38", "F39", "F40"]  # F41 begins another
    assert visit.page.locator(".steps [data-way=on]").get_attribute("title") == "F41"
    assert visit.page.locator(".check.fails").count() == 0
    visit.page.locator(".steps [data-way=on]").click()
    visit.settle()
    assert figures(visit) == ["F41"]
    top = visit.page.locator("article.figure").evaluate("(figure) => figure.getBoundingClientRect().top")
    assert 0 <= top < 500


def test_the_arrow_keys_turn_the_pages(visit: Visit) -> None:
    visit.open("#1/article?x-figure=F39")
    visit.page.locator("h1").click()
    for key, figure in (("ArrowRight", "F40"), ("ArrowRight", "F41"), ("ArrowLeft", "F40")):
        visit.page.keyboard.press(key)
        visit.settle()
        assert figures(visit)[0] == figure


def test_figures_that_move_do_so_one_by_one(visit: Visit) -> None:
    visit.open("#1/article?x-figure=F08")
    visit.page.mouse.move(700, 600)
    visit.page.mouse.wheel(0, 4000)
    visit.page.locator("article[data-figure=F09] .player").wait_for()
    visit.settle()
    visit.page.locator("article[data-figure=F09] .player button", has_text="Step").click()
    visit.settle()
    frames = visit.page.locator(".chapter .player").evaluate_all("(all) => all.map((each) => each.dataset.at)")
    assert frames == ["0", "1"]


def test_a_drawing_fits_a_window_of_1024_pixels_or_shows_that_there_is_more(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 1024, "height": 800})
    for figure in ("F01", "F33"):
        visit.open(f"#1/article?x-figure={figure}")
        for region in visit.page.locator("article.figure .scroll").all():
            hidden = region.evaluate("(region) => region.scrollWidth - region.clientWidth")
            style = "(region, name) => getComputedStyle(region).getPropertyValue(name)"
            mask = region.evaluate(style, "mask-image")
            after = region.evaluate(style, "--after")
            assert hidden <= 0 or ("gradient" in mask and float(after.removesuffix("px")) >= 16)
        assert visit.overflow() <= 0


def test_the_check_is_folded_to_one_line(visit: Visit) -> None:
    visit.open("#1/article?x-figure=F40")
    check = visit.page.locator("article .check").first
    assert check.inner_text() == f"✓ {WORDS['check.holds']['en']}"
    check.locator("summary").click()
    assert len(check.inner_text()) > 60


@pytest.mark.parametrize("figure", ["F05", "F09", "F31", "F44"])
def test_arrows_have_their_heads(visit: Visit, figure: str) -> None:
    visit.open(f"#1/article?x-figure={figure}")
    trace = visit.page.locator("main").get_attribute("data-trace")
    document = visit.page.evaluate(f"fetch('api/traces/{trace}/figures/{figure}').then((answer) => answer.json())")
    shapes = [shape for panel in document["panels"] if panel["kind"] == "drawing" for shape in panel["shapes"]]
    arrows = [shape for shape in shapes if shape["kind"] == "line" and shape["arrow"]]
    drawn = visit.page.locator("article.figure").first.locator("svg.drawing path[d*=l]").count()
    assert drawn == len(arrows) > 0


def test_on_a_phone_the_contents_are_folded_and_the_figure_that_is_turned_to_is_on_top(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 844})
    visit.open("#1/article?x-figure=F40")
    visit.page.locator(".steps [data-way=on]").click()
    visit.settle()
    assert visit.page.locator(".fold").get_attribute("open") is None
    heading = visit.page.locator("article.figure h2").first.bounding_box()
    assert heading
    assert 0 <= heading["y"] < 500


@pytest.mark.parametrize("width", [900, 1440, 1920])
def test_nothing_empty_stands_beside_the_map_of_heads(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.open("#1/article?x-figure=F40")
    names = (".choices", ".head-map", ".contents", "article.figure")
    choices, heads, contents, figure = (visit.page.locator(name).first.bounding_box() for name in names)
    assert choices
    assert heads
    assert contents
    assert figure
    assert figure["y"] - (choices["y"] + choices["height"]) <= 24  # at once below what is chosen
    assert heads["y"] - (choices["y"] + choices["height"]) <= 24
    assert heads["y"] + heads["height"] <= contents["y"]  # the map is above the list, in its column
    assert heads["x"] + heads["width"] <= figure["x"]
