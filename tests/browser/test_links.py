"""The address is the state: who has the link sees the same, and the way back leads back."""

from difflib import ndiff

import pytest

from tests.browser.visit import VIEWS, Found, Visit

pytestmark = pytest.mark.slow

SETTINGS = "main :is(select, input[type=number], input[type=range], input[type=checkbox], input[type=radio])"

# Where a setting can be changed, change it, as its keys would: the next choice, one less, the other state.
CHANGE = """(each) => {
  if (each.disabled || each.closest("form")) return;
  if (each.type === "checkbox" || each.type === "radio") return each.click();
  const [value, step] = [Number(each.value), Number(each.step || 1)];
  if (each.tagName === "SELECT") each.selectedIndex = Math.min(2, each.options.length - 1);
  else each.value = value > Number(each.min) ? value - step : value + step;
  each.dispatchEvent(new Event("input", { bubbles: true }));
  each.dispatchEvent(new Event("change", { bubbles: true }));
}"""

# What buttons choose, in views that have some, is in the link too.
BUTTONS = {
    "play": [".candidates button >> nth=2"],
    "tokens": [".chips >> nth=1 >> button >> nth=2"],
    "attention": [".stages button >> nth=1"],
    "heads": [".atlas button >> nth=3"],
    "mlp": ["main table button >> nth=3"],
    "output": [".candidates button >> nth=2"],
    "whatif": ["button[role=switch] >> nth=3", "button[role=switch] >> nth=1"],
    "article": [".contents button >> nth=30"],
}


def differing(found: Found, before: Found) -> list[str]:
    """The lines of text, and the settings of controls, that are not as they were."""
    lines, earlier = (f"{seen['text']}\n{seen['controls']}".splitlines() for seen in (found, before))
    return [line for line in ndiff(earlier, lines) if not line.startswith("  ")]


@pytest.mark.parametrize("view", VIEWS)
def test_a_link_restores_the_view(visit: Visit, view: str) -> None:
    visit.page.set_viewport_size({"width": 1280, "height": 4000})  # what is out of sight is not asked for
    visit.open(f"#1/{view}")
    for at in range(visit.page.locator(SETTINGS).count()):
        setting = visit.page.locator(SETTINGS).nth(at)
        if setting.count():
            setting.evaluate(CHANGE)
            visit.settle()
    for button in BUTTONS.get(view, []):
        visit.page.locator(button).click()
        visit.settle()
    visit.page.locator(".title select").select_option("zh")
    visit.settle()
    before = visit.everything()
    visit.leave_and_open(visit.page.url)
    assert differing(visit.everything(), before) == []


def test_back_and_forward(visit: Visit) -> None:
    visit.open("#1/play")
    tokens = visit.page.locator(".tokens button")
    heading = visit.page.locator("h1")
    first = visit.everything()
    visit.page.get_by_role("link", name="Attention").click()
    visit.settle()
    second = visit.everything()
    tokens.nth(3).click()
    visit.settle()
    assert heading.inner_text() == "Attention"
    assert visit.everything() != second
    visit.page.go_back()
    visit.settle()
    assert differing(visit.everything(), second) == []
    visit.page.go_back()
    visit.settle()
    assert differing(visit.everything(), first) == []
    visit.page.go_forward()
    visit.settle()
    assert differing(visit.everything(), second) == []


def test_a_chosen_token_can_be_undone(visit: Visit) -> None:
    visit.open("#1/play")
    tokens = visit.page.locator(".tokens button")
    before = tokens.count()
    visit.page.locator(".candidates button").first.click()
    visit.settle()
    assert tokens.count() == before + 1
    visit.page.go_back()
    visit.settle()
    assert tokens.count() == before


def test_back_shows_the_text_of_the_link_again(visit: Visit) -> None:
    visit.open("#1/attention?ids=50256,32,9379")
    visit.page.locator("[name=text]").fill("hi")
    visit.page.get_by_role("button", name="Run", exact=True).click()
    visit.page.wait_for_function("() => location.hash.includes('ids=50256,5303')")
    visit.settle()
    visit.page.go_back()
    visit.settle()
    assert visit.page.locator(".tokens button").all_inner_texts() == ["<|endoftext|>", "A", "␣robot"]
    assert "ids=50256,32,9379" in visit.page.url
    visit.page.go_forward()
    visit.settle()
    assert visit.page.locator(".tokens button").all_inner_texts() == ["<|endoftext|>", "hi"]


def test_an_error_message_disappears_after_recovery(visit: Visit) -> None:
    visit.open("#1/attention?ids=50256,32,9379")
    visit.page.evaluate("location.hash = '#1/attention?ids=50256,32,9379&do=zero_ablate_head:layer=99,head=0'")
    visit.page.locator(".failure").wait_for()
    visit.page.evaluate("location.hash = '#1/attention?ids=50256,32,9379'")
    visit.page.locator(".failure").wait_for(state="detached")
    visit.complaints.clear()


def test_a_link_may_contain_a_text(visit: Visit) -> None:
    visit.open("#1/article?text=It%20was%20a%20dark&layer=2&x-figure=F40")
    assert visit.page.locator(".tokens button").all_inner_texts() == ["<|endoftext|>", "It", "␣was", "␣a", "␣dark"]
    assert "ids=50256,1026," in visit.page.url
    assert "text=" not in visit.page.url
    assert visit.page.locator("article").first.get_attribute("data-figure") == "F40"


def test_abandoned_branches_are_kept_as_a_tree(visit: Visit) -> None:
    visit.open("#1/play")
    for choice in ("0", "1", "back", "back", "2"):
        if choice == "back":
            visit.page.go_back()
        else:
            visit.page.locator(".candidates button").nth(int(choice)).click()
        visit.settle()
    ways = visit.page.locator(".ways button").all_inner_texts()
    assert len(ways) == 1
    assert ways[0].startswith("<|endoftext|>A␣robot") or ways[0].startswith("… ")
    visit.page.locator(".ways button").first.click()
    visit.settle()
    assert visit.page.locator(".tokens button").count() == 11
    assert visit.page.locator(".ways button").count() == 3  # what both have in common, and the two ends


def test_the_ways_outlive_a_reload(visit: Visit) -> None:
    visit.open("#1/play")
    visit.page.get_by_role("button", name="Keep this continuation").click()
    ways = visit.page.locator(".ways button").all_inner_texts()
    assert len(ways) == 1
    visit.page.reload()
    visit.settle()
    assert visit.page.locator(".ways button").all_inner_texts() == ways


def test_a_digit_key_chooses_a_candidate(visit: Visit) -> None:
    visit.open("#1/play")
    third = visit.page.locator("ol.candidates button").nth(2)
    word = third.locator(".token").inner_text()
    third.focus()
    visit.page.keyboard.press("Control+3")
    visit.page.keyboard.press("3")
    visit.settle()
    assert visit.page.locator(".tokens button").last.inner_text() == word
    assert visit.page.locator(".tokens button").count() == 10


@pytest.mark.parametrize("state", ["model=builtin-piano", "layer=9&head=0", "layer=0&head=6"])
def test_a_link_for_another_model_says_so_in_one_line(visit: Visit, state: str) -> None:
    visit.open(f"#1/attention?ids=50256,32&{state}")
    said = visit.page.get_by_text("This link was made for another model; here it is builtin.")
    assert said.is_visible()
    assert visit.page.locator(".failure").count() == 0
    visit.page.evaluate("location.hash = '#1/attention?ids=50256,32&layer=7&head=3&model=builtin'")
    said.wait_for(state="detached")


def test_a_text_for_a_model_without_a_tokenizer_is_not_replaced_silently(music_visit: Visit) -> None:
    for language, said in (("en", "This link was made for another model"), ("zh", "此链接是为另一个模型生成的")):
        music_visit.leave_and_open(f"{music_visit.address}#1/play?text=Hello&language={language}")
        assert music_visit.page.get_by_text(said).is_visible()
        assert "text=" not in music_visit.page.url


@pytest.mark.parametrize("state", ["stack", "article?x-figure=F47"])
def test_a_link_opens_the_tables(visit: Visit, state: str) -> None:
    visit.open(f"#1/{state}")
    buttons = visit.page.locator(".tools button[aria-label^=Table]")
    buttons.nth(1).click()
    visit.settle()
    shown = visit.page.locator("cell-grid table").inner_text()
    visit.leave_and_open(visit.page.url)
    assert visit.page.locator("cell-grid table").inner_text() == shown
    assert buttons.nth(1).get_attribute("aria-pressed") == "true"
    buttons.nth(1).click()
    assert visit.page.locator("cell-grid table").count() == 0
    assert "x-table" not in visit.page.url


NONSENSE = (
    "#",
    "#1",
    "#2/play",
    "#1/nowhere",
    "#1/attention?layer=99&head=99&position=99999",
    "#1/heads?layer=-5&head=-1",
    "#1/play?ids=",
    "#1/play?ids=1;2",
    "#1/play?x-t=hot&x-k=-3&x-p=9",
    "#1/attention?x-step=%3Cimg src=x onerror=alert(1)%3E",
    "#1/article?x-figure=%3Cb%3E",
    "#1/article?language=tlh",
    "#1/whatif?do=%3Cscript%3E",
    "#1/tokens?x-piece=77&x-text=a",
    "#1/mlp?x-unit=99999999",
    "#1/output?x-token=1e9",
    "#1/compare?x-ids=,,",
    "#1/heads?x-from=900&x-to=a,-1,0",
    "#1/stack?x-measure=height",
)


def test_an_invalid_link_opens_the_page(visit: Visit) -> None:
    for link in NONSENSE:
        visit.leave_and_open(visit.address + link)
        assert visit.page.locator("h1").inner_text()
        assert visit.page.locator(".tokens button").count() == 9, link
        assert visit.page.locator("main img, main b:empty, script:not([src])").count() == 0
    assert visit.page.locator(".failure").count() == 0


@pytest.mark.parametrize("ids", ["999999999", "1,50257", ",".join(["1"] * 1025)])
def test_rejects_invalid_tokens_in_one_line(visit: Visit, ids: str) -> None:
    visit.page.goto(f"{visit.address}#1/play?ids={ids}")
    failure = visit.page.locator(".failure")
    failure.wait_for()
    assert failure.inner_text()
    assert "\n" not in failure.inner_text()
    visit.complaints.clear()  # a browser reports every answer that is an error
    visit.page.locator("[name=text]").fill("All is well")
    visit.page.locator("form.prompt button").click()
    visit.page.locator(".tokens button").get_by_text("␣well").wait_for()
    visit.settle()
    assert failure.count() == 0
