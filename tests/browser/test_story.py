"""The first screen is the machine; the views are a story with a next step, and open on something worth seeing."""

import re

import pytest

from tests.browser.conftest import Explorer
from tests.browser.numbers import printed, wrong_numbers
from tests.browser.visit import OFFERED, PHONE, VIEWS, WORDS, Visit

pytestmark = pytest.mark.slow

ATTEMPTS = [view for view in OFFERED if f"{view}.try" in WORDS]


def go_on(visit: Visit) -> None:
    visit.page.locator(".onward a").click()
    visit.settle()


def heading(visit: Visit) -> str:
    return visit.page.locator("h1").inner_text()


@pytest.mark.parametrize("width", [1440, PHONE])
def test_the_first_screen_is_the_machine_with_the_models_numbers(visit: Visit, explorer: Explorer, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.open("")
    assert heading(visit) == WORDS["overview.title"]["en"]
    layers = explorer.model.config.n_layer
    numbers = visit.page.evaluate("look.numbers()")
    assert wrong_numbers(explorer.trace, numbers) == []
    tensors = {each["tensor"] for each in numbers}
    assert {f"attn.{layer}" for layer in range(layers)} <= tensors
    assert "probs" in tensors
    assert visit.overflow() <= 0


@pytest.mark.parametrize("position", [0, 1, 8])
def test_the_machine_names_the_largest_weight_between_the_first_token_and_the_chosen_one(
    visit: Visit, explorer: Explorer, position: int
) -> None:
    visit.open(f"#1/overview?position={position}")
    token = (visit.page.locator("svg.flow .strong.here").text_content() or "").strip()
    note = visit.page.locator(".machine .note").first.inner_text()
    assert f"Named is the largest weight on a token between the first and “{token}”, if there is one." in note
    named = visit.page.locator("svg.flow text[data-tensor^=attn]").evaluate_all(
        "(all) => all.map((each) => each.dataset.index)"
    )
    others = slice(1, position) if position > 1 else slice(0, position + 1)
    for layer, index in enumerate(named):
        weights = explorer.trace[f"attn.{layer}"]
        assert weights[tuple(map(int, index.split(",")))] == weights[:, position, others].max()


@pytest.mark.parametrize("width", [1440, PHONE])
def test_the_machine_draws_what_is_looked_at_before_the_tokens_that_it_shows(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.open("#1/overview?ids=50256," + ",".join(map(str, range(1000, 1030))))
    indices = visit.page.locator("svg.flow path[data-tensor='attn.0']").evaluate_all(
        "(paths) => paths.map((path) => path.dataset.index.split(',').map(Number))"
    )
    shown = 12 if width == 1440 else 7
    assert {query for _, query, _ in indices} == {30}
    assert min(key for _, _, key in indices) <= 30 - shown
    assert visit.page.get_by_text(f"… {31 - shown}", exact=True).is_visible() == (width == 1440)


def sides(visit: Visit) -> tuple[bool, bool]:
    """Return whether the machine is drawn from left to right, and has the scores beside it; it must not scroll."""
    box = visit.page.locator(".scroll", has=visit.page.locator("svg.flow"))
    assert box.evaluate("(each) => each.scrollWidth <= each.clientWidth")
    assert visit.overflow() <= 0
    machine = visit.page.locator("svg.flow").bounding_box()
    scores = visit.page.locator(".machine section").bounding_box()
    assert machine
    assert scores
    is_beside = scores["x"] >= machine["x"] + machine["width"]
    assert is_beside or scores["y"] >= machine["y"] + machine["height"]
    return visit.page.locator("svg.flow .station").count() > 0, is_beside


@pytest.mark.parametrize(
    ("width", "is_across", "is_beside"),
    [
        (PHONE, False, False),
        (820, False, True),
        (832, False, True),
        (850, False, False),
        (870, False, False),
        (900, True, False),
        (1024, True, False),
        (1183, True, True),
        (1280, True, True),
        (1440, True, True),
    ],
)
def test_the_machine_fits_at_every_width(visit: Visit, width: int, is_across: bool, is_beside: bool) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.open("#1/overview")
    assert sides(visit) == (is_across, is_beside)


@pytest.mark.parametrize(
    ("width", "is_across", "is_beside"),
    [(900, False, False), (1010, True, False), (1200, True, False), (1300, True, True)],
)
def test_a_machine_of_twelve_blocks_fits_too(deep_visit: Visit, width: int, is_across: bool, is_beside: bool) -> None:
    deep_visit.page.set_viewport_size({"width": width, "height": 900})
    deep_visit.open("#1/overview?ids=1,2,3,4,5,6,7,8")
    assert sides(deep_visit) == (is_across, is_beside)


@pytest.mark.parametrize("width", [1280, 1440, PHONE])
def test_the_scores_stay_in_their_buttons(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 720})
    visit.open("#1/overview")
    for button in visit.page.locator(".machine .candidates button").all():
        assert button.evaluate("(each) => each.scrollWidth <= each.clientWidth")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_machine_says_what_its_marks_mean(visit: Visit, language: str) -> None:
    visit.open(f"#1/overview?language={language}")
    note = visit.page.locator(".machine > div > .note")
    assert WORDS["overview.note.marks"][language].format(start="“<|endoftext|>”") in note.inner_text()
    assert WORDS["overview.note.cells"][language].format(n=12) in note.inner_text()
    visit.page.set_viewport_size({"width": PHONE, "height": 800})
    visit.settle()
    assert WORDS["overview.note.beside"][language] in note.inner_text()
    assert "12" not in note.inner_text()  # vectors are not drawn there


def test_each_station_of_the_machine_is_a_door(visit: Visit) -> None:
    for view in ("tokens", "input", "stack", "output", "play"):
        visit.open("#1/overview")
        visit.page.locator("main .door").filter(has_text=DOORS[view]).first.click()
        visit.settle()
        assert heading(visit) == WORDS[f"{view}.title"]["en"]
    visit.open("#1/overview")
    visit.page.get_by_role("link", name="Attention, layer 6: ").focus()
    visit.page.keyboard.press("Enter")
    visit.settle()
    assert heading(visit) == WORDS["attention.title"]["en"]
    assert "layer=6&head=" in visit.page.url


DOORS = {"tokens": "Tokens", "input": "Vectors", "stack": "blocks", "output": "Scores", "play": "Next token"}


def test_the_machine_writes_the_token_that_is_pressed(visit: Visit) -> None:
    visit.open("#1/overview")
    second = visit.page.locator(".machine .candidates button").nth(1)
    word = second.locator(".token").inner_text()
    second.click()
    visit.settle()
    assert visit.page.locator(".tokens .token").all_inner_texts()[9:] == [word]
    assert second.evaluate("(each) => each === document.activeElement")


def test_next_leads_through_all_views_in_the_order_of_the_menu(visit: Visit) -> None:
    visit.open(f"#1/{OFFERED[0]}")
    for view in OFFERED:
        assert heading(visit) == WORDS[f"{view}.title"]["en"]
        assert visit.page.locator("nav [aria-current]").inner_text() == WORDS[f"{view}.title"]["en"]
        if view != OFFERED[-1]:
            go_on(visit)
            assert visit.page.evaluate("scrollY") == 0
    assert visit.page.locator(".onward").count() == 0


def test_the_menu_has_groups(visit: Visit) -> None:
    visit.open("#1/overview")
    assert visit.page.locator("nav p").all_inner_texts() == ["Start", "Inside, in order", "Try", "Look up"]


def test_the_menu_has_what_the_model_has(visit: Visit, music_visit: Visit, translator_visit: Visit) -> None:
    for each, own in ((visit, []), (music_visit, ["Music"]), (translator_visit, ["Translation"])):
        each.open("#1/overview")
        names = {view: WORDS[f"{view}.title"] for view in OFFERED}
        if own == ["Music"]:
            names["play"] = WORDS["play.title.music"]
        expected = [names[view]["en"] for view in OFFERED]
        place = expected.index("Parameters")
        assert each.page.locator("nav a").all_inner_texts() == [*expected[:place], *own, *expected[place:]]


@pytest.mark.parametrize("view", VIEWS)
def test_a_lead_has_two_sentences(view: str) -> None:
    assert 1 < WORDS[f"{view}.lead"]["en"].count(". ") + 1 <= 2
    assert WORDS[f"{view}.lead"]["zh"].count("。") == 2


@pytest.mark.parametrize("view", ATTEMPTS)
def test_try_this_sets_a_state(visit: Visit, view: str) -> None:
    visit.open(f"#1/{view}")
    before = visit.everything(), visit.page.url
    visit.page.locator(".try button").click()
    visit.settle()
    assert (visit.everything(), visit.page.url) != before
    assert visit.page.locator(".failure").count() == 0


def test_attention_opens_on_the_link_that_the_model_singles_out(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/attention")
    assert visit.page.get_by_role("spinbutton", name="Layer").input_value() == "5"
    assert visit.page.get_by_role("spinbutton", name="Head").input_value() == "5"
    assert explorer.trace["attn.5"][5, 8, 2] > 0.5  # from it to robot
    assert visit.page.locator(".try").inner_text() == "Try this See “␣it” find “␣robot”"


def test_trying_attention_lights_the_weights(visit: Visit) -> None:
    visit.open("#1/attention")
    visit.page.locator(".try button").click()
    visit.settle()
    assert visit.page.locator(".meeting").get_attribute("data-step") == "softmax"
    assert visit.page.locator(".meeting tr.marked th").inner_text() == "␣robot"


def test_trying_output_shows_what_the_logit_is_made_of_without_scrolling(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 1440, "height": 900})
    visit.open("#1/output")
    visit.page.locator(".try button").click()
    visit.settle()
    second = visit.page.locator(".ranked .token").nth(1).inner_text()
    box = visit.page.get_by_role("heading", name=f"What the logit of “{second}” is made of").bounding_box()
    assert box is not None
    assert box["y"] < 450


def test_trying_the_article_opens_where_the_link_is_the_longest_bar(visit: Visit) -> None:
    visit.open("#1/article")
    words = visit.page.locator(".try button").inner_text()
    visit.page.locator(".try button").click()
    visit.settle()
    bars = [row.split() for row in visit.page.locator("article.figure").first.locator(".bars li").all_inner_texts()]
    shares = {token: float(share) for token, share, *_ in bars[:9]}
    likeliest = max(shares, key=shares.__getitem__)
    assert words.endswith(f"of “␣it” and “{likeliest}”")


def test_trying_tokens_takes_a_word_into_pieces(visit: Visit) -> None:
    visit.open("#1/tokens")
    visit.page.locator(".try button").click()
    visit.settle()
    rare = visit.page.locator(".chips button[aria-pressed=true]").last.inner_text()
    assert int(rare.split("tokens: ")[1]) > 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_to_try_is_whole_on_a_phone(visit: Visit, language: str) -> None:
    visit.page.set_viewport_size({"width": PHONE, "height": 800})
    for view in ATTEMPTS:
        visit.open(f"#1/{view}?language={language}")
        assert visit.page.locator(".try button").evaluate("(each) => each.scrollWidth <= each.clientWidth"), view


def test_what_has_been_tried_keeps_its_name(visit: Visit) -> None:
    visit.open("#1/whatif")
    button = visit.page.locator(".try button")
    before = button.inner_text()
    button.click()
    visit.settle()
    assert "do=zero_ablate_head:layer=5,head=5" in visit.page.url
    assert button.inner_text() == before


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    "change",
    ["zero_ablate_head:layer=5,head=5", "zero_ablate_attention", "mask_value:value=-10000000000", "no_mask"],
)
def test_a_sentence_says_what_a_change_did_to_the_loss(visit: Visit, change: str, language: str) -> None:
    visit.open(f"#1/whatif?do={change}&language={language}")
    (before, after, difference) = visit.page.locator(".measured.loss dd").all_inner_texts()[:3]
    name = "effect.none" if after == before else "effect.worse" if float(after) > float(before) else "effect.better"
    if change == "no_mask" and name == "effect.better":
        name = "verdict.better"  # the text itself leaks in
    words = WORDS[f"whatif.{name}"][language].format(n=difference.lstrip("+-"))
    assert visit.page.locator(".verdict").first.inner_text() == words


@pytest.mark.parametrize("view", OFFERED)
def test_chinese_sentences_follow_without_a_space(tour: Visit, view: str) -> None:
    tour.open(f"#1/{view}?language=zh&do=zero_ablate_head:layer=5,head=5")
    text = str(tour.everything()["text"])
    assert re.findall("[。，：；] +\\S.{9}", text) == []


def test_a_text_of_one_token_opens_too(visit: Visit) -> None:
    for view in VIEWS:
        visit.open(f"#1/{view}?ids=50256")
        assert visit.page.locator(".failure").count() == 0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_words_of_a_lead_are_explained_where_they_stand(visit: Visit, language: str) -> None:
    visit.open(f"#1/overview?language={language}")
    words = visit.page.locator(".lead dfn")
    assert words.first.inner_text() == {"en": "tokens", "zh": "词元"}[language]
    assert words.count() >= 3
    assert not words.first.locator("[role=tooltip]").is_visible()
    words.first.focus()
    assert words.first.locator("[role=tooltip]").inner_text() in WORDS["term.token"][language]
    assert (
        visit.page.locator(".lead")
        .evaluate("(lead) => lead.innerText")
        .startswith(WORDS["overview.lead"][language][:4])
    )


def test_a_map_of_heads_chooses_layer_and_head_where_heads_count(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/mlp")
    assert visit.page.locator(".head-map").count() == 0  # heads do nothing there
    for view in ("attention", "whatif", "article"):
        visit.open(f"#1/{view}?layer=1&head=1")
        heads = visit.page.locator(".head-map button")
        assert heads.count() == explorer.model.config.n_layer * explorer.model.config.n_head
        visit.page.locator(".head-map [data-layer='5'][data-head='2']").click()
        visit.settle()
        assert "layer=5&head=2" in visit.page.url
        visit.page.keyboard.press("ArrowLeft")
        visit.settle()
        assert "layer=4&head=2" in visit.page.url


def test_each_myth_has_a_verdict_of_its_own_numbers_and_both_next_tokens(visit: Visit) -> None:
    visit.open("#1/whatif")
    visit.page.get_by_role("button", name="Measure all eight on this text").click()
    visit.page.locator(".verdict").nth(7).wait_for()
    visit.settle()
    kinds = set()
    for card in visit.page.locator(".myths > li").all():
        change, _ = printed(card.locator(".loss dd").nth(2).inner_text())
        said = card.locator(".verdict").inner_text()
        words = (
            "No difference here" if abs(change) < 5e-5 else "The loss falls" if change < 0 else f"Worse by {change:.2f}"
        )
        assert said.startswith(words)
        kinds.add(words[:5])
        card.locator("summary").click()
        firsts = [each.locator(".token").first.inner_text() for each in card.locator(".likely").all()]
        assert said.endswith(f"Likeliest next token: {' → '.join(f'“{token}”' for token in firsts)}")
    assert len(kinds) > 1


def test_the_machine_draws_the_tokens_after_the_chosen_one_too_and_writes_on_from_it(visit: Visit) -> None:
    visit.open("#1/overview?position=2")
    assert visit.page.locator("svg.flow .stream").count() == 9
    best = visit.page.locator(".machine .candidates button .token").first.inner_text()
    visit.page.locator(".machine .candidates button").first.click()
    visit.settle()
    assert visit.page.locator(".tokens button").all_inner_texts() == ["<|endoftext|>", "A", "␣robot", best]


def test_the_cache_shows_that_layers_below_a_change_are_used_again(visit: Visit) -> None:
    visit.open("#1/loop")
    visit.page.evaluate("location.hash = '#1/loop?do=zero_ablate_attention:layer=4'")
    visit.page.locator(".changed b").wait_for()
    visit.settle()
    kinds = visit.page.locator(".cache tbody tr td:nth-child(2)").evaluate_all(
        "(all) => all.map((each) => each.className)"
    )
    assert kinds == ["reused"] * 4 + ["computed"] * 5
