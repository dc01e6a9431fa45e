"""The page of music: a piece is written, played, and read note by note; every arc is the model's."""

import re

import pytest

from cutaway.music.codecs import CODECS
from cutaway.music.grammar import count_illegal
from tests.browser.conftest import Explorer
from tests.browser.numbers import printed, wrong_numbers
from tests.browser.visit import PHONE, WIDE, WORDS, Visit

pytestmark = pytest.mark.slow

CODEC = CODECS["perf388"]
PIECE = [CODEC.bos, *CODEC.example]
PLACE = f"ids={','.join(map(str, PIECE))}&layer=1&position=13"  # F4 on

CUT = "(all) => all.filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.textContent)"


def test_the_example_of_the_codec_is_there(music_visit: Visit) -> None:
    music_visit.open("#1/music")
    assert music_visit.page.locator(".tokens button").all_inner_texts()[:3] == ["end", "velocity 80", "C4 on"]
    names = music_visit.page.locator("svg.roll .note").evaluate_all(
        "(notes) => notes.map((each) => each.getAttribute('aria-label'))"
    )
    assert names == [
        "C4, 0.00 s, velocity 82",
        "E4, 0.50 s, velocity 82",
        "G4, 1.00 s, velocity 82",
        "F4, 2.50 s, velocity 102",
    ]


def test_weights_are_the_models(music_visit: Visit, music_explorer: Explorer) -> None:
    music_visit.open(f"#1/music?{PLACE}")
    trace = music_explorer.trace_of(PIECE)
    entries = music_visit.page.evaluate("look.numbers()")
    assert wrong_numbers(trace, entries) == []
    sums = [each for each in entries if each["tensor"].startswith("sum(attn.1[") and each["tensor"].endswith("])")]
    assert sums
    for each in sums:
        head, query, tokens = re.fullmatch(r"sum\(attn\.1\[(\d+),(\d+),\[([\d,]+)\]\]\)", each["tensor"]).groups()  # type: ignore[union-attr]
        weight = sum(float(trace["attn.1"][int(head), int(query), int(token)]) for token in tokens.split(","))
        assert printed(each["text"])[0] == pytest.approx(weight, abs=6e-4)


def test_each_head_sums_to_1(music_visit: Visit) -> None:
    music_visit.open(f"#1/music?{PLACE}")
    rows = music_visit.page.locator(".music-table tbody tr")
    assert rows.count() == 3
    for row in rows.all():
        parts = row.locator("td.right .number").all_inner_texts()
        assert sum(printed(part)[0] for part in parts) == pytest.approx(1, abs=2e-3)


def test_arrows_move_between_notes_and_enter_chooses(music_visit: Visit) -> None:
    music_visit.open(f"#1/music?{PLACE}")
    page = music_visit.page
    note = page.locator("svg.roll .note[tabindex='0']")
    assert note.get_attribute("aria-label") == "F4, 2.50 s, velocity 102"
    assert note.get_attribute("aria-pressed") == "true"
    note.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "E4, 0.50 s, velocity 82"
    page.keyboard.press("Enter")
    music_visit.settle()
    assert "position=4" in page.url
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "E4, 0.50 s, velocity 82"
    assert page.locator("main h2").last.inner_text() == "What layer 1 looks at from “E4 on”, 0.50 s"


def test_a_head_can_be_left_out(music_visit: Visit) -> None:
    music_visit.open(f"#1/music?{PLACE}")
    arcs = music_visit.page.locator("svg.roll .arc")
    before = arcs.count()
    music_visit.page.locator(".music-heads input").nth(1).uncheck()
    music_visit.settle()
    assert 0 < arcs.count() < before
    assert "x-without=1" in music_visit.page.url


def test_a_new_piece_is_written_in_the_grammar(music_visit: Visit) -> None:
    music_visit.open("#1/music?x-n=30&x-seed=7")
    page = music_visit.page
    page.get_by_role("button", name="A new piece").click()
    page.wait_for_function(f"() => !location.hash.includes('ids={PIECE[0]},{PIECE[1]},60,305,64')")
    music_visit.settle()
    ids = [int(i) for i in re.findall(r"ids=([\d,]+)", page.url)[0].split(",")]
    assert ids[0] == CODEC.bos
    assert 1 < len(ids) <= 31
    assert count_illegal(CODEC, ids[1:]) == 0
    assert "x-seed=8" in page.url


def test_it_opens_on_the_late_peak(music_visit: Visit) -> None:
    music_visit.open("#1/music")
    page = music_visit.page
    assert page.url.endswith("&layer=1&position=6")
    assert page.locator("svg.roll .note.chosen").get_attribute("aria-label") == "G4, 1.00 s, velocity 82"
    assert page.get_by_role("button", name="from 1.00 s").is_enabled()
    assert page.locator("svg.roll .arc").count() > 0
    music_visit.open("#1/music?layer=0")
    assert page.url.endswith("&layer=0&position=6")  # the layer of the address stays


def test_from_an_end_there_is_nothing_to_play(music_visit: Visit) -> None:
    music_visit.open(f"#1/music?ids={','.join(map(str, PIECE))}&position={len(PIECE) - 1}")
    assert music_visit.page.get_by_role("button", name="from 3.00 s").is_disabled()
    assert music_visit.page.get_by_role("button", name="▶ Play").is_enabled()


def test_a_new_piece_opens_on_its_late_peak(music_visit: Visit) -> None:
    music_visit.open("#1/music?x-n=30&x-seed=7")
    music_visit.page.get_by_role("button", name="A new piece").click()
    music_visit.page.wait_for_function(
        "() => location.hash.includes('x-seed=8') && location.hash.includes('position=')"
    )
    music_visit.settle()
    ids = [int(i) for i in re.findall(r"ids=([\d,]+)", music_visit.page.url)[0].split(",")]
    reading = CODEC.read(ids)
    chosen = reading.owners[int(re.findall(r"position=(\d+)", music_visit.page.url)[0])]
    late = range(len(reading.notes) // 2, len(reading.notes))
    assert reading.notes[chosen].pitch == max(reading.notes[note].pitch for note in late)


@pytest.mark.parametrize(("language", "piece", "text"), [("en", "piece", "text"), ("zh", "曲子", "文本")])
def test_other_views_speak_of_a_piece(music_visit: Visit, language: str, piece: str, text: str) -> None:
    music_visit.open("#1/overview")
    music_visit.dress(WIDE, False, language)
    for view in ("overview", "play"):
        music_visit.open(f"#1/{view}?language={language}")
        lead = music_visit.page.locator(".lead").inner_text()
        assert piece in lead.lower()
        assert text not in lead.lower()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_tokens_are_events_of_the_codec(music_visit: Visit, language: str) -> None:
    music_visit.open(f"#1/tokens?language={language}")
    music_visit.dress(WIDE, False, language)
    said = music_visit.page.locator("main").inner_text()
    assert "perf388" in said
    assert "velocity 80" in said


def test_a_typed_word_is_not_sent(music_visit: Visit) -> None:
    music_visit.open("#1/overview")
    page = music_visit.page
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.locator("textarea").fill("388 velocity 60")
    page.get_by_role("button", name="Run").click()
    music_visit.settle()
    assert sent == []
    assert "whole numbers from 0 to 388, with spaces between them, such as 388 " in page.locator(".draft").inner_text()
    assert "velocity is no id" in page.locator(".draft").inner_text()
    assert page.locator("textarea").input_value() == "388 velocity 60"
    page.locator("textarea").fill("388 60")
    page.get_by_role("button", name="Run").click()
    music_visit.settle()
    assert page.locator(".tokens button").all_inner_texts() == ["end", "C4 on"]


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_candidates_are_whole_on_the_machine(music_visit: Visit, width: int) -> None:
    music_visit.open("#1/overview")
    music_visit.dress(width, False, "en")
    tokens = music_visit.page.locator(".candidates.short .token")
    tokens.first.evaluate("(token) => { token.textContent = 'velocity 128'; }")
    assert tokens.evaluate_all(CUT) == []


@pytest.mark.parametrize("width", [WIDE, 1024, PHONE])
@pytest.mark.parametrize("view", ["play", "compare", "stack", "output"])
def test_candidates_are_whole_in_every_list(music_visit: Visit, view: str, width: int) -> None:
    music_visit.open(f"#1/{view}?position=3")
    music_visit.dress(width, False, "en")
    tokens = music_visit.page.locator(":is(.candidates, .bars) li .token")
    tokens.last.evaluate("(token) => { token.firstChild.textContent = 'velocity 128 and more of it'; }")
    assert tokens.evaluate_all(CUT) == []


def test_it_plays_and_stops(music_visit: Visit) -> None:
    music_visit.open("#1/music")
    page = music_visit.page
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Stop").click()
    assert page.get_by_role("button", name="▶ Play").get_attribute("aria-pressed") == "false"


def test_try_this_asks_what_the_late_peak_and_the_late_low_look_at(music_visit: Visit) -> None:
    music_visit.open("#1/music")
    page = music_visit.page
    assert "F4 at 2.50 s" in page.locator(".try").inner_text()  # the peak is chosen: the low
    page.locator(".try button").click()
    music_visit.settle()
    assert "position=13" in page.url
    assert "G4 at 1.00 s" in page.locator(".try").inner_text()
    page.locator(".try button").click()
    music_visit.settle()
    assert "position=6" in page.url
    assert music_visit.page.locator("svg.roll .arc").count() > 0


def test_a_model_of_text_says_how_to_open_one_of_music(visit: Visit) -> None:
    visit.open("#1/music")
    assert WORDS["music.absent"]["en"] in visit.page.locator("main").inner_text()
    assert visit.page.locator("main code").inner_text() == "cutaway explore --model builtin-piano"


def test_figures_of_music_are_drawn(music_visit: Visit) -> None:
    for figure, arcs in (("F64", False), ("F66", True)):
        music_visit.open(f"#1/article?{PLACE}&x-figure={figure}")
        shown = music_visit.page.locator(f"[data-figure={figure}] svg.roll")
        assert shown.locator(".note").count() == 4
        assert (shown.locator(".arc").count() > 0) == arcs


@pytest.mark.parametrize(("width", "dark", "language"), [(WIDE, False, "en"), (PHONE, True, "zh")])
def test_it_is_whole_in_every_dress(music_visit: Visit, width: int, dark: bool, language: str) -> None:
    music_visit.open(f"#1/music?{PLACE}")
    music_visit.dress(width, dark, language)
    assert music_visit.overflow() <= 0
    assert music_visit.untranslated() == []
    assert music_visit.accessibility_faults() == []


def test_writing_is_announced_once_and_not_at_each_event(music_visit: Visit) -> None:
    music_visit.open("#1/music?x-n=40")
    music_visit.page.evaluate(
        """globalThis.told = [];
        new MutationObserver(() => {
          const { textContent } = document.querySelector(".music-write [role=status]");
          if (told.at(-1) !== textContent) told.push(textContent);
        }).observe(document.body, { subtree: true, childList: true, characterData: true })"""
    )
    music_visit.page.locator(".music-write .buttons button").first.press("Enter")
    music_visit.page.wait_for_function("(n) => told.length === n", arg=2)
    music_visit.settle()
    assert music_visit.page.evaluate("told") == ["Being computed …", ""]
