"""A page in one file: it needs no server and no network, and its numbers are the trace's."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Frame

from cutaway.explore import export
from cutaway.explore.example import example_ids
from cutaway.explore.export import ExportedPage, export_page
from cutaway.figures import Selection
from cutaway.trace import Trace
from tests.browser.conftest import Explorer, visiting
from tests.browser.numbers import is_tensor, wrong_cells, wrong_numbers
from tests.browser.visit import LANGUAGES, LOADING, OFFERED, WORDS, Visit

pytestmark = pytest.mark.slow

LARGEST = 500_000  # bytes


@pytest.fixture(scope="module")
def exported(explorer: Explorer) -> ExportedPage:
    return export_page(explorer.model, explorer.trace, Selection(layer=2, head=1))


@pytest.fixture
def file(browser: Browser, exported: ExportedPage, tmp_path: Path) -> Iterator[Visit]:
    """The file, opened from the disk where there is no network."""
    exported.save(tmp_path / "page.html")
    for visit in visiting(browser, (tmp_path / "page.html").as_uri()):
        visit.page.context.set_offline(True)
        yield visit


def check_numbers(explorer: Explorer, frame: Frame) -> int:
    return check_trace(explorer.trace, frame)


def check_trace(trace: Trace, frame: Frame) -> int:
    entries = frame.evaluate("look.numbers()")
    grids = frame.evaluate("look.grids(8)")
    grids = [grid for grid in grids if is_tensor(trace, grid["tensor"])]
    assert wrong_numbers(trace, entries) == []
    assert [wrong for grid in grids for wrong in wrong_cells(trace, grid)] == []
    return len(grids) + len(entries)


def test_an_export_is_small(exported: ExportedPage) -> None:
    assert len(exported.text.encode()) <= LARGEST


def test_an_export_opens_from_disk_with_the_traces_numbers(file: Visit, explorer: Explorer) -> None:
    file.open("")
    views = file.page.locator("nav a")
    assert views.count() == 8
    for i in range(views.count()):
        views.nth(i).click()
        file.dress(1280, False, "en")  # in the theme whose colours Python has
        assert file.page.locator(".failure").count() == 0
        assert check_numbers(explorer, file.page.main_frame) > 0
        for dark in (False, True):
            file.dress(360 if dark else 1280, dark, "zh" if dark else "en")
            assert file.overflow() <= 0
            assert file.accessibility_faults() == []


def test_the_article_view_has_every_figure_and_step(file: Visit, explorer: Explorer) -> None:
    file.open("")
    for view, buttons in (("The article", ".contents button"), ("Attention", ".stages button")):
        file.page.locator("nav").get_by_role("link", name=view).click()
        for i in range(file.page.locator(buttons).count()):
            file.page.locator(buttons).nth(i).click()
            file.settle()
            assert file.page.locator(".failure").count() == 0
    assert check_numbers(explorer, file.page.main_frame) > 0


def test_selecting_another_head_keeps_the_figures(file: Visit, explorer: Explorer) -> None:
    file.open("#1/heads")
    file.page.locator(".atlas button[data-layer='1'][data-head='3']").click()
    file.settle()
    assert file.page.locator(".beside h2").inner_text().startswith("Layer 1, head 3")
    assert check_numbers(explorer, file.page.main_frame) > 0
    assert file.page.locator(".beside .buttons button").is_disabled()
    for view, state in (("attention", "&x-step=scores"), ("article", "&x-figure=F40"), ("article", "")):
        file.open(f"#1/{view}?layer=1&head=3&position=2{state}")
        assert file.page.locator(".failure").count() == 0
        assert check_numbers(explorer, file.page.main_frame) > 0


def test_notebooks_show_the_page_in_a_frame(browser: Browser, exported: ExportedPage, explorer: Explorer) -> None:
    for visit in visiting(browser, "about:blank"):
        visit.page.set_content(f"<!doctype html><title>Notebook</title>{exported._repr_html_()}")
        visit.page.context.set_offline(True)
        visit.page.wait_for_function("() => frames.length === 1")
        frame = visit.page.frames[1]
        frame.wait_for_function("(loading) => globalThis.look?.isCalm(loading)", arg=LOADING)
        assert frame.locator("h1").inner_text() == "The machine"
        frame.locator("nav a").nth(1).click()
        frame.wait_for_function("(loading) => look.isCalm(loading)", arg=LOADING)
        assert check_numbers(explorer, frame) > 0


def test_the_machine_and_play_have_every_position(file: Visit, explorer: Explorer) -> None:
    for view, words in (("overview", "The machine"), ("play", "The next token"), ("stack", "Stack")):
        file.page.goto(f"{file.address}#1/{view}")
        file.settle()
        file.page.locator("nav").get_by_role("link", name=words, exact=True).click()
        for i in range(len(explorer.ids)):
            file.page.locator(".tokens button").nth(i).click()
            file.settle()
            assert file.page.locator(".failure").count() == 0
            assert check_numbers(explorer, file.page.main_frame) > 0


def test_the_logits_of_the_candidates_are_taken_apart(file: Visit, explorer: Explorer) -> None:
    file.open("#1/output")
    file.page.locator("nav").get_by_role("link", name="Output", exact=True).click()
    for i in (0, 3, 9):
        file.page.locator(".candidates.ranked button").nth(i).click()
        file.settle()
        assert file.page.locator(".failure").count() == 0
        assert file.page.locator(".bars.parts li").count() == 2 * explorer.model.config.n_layer + 3
        assert check_numbers(explorer, file.page.main_frame) > 0


def test_saving_says_how_far_it_is_and_stops_the_server(private_visit: Visit) -> None:
    ids = ",".join(str(i) for i in range(500))
    private_visit.open(f"#1/tokens?ids={ids}")
    share = private_visit.page.locator(".share")
    share.locator("summary").click()
    share.get_by_role("button", name="Save as one file").click()
    share.get_by_text(re.compile(r"^[1-9]\d* of \d+ parts$")).wait_for()
    share.get_by_role("button", name="Stop").click()
    share.get_by_role("button", name="Save as one file").wait_for()
    private_visit.open("#1/play?ids=1,2,3")  # the server computes again, at once
    assert private_visit.page.locator(".candidates li").count() == 10
    assert private_visit.page.locator(".failure").count() == 0


def test_the_page_saves_itself_and_copies_its_link(private_visit: Visit, tmp_path: Path, browser: Browser) -> None:
    private_visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    private_visit.open("#1/attention")
    private_visit.page.locator(".share summary").click()
    private_visit.page.get_by_role("button", name="Copy the link").click()
    private_visit.page.get_by_text("Copied").wait_for()
    assert private_visit.page.evaluate("navigator.clipboard.readText()") == f"{private_visit.page.url}&model=builtin"
    with private_visit.page.expect_download(timeout=120_000) as downloaded:
        private_visit.page.get_by_role("button", name="Save as one file").press("Enter")
    assert downloaded.value.suggested_filename == "cutaway-attention.html"
    assert private_visit.page.evaluate("document.activeElement.textContent") == "Save as one file"
    downloaded.value.save_as(tmp_path / "saved.html")
    assert (tmp_path / "saved.html").stat().st_size <= LARGEST
    for saved in visiting(browser, (tmp_path / "saved.html").as_uri()):
        saved.page.context.set_offline(True)
        saved.open("")
        assert saved.page.locator("h1").inner_text() == "Attention"  # as on the screen that was saved
        assert saved.page.get_by_role("spinbutton", name="Layer").input_value() == "5"


def saving(visit: Visit, browser: Browser, path: Path) -> Iterator[Visit]:
    """The file that a page saves of itself, opened from the disk where there is no network."""
    visit.page.locator(".share summary").click()
    with visit.page.expect_download(timeout=120_000) as downloaded:
        visit.page.locator(".share :is(a, button)").last.click()
    downloaded.value.save_as(path)
    assert path.stat().st_size <= LARGEST
    for saved in visiting(browser, path.as_uri()):
        saved.page.context.set_offline(True)
        saved.open("")
        assert saved.page.locator(".failure").count() == 0
        yield saved


# What a teacher has prepared in each view, and where it can be seen.
PREPARED = {
    "article?x-figure=F16&x-frame=2": ".contents [aria-current], .player :is(input, .number), .player",
    "attention?x-step=scores&x-key=2&layer=3&head=1&position=5": ".stages [aria-current], .stages [aria-pressed=true]",
    "tokens?x-text=A%20king%20%26%20me&x-piece=1": "main input, .chips [aria-pressed=true]",
    "heads?x-without_first=1&x-table=attn": "main input, cell-grid table",
    "output?x-token=13": "main .ranked [aria-pressed=true]",
    "heads?position=4&do=zero_ablate_head:layer=1,head=2": ".changed b",
}
SHOWS = """(where) => [document.querySelector("h1").innerText, document.documentElement.lang,
  ...[...document.querySelectorAll(where)].map((each) => [each.innerText, each.checked, each.value])]"""


@pytest.mark.parametrize("state", PREPARED)
def test_a_saved_file_keeps_what_was_prepared(
    private_visit: Visit, browser: Browser, tmp_path: Path, state: str
) -> None:
    private_visit.open(f"#1/{state}&language=zh")
    before = private_visit.page.evaluate(SHOWS, PREPARED[state])
    assert len(before) > 2
    for saved in saving(private_visit, browser, tmp_path / "saved.html"):
        assert saved.page.evaluate(SHOWS, PREPARED[state]) == before


def test_a_file_says_what_it_does_not_hold(private_visit: Visit, browser: Browser, tmp_path: Path) -> None:
    private_visit.open("#1/whatif?do=zero_ablate_head:layer=1,head=2")
    private_visit.page.locator(".share summary").click()
    left_out = [f"{view}.title" for view in ("loop", "input", "mlp", "whatif", "compare", "parameters")]
    for language in WORDS["share.note"]:
        assert all(WORDS[title][language] in WORDS["share.note"][language] for title in left_out)
    private_visit.page.locator(".share summary").click()
    for saved in saving(private_visit, browser, tmp_path / "saved.html"):
        offered = saved.page.locator("nav a").all_inner_texts()
        assert {WORDS[f"{view}.title"]["en"] for view in OFFERED} - set(offered) == {
            WORDS[title]["en"] for title in left_out
        }
        assert saved.page.locator("h1").inner_text() == "The machine"
        assert saved.page.get_by_text("This file does not hold What if.").is_visible()
        assert saved.page.get_by_text("cutaway explore --model builtin").is_visible()
        saved.dress(360, True, "zh")
        assert saved.page.get_by_text("此文件不含“假设实验”。").is_visible()
        assert saved.overflow() <= 0


def test_a_view_that_a_file_does_not_hold_is_named(file: Visit) -> None:
    said = file.page.locator("main p.note").first
    file.open("#1/mlp?position=2&x-unit=3")
    assert (file.page.locator("h1").inner_text(), "This file does not hold MLP." in said.inner_text()) == (
        "The machine",
        True,
    )
    assert file.page.locator(".tokens [aria-pressed=true]").inner_text() == "␣robot"
    file.page.locator(".tokens button").nth(4).click()  # any token, as in a view that was asked for
    file.settle()
    assert file.page.locator(".tokens [aria-pressed=true]").inner_text() == "␣obey"
    file.page.locator("nav a", has_text="Attention").click()
    file.settle()
    assert "does not hold" not in said.inner_text()


def test_what_leads_to_a_view_that_a_file_does_not_hold_says_so(file: Visit) -> None:
    file.open("#1/overview")
    before = file.page.url
    file.page.locator("a.door[aria-label^='MLP']").first.click()
    file.settle()
    assert file.page.get_by_text("This file does not hold MLP.").is_visible()
    assert (file.page.locator("h1").inner_text(), file.page.url) == ("The machine", before)
    assert file.page.evaluate("scrollY") == 0


def test_where_there_is_no_clipboard_the_link_is_shown(private_visit: Visit) -> None:
    private_visit.page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    private_visit.open("#1/attention")
    private_visit.page.locator(".share summary").click()
    private_visit.page.evaluate("globalThis.prompt = (title, link) => { globalThis.shown = link; }")
    private_visit.page.get_by_role("button", name="Copy the link").click()
    assert private_visit.page.evaluate("shown") == f"{private_visit.page.url}&model=builtin"


def test_a_saved_translation_shows_its_map_without_a_server(
    browser: Browser, translator_explorer: Explorer, tmp_path: Path
) -> None:
    for visit in visiting(browser, translator_explorer.address):
        visit.open("#1/translation")
        before = visit.page.locator(".aligned").inner_text()
        ids = re.findall(r"[?&]ids=([\d,]+)", visit.page.url)[0].split(",")
        trace = translator_explorer.model.trace(list(map(int, ids)))
        for saved in saving(visit, browser, tmp_path / "saved.html"):
            assert saved.page.locator("h1").inner_text() == "Translation"
            assert saved.page.locator(".aligned").inner_text() == before
            assert saved.page.locator(".translations button").count() > 1
            assert saved.page.get_by_text("cutaway explore --model builtin-translation").is_visible()
            for choice in (".aligned-line button >> nth=0", ".head-map button >> nth=5", "[name=mean] >> nth=2"):
                saved.page.locator(choice).click()
                saved.settle()
                assert saved.page.locator(".failure").count() == 0
                assert check_trace(trace, saved.page.main_frame) > 0
            saved.dress(360, True, "zh")
            assert saved.overflow() <= 0
            assert saved.accessibility_faults() == []
            assert saved.badly_translated() == []


def test_a_saved_long_piece_says_that_it_has_one_note_only(
    browser: Browser, music_explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MAX_LAYER_WEIGHTS", 0)  # so that every piece is a long one
    ids = example_ids(music_explorer.model)
    assert ids
    trace = music_explorer.model.trace(ids)
    path = tmp_path / "saved.html"
    export_page(music_explorer.model, trace, Selection(layer=1, position=3), view="music").save(path)
    for saved in visiting(browser, path.as_uri()):
        for language in LANGUAGES:
            saved.open("")
            saved.page.locator(".title select").select_option(language)
            saved.settle()
            assert saved.page.get_by_text(WORDS["music.saved"][language]).is_visible()
            notes = saved.page.locator(".roll .note")
            assert {note.get_attribute("role") for note in notes.all()} == {"img"}


def test_saved_music_plays_without_a_server(browser: Browser, music_explorer: Explorer, tmp_path: Path) -> None:
    for visit in visiting(browser, music_explorer.address):
        visit.open("#1/music")
        table = visit.page.locator(".music-table")
        before = table.inner_text()
        for saved in saving(visit, browser, tmp_path / "saved.html"):
            assert saved.page.locator("h1").inner_text() == "Music"
            assert saved.page.locator(".music-table").inner_text() == before
            notes = saved.page.locator(".roll .note")
            for i in range(notes.count()):
                notes.nth(i).click()
                saved.settle()
                assert notes.nth(i).get_attribute("aria-pressed") == "true"
                visit.page.locator(".roll .note").nth(i).click()
                visit.settle()
                assert saved.page.locator(".music-table").inner_text() == table.inner_text()
            for i in range(saved.page.locator(".tokens button").count()):
                saved.page.locator(".tokens button").nth(i).click()
                saved.settle()
                assert saved.page.locator(".failure").count() == 0
            assert saved.page.get_by_text(WORDS["music.saved"]["en"]).count() == 0
            saved.page.get_by_role("button", name="▶ Play").click()
            saved.page.get_by_role("button", name="■ Stop").click()
            saved.dress(360, True, "zh")
            assert saved.overflow() <= 0
            assert saved.accessibility_faults() == []
            assert saved.badly_translated() == []
