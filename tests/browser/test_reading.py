"""Texts of all kinds on their way in: long ones, hostile ones, and servers that go away meanwhile."""

import unicodedata
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator

from tests.browser.conftest import Explorer, start, visiting
from tests.browser.visit import OFFERED, PHONE, Visit

pytestmark = pytest.mark.slow

LONG = " ".join(["robot"] * 200)

# Notes down what the bar of progress said, every value, however short it stood there. One that only waits has none.
WATCH = """() => {
  globalThis.seen = [];
  const note = (element) => { if (element.hasAttribute("value")) seen.push(element.value); };
  new MutationObserver((changes) => changes.forEach(({ target, addedNodes }) => {
    if (target.matches?.(".news progress")) note(target);
    for (const added of addedNodes) if (added.matches?.(".news progress")) note(added);
  })).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ["value"] });
}"""

# Presses "Stop" as soon as the first layer is there.
STOP = """() => new MutationObserver((_, watch) => {
  if (!(document.querySelector(".news progress")?.getAttribute("value") >= 1)) return;
  watch.disconnect();
  globalThis.stopped = true;
  document.querySelector(".news button").click();
}).observe(document.body, { subtree: true, childList: true, attributes: true })"""


def submit(visit: Visit, text: str) -> None:
    visit.page.locator("[name=text]").fill(text)
    visit.page.locator("form.prompt button").click()


def tokens(visit: Visit) -> Locator:
    return visit.page.locator(".tokens button")


def wait_for_tokens(visit: Visit, explorer: Explorer, text: str) -> None:
    """Until that text is what the page is about."""
    wanted = ",".join(map(str, [*explorer.model.prompt_ids(""), *explorer.model.encode(text)]))
    visit.page.wait_for_function("(ids) => location.hash.includes(`ids=${ids}`)", arg=wanted)
    visit.settle()


def test_reports_progress_on_a_long_text(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/play")
    visit.page.evaluate(WATCH)
    submit(visit, LONG)
    wait_for_tokens(visit, explorer, LONG)
    seen = visit.page.evaluate("seen")
    assert seen == sorted(seen)
    assert set(seen) <= set(range(explorer.model.config.n_layer + 1))
    assert len(set(seen)) > 3  # on a busy machine two may come at once
    assert visit.page.locator(".news progress").count() == 0


def test_stop_keeps_the_text_so_far(visit: Visit) -> None:
    visit.open("#1/attention")
    before = visit.everything()
    visit.page.evaluate(STOP)
    submit(visit, LONG + " obeys")
    visit.page.wait_for_function("() => globalThis.stopped && !document.querySelector('.news progress')")
    assert tokens(visit).count() == 9
    assert visit.page.locator(".failure").count() == 0
    visit.settle()
    assert visit.page.locator("[name=text]").input_value() == LONG + " obeys"  # to be run again, or changed
    visit.page.get_by_role("button", name="Discard").click()
    visit.settle()
    assert visit.everything()["text"] == before["text"]
    submit(visit, "Go on")
    tokens(visit).get_by_text("␣on").wait_for()
    visit.settle()


HOSTILE = {
    "markup": "<img src=x onerror=alert(1)><script>alert(2)</script><b>bold</b> &lt;i&gt; ${alert(3)} {n}",
    "letters": "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301\u0302\u0303"
    " \u202eשלום\u202c مرحبا \u2066x\u2069 a\x01\x07\x1b[31m\x7f\x85\u200b\ufeff\tb",
    "no space": "abcdefgh" * 250,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_escaped(visit: Visit, explorer: Explorer, kind: str) -> None:
    visit.page.set_viewport_size({"width": PHONE, "height": 800})
    ids = [*explorer.model.prompt_ids(""), *explorer.model.encode(HOSTILE[kind])][:500]
    visit.open(f"#1/{OFFERED[0]}?ids={','.join(map(str, ids))}")
    assert explorer.model.tokenizer
    assert visit.page.locator("[name=text]").input_value() == _typed(explorer.model.tokenizer.decode(ids[1:]))
    for view in OFFERED:
        visit.page.locator("nav a").nth(OFFERED.index(view)).click()
        visit.settle()
        assert visit.overflow() <= 0, view
        assert visit.page.locator("img, body script, main b:text-is('bold'), .failure").count() == 0, view
        assert len({label for label in tokens(visit).all_inner_texts() if _invisible(label)}) == 0


def _typed(text: str) -> str:
    """A text field knows one kind of line break."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _invisible(label: str) -> bool:
    return any(unicodedata.category(char) == "Cc" for char in label)


def test_the_page_reads_the_text_that_is_typed(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/play")
    for text in (HOSTILE["markup"], HOSTILE["letters"]):
        submit(visit, text)
        wait_for_tokens(visit, explorer, text)
        assert visit.page.locator("[name=text]").input_value() == text


def test_a_model_without_tokenizer_is_given_ids(mute_visit: Visit) -> None:
    mute_visit.open("#1/play")
    submit(mute_visit, "7, 60 0\n31")
    mute_visit.page.wait_for_function("() => location.hash.includes('ids=7,60,0,31')")
    mute_visit.settle()
    assert tokens(mute_visit).count() == 4
    submit(mute_visit, "7 61")
    mute_visit.page.locator(".draft").wait_for()
    said = mute_visit.page.locator(".draft").inner_text()
    assert "from 0 to 60" in said
    assert "61 is no id" in said
    assert tokens(mute_visit).count() == 4


def test_headers_of_long_texts_show_the_tokens_around_the_selected_one(visit: Visit) -> None:
    visit.open(f"#1/attention?ids={','.join(['5'] * 300)}&position=299")
    assert tokens(visit).last.get_attribute("aria-pressed") == "true"
    assert tokens(visit).count() == 257
    tokens(visit).first.click()
    visit.settle()
    assert "position=43" in visit.page.url
    assert visit.page.locator(".tokens [aria-pressed=true]").get_attribute("title") == "position 44 (index 43)"


def test_rejects_a_text_that_is_too_long_in_one_line(visit: Visit, explorer: Explorer) -> None:
    n_ctx = explorer.model.config.n_ctx
    visit.open("#1/play")
    submit(visit, " ".join(["robot"] * n_ctx))
    failure = visit.page.locator(".failure")
    failure.wait_for()
    assert f"{n_ctx:,}" in failure.inner_text()
    assert tokens(visit).count() == 9
    visit.complaints.clear()  # a browser reports every answer that is an error


def test_the_page_reconnects_to_a_restarted_server(browser: Browser, mute_model: Path) -> None:
    address, process = start("--model", str(mute_model))
    for visit in visiting(browser, address):
        visit.open("#1/attention?ids=7,60,0")
        with process:
            process.kill()
        tokens(visit).first.click()
        visit.page.locator("nav a").nth(OFFERED.index("mlp")).click()
        visit.page.get_by_text("The server does not answer.").wait_for()
        assert visit.page.locator(".failure").count() == 1
        assert tokens(visit).count() == 3
        _, again = start("--model", str(mute_model), port=int(address.rstrip("/").rpartition(":")[2]))
        with again:
            visit.page.locator("nav a").nth(OFFERED.index("attention")).click()
            visit.settle()
            assert visit.page.locator("main canvas").count() > 0
            visit.complaints.clear()
            again.kill()


def test_respects_reduced_motion(visit: Visit) -> None:
    visit.page.emulate_media(reduced_motion="reduce")
    visit.open(f"#1/{OFFERED[0]}")
    for i in range(len(OFFERED)):
        visit.page.locator("nav a").nth(i).click()
        visit.settle()
        assert visit.page.evaluate("document.getAnimations().length") == 0
        moves = "(all) => all.filter((each) => parseFloat(getComputedStyle(each).transitionDuration) > 0).length"
        assert visit.page.locator("*").evaluate_all(moves) == 0
