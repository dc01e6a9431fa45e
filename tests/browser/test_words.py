"""Words on the page: with units, and for those who hear it."""

import re

import numpy as np
import pytest

from cutaway.trace.heads import without_first
from tests.browser.conftest import Explorer
from tests.browser.numbers import printed
from tests.browser.visit import WORDS, Visit

pytestmark = pytest.mark.slow

FORMS = ("zero_ablate_head", "mean_ablate_head")
WITH_TABLES = ["tokens", "attention", "heads", "mlp", "stack", "output", "loop", "compare", "parameters"]
NAMES = """() => [...document.querySelectorAll("table")].map((each) => each.ariaLabel || each.caption?.innerText
  || document.getElementById(each.getAttribute("aria-labelledby"))?.innerText)"""
WATCH = """() => {
  globalThis.gone = 0;
  const look = () => { gone += document.querySelector(".try button") ? 0 : 1; };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true });
}"""
LINES = """(each) => {
  const words = new Range();
  words.selectNodeContents(each);
  return words.getClientRects().length;
}"""


def test_a_head_that_is_chosen_in_one_form_holds_in_all(visit: Visit) -> None:
    visit.open("#1/whatif?layer=6&head=3")
    forms = [visit.page.locator("form", has_text=WORDS[f"whatif.kind.{kind}"]["en"]) for kind in FORMS]
    forms[0].locator("[name=layer]").fill("2")
    forms[0].locator("[name=head]").fill("1")
    forms[0].locator("[name=head]").press("Tab")
    assert [[form.locator(f"[name={name}]").input_value() for name in ("layer", "head")] for form in forms] == [
        ["2", "1"],
        ["2", "1"],
    ]


def test_a_change_leaves_the_head_where_it_is(visit: Visit) -> None:
    visit.open("#1/whatif")  # on the head that the unchanged model singles out
    form = visit.page.locator("form", has_text=WORDS["whatif.kind.zero_ablate_head"]["en"])
    before = [form.locator(f"[name={name}]").input_value() for name in ("layer", "head")]
    visit.page.get_by_role("switch").first.click()
    visit.settle()
    assert "layer={}&head={}".format(*before) in visit.page.evaluate("location.hash")
    assert "lower is better" in visit.page.locator("main").inner_text()


def test_the_tokens_of_a_text_with_line_breaks(visit: Visit) -> None:
    visit.open("#1/tokens?text=A robot%0A%0Amust obey")
    box = visit.page.get_by_role("textbox", name="Text", exact=True)
    assert box.input_value() == "A robot\n\nmust obey"
    box.press("End")
    box.press_sequentially("!\n")
    visit.settle()
    assert "x-text=" in visit.page.evaluate("location.hash")
    visit.page.reload()
    visit.settle()
    assert box.input_value().replace("!\n", "") == "A robot\n\nmust obey"
    assert visit.page.get_by_role("button", name="\\n tokens: 1").count() >= 2


def test_ids_and_counts_have_their_thousands_apart(visit: Visit) -> None:
    visit.open("#1/tokens")
    text = visit.page.locator("main").inner_text()
    assert "50,256" in text
    assert "50,257 tokens = 256 bytes + 50,000 merges" in text
    visit.open("#1/output?x-token=50256&x-find=%2350%2C256")
    assert "row 50,256 of the matrix" in visit.page.locator("main").inner_text()
    assert visit.page.get_by_role("status").filter(has_text="Tokens found: 1;").count() == 1


def test_the_layers_of_the_loop_and_its_speed_are_named(visit: Visit, explorer: Explorer) -> None:
    last = explorer.model.config.n_layer - 1
    visit.open("#1/loop?x-speed=2.5")
    assert visit.page.locator("svg.loop text").all_text_contents()[:2] == ["Layer 0", f"Layer {last}"]
    assert "2.5 ×" in visit.page.locator(".buttons").first.inner_text()


def test_the_columns_of_the_loop_are_named_as_in_the_table_of_the_cache(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/loop?text=Nobody has read this text before")
    columns = visit.page.locator("svg.loop g.computed")
    assert columns.count() > 1  # all that were read
    assert visit.page.locator("svg.loop g.reused").count() == 0
    visit.page.get_by_role("button", name="Write the likeliest token").click()
    visit.settle()
    assert columns.count() == 1
    layers = explorer.model.config.n_layer
    assert visit.page.locator("td.computed").count() == layers  # the same position, in every layer


def test_the_headings_of_the_candidates_stay_in_one_piece_on_a_phone(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 844})
    visit.open("#1/play")
    name = visit.page.locator(".candidates.columns .first")
    assert name.evaluate(LINES) == 1


@pytest.mark.parametrize("view", WITH_TABLES)
def test_tables_have_names(visit: Visit, view: str) -> None:
    visit.open(f"#1/{view}")
    names = visit.page.evaluate(NAMES)
    assert names
    assert all(names)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_labels_of_heads_say_what_they_count(visit: Visit, explorer: Explorer, language: str) -> None:
    (spread, first, *_) = explorer.trace["attn.0"].astype(float)
    entropy = -(spread * np.log(spread, where=spread > 0, out=np.zeros_like(spread))).sum(axis=-1).mean()
    visit.open(f"#1/heads?language={language}")
    labels = visit.page.locator(".atlas small").all_inner_texts()
    assert f"{WORDS['heads.entropy.short'][language]}\n{entropy:.2f} {WORDS['heads.nats'][language]}" in labels
    assert f"{WORDS['heads.first.short'][language]}\n{100 * first[1:, 0].mean():.0f} %" in labels
    head = f"{WORDS['head'][language]} 0"
    texts = (
        "(each) => [...each.childNodes].filter((node) => node.nodeType === 3).map(({ data }) => data).filter(Boolean)"
    )
    assert visit.page.locator(".head > span").first.evaluate(texts) == [head]  # one text, with its space


def test_try_this_stays_while_its_text_is_read(visit: Visit) -> None:
    visit.open("#1/attention")
    visit.page.evaluate(WATCH)
    visit.page.locator("[name=text]").fill("A robot must obey the orders given it by human beings")
    visit.page.locator("form.prompt button").click()
    visit.page.wait_for_function("() => document.querySelectorAll('.tokens button').length === 12")
    visit.settle()
    assert visit.page.evaluate("gone") == 0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_drawn_figure_says_what_that_means(visit: Visit, language: str) -> None:
    note = WORDS["status.drawn.note"][language]
    visit.open(f"#1/article?x-figure=F05&language={language}")
    assert note in visit.page.locator("article.figure").first.inner_text()
    marks = visit.page.locator(".contents small.drawn")
    assert {mark.get_attribute("title") for mark in marks.all()} == {note}
    visit.open(f"#1/article?x-figure=F04&language={language}")
    assert note not in visit.page.locator("article.figure").first.inner_text()


def test_a_long_reading_is_announced_once_and_not_layer_by_layer(private_visit: Visit, explorer: Explorer) -> None:
    page = private_visit.page
    page.clock.install()
    private_visit.open("#1/play")
    assert page.locator(".news").get_attribute("role") is None  # its bar moves, and is not spoken
    page.route("**/api/traces", lambda route: None)  # it never ends
    page.locator("[name=text]").fill("A robot")
    page.locator("form.prompt button").click()
    said = page.locator(".said")
    page.locator(".news progress").wait_for()
    assert said.inner_text() == "The next token: 9 tokens; the last one is “␣it”"
    page.clock.run_for(1000)
    assert said.inner_text() == "Reading"
    page.clock.run_for(3000)
    assert said.inner_text() == "Reading"
    page.clock.run_for(3000)
    assert said.inner_text() == f"layer 0 of {explorer.model.config.n_layer}"
    page.locator(".news button").click()
    page.locator(".news progress").wait_for(state="detached")
    assert said.inner_text() == "The next token: 9 tokens; the last one is “␣it”"


def test_a_translation_is_given_up_when_its_view_is_left(translator_visit: Visit) -> None:
    page = translator_visit.page
    translator_visit.open("#1/translation")
    page.route("**/api/translations*", lambda route: None)  # it never ends
    page.locator("[name=source]").fill("I am tired.")
    with page.expect_event("requestfailed") as failed:
        page.locator(".translate button").first.click()
        page.wait_for_function("() => document.querySelector('.translate .quiet')")
        page.locator("nav a").first.click()
    assert "translations?" in failed.value.url


@pytest.mark.parametrize("view", ["output", "compare"])
def test_boundaries_are_named_in_words(visit: Visit, view: str) -> None:
    visit.open(f"#1/{view}")
    names = visit.page.locator("table.lens th[scope=row]").all_inner_texts()
    assert names[:3] == [
        "the input resid.pre.0",
        "layer 0, after attention resid.mid.0",
        "layer 0, after the MLP resid.post.0",
    ]


@pytest.mark.parametrize("width", [360, 1280])
def test_both_probabilities_of_a_candidate_are_printed(visit: Visit, explorer: Explorer, width: int) -> None:
    others = np.sort(explorer.trace["probs"][-1])[:-10].sum()
    visit.page.set_viewport_size({"width": width, "height": 800})
    visit.open("#1/play")
    numbers = visit.page.locator("ol.candidates button").first.locator(".number")
    assert [each.is_visible() for each in numbers.all()] == [True, True]
    assert visit.page.locator(".candidates.rest").get_by_text(f"{100 * others:.2f} %").is_visible()
    assert visit.overflow() <= 0


def test_surprise_is_said_as_odds_that_go_with_its_nats(visit: Visit) -> None:
    visit.open("#1/play")
    tokens = visit.page.locator("ol.surprisal button")
    odds = [float(text.removeprefix("1 in ").replace(",", "")) for text in tokens.locator("small").all_inner_texts()]
    nats = [float(text) for text in tokens.locator(".number").all_inner_texts()]
    np.testing.assert_allclose(np.log(odds), nats, atol=0.06)  # of two digits


BARS = """() => [...document.querySelectorAll("main :is(li, td, button):has(> meter, > .pair > meter)")].map((each) => [
  each.querySelector("meter").value, each.querySelector(".number").textContent])"""


@pytest.mark.parametrize("view", ["overview", "play", "output", "compare", "whatif?do=no_positions", "heads?x-to=2"])
def test_bars_of_shares_go_from_0_to_100_percent(visit: Visit, view: str) -> None:
    visit.open(f"#1/{view}")
    bars = visit.page.evaluate(BARS)
    assert len(bars) >= 8
    for value, text in bars:
        share, within = printed(text)
        assert abs(value - share) <= within


def test_what_is_written_in_chinese_names_the_words_of_the_articles() -> None:
    terms = "".join(text["zh"] for name, text in WORDS.items() if name.startswith("term."))
    for ours, theirs in PAIRS.items():
        assert re.search(f"{ours}[^：]*（文章：[^）]*{theirs}", terms), (ours, theirs)


PAIRS = {
    "词元": "标识",
    "自注意力": "自关注",
    "头": "端口",
    "掩码": "遮盖",
    "块": "转换块",
    "嵌入": "位置编码",
    "词表": "词汇表",
}


def test_what_follows_a_myth_is_said_to_be_a_fact() -> None:
    facts = [text for name, text in WORDS.items() if re.fullmatch(r"whatif\.why\.(?!none)\w+(\.layer)?", name)]
    assert len(facts) == 9
    assert [
        text for text in facts if not text["en"].startswith("In fact: ") or not text["zh"].startswith("其实：")
    ] == []


def test_a_token_in_a_sentence_stands_in_quotes(visit: Visit) -> None:
    visit.open("#1/loop")
    assert visit.page.locator(".becomes").inner_text() == "“,” comes out and becomes position 10 (index 9)"
    visit.open("#1/loop?language=zh")
    assert visit.page.locator(".becomes").inner_text().startswith("输出“,”，成为")
    visit.open("#1/tokens?language=en&x-text=Yes,")
    visit.page.locator(".chips button").last.click()
    visit.settle()
    assert visit.page.get_by_role("heading", name="The merges of “,”").is_visible()


COPIED = """(selector) => {
  getSelection().selectAllChildren(document.querySelector(selector));
  const event = new ClipboardEvent("copy", { clipboardData: new DataTransfer(), bubbles: true, cancelable: true });
  document.querySelector(selector).dispatchEvent(event);
  return event.defaultPrevented ? event.clipboardData.getData("text/plain") : "as it is";
}"""


def test_a_number_is_copied_as_programs_read_it(visit: Visit) -> None:
    visit.open("#1/attention")
    number = visit.page.locator(".meeting .dot .number").first.inner_text()
    assert number.startswith("−")
    assert visit.page.evaluate(COPIED, ".meeting .dot .number") == number.replace("−", "-")
    assert visit.page.evaluate(COPIED, "h1") == "as it is"
    assert visit.page.evaluate(COPIED, ".prompt textarea") == "as it is"


def test_tokens_that_are_looked_at_stand_in_the_order_of_the_text(visit: Visit) -> None:
    visit.open("#1/heads?x-from=8&x-to=6")
    visit.page.locator(".choices select").nth(1).select_option("2")
    visit.settle()
    assert visit.page.locator("ul.chips button").all_inner_texts() == ["␣robot ×", "␣orders ×"]
    assert visit.page.locator(".choices select").nth(1).input_value() == ""


def test_each_draw_has_the_next_seed(visit: Visit) -> None:
    visit.open("#1/play?x-seed=5")
    visit.page.get_by_role("button", name="Draw one token").click()
    visit.page.get_by_text("Seed 5 drew").wait_for()
    assert visit.page.get_by_label("Seed").input_value() == "6"


def test_a_pattern_without_the_first_token_is_that_of_its_head(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/heads?x-without_first=1&layer=1&head=2&position=8")
    for layer, head in ((1, 2), (3, 1)):
        there = f"#1/heads?x-without_first=1&layer={layer}&head={head}&position=8"
        visit.page.evaluate("(there) => { location.hash = there; }", there)
        visit.settle()
        visit.page.locator(".beside cell-grid canvas").press("ArrowLeft")
        number = visit.page.locator(".beside .readout .number")
        _, query, key = map(int, str(number.get_attribute("data-index")).split(","))
        shown, _ = printed(number.inner_text())
        assert key < 8
        assert shown == pytest.approx(float(without_first(explorer.trace[f"attn.{layer}"][head])[query, key]), rel=1e-4)
