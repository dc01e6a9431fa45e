"""A screen reader tells every control from every other, finds headings in order, and every picture has a name."""

import re
from collections import Counter

import pytest

from tests.browser.visit import CHINESE, OFFERED, Visit

pytestmark = pytest.mark.slow

AROUND = {
    "Details",
    "article",
    "cell",
    "figure",
    "form",
    "group",
    "list",
    "navigation",
    "radiogroup",
    "region",
    "row",
    "table",
}
NAMED = {"grid", "image", "region", "application"}  # beside what can have the focus
Node = dict[str, object]


def tree(visit: Visit) -> list[Node]:
    """Return what a screen reader is told, with every menu open: role, name, description, level, what is around."""
    visit.page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    session = visit.page.context.new_cdp_session(visit.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    by_id = {node["nodeId"]: node for node in nodes}

    def value(node: Node, name: str) -> str:
        found = node.get(name)
        return str(found.get("value", "")).strip() if isinstance(found, dict) else ""

    def around(node: Node) -> str:
        while node := by_id.get(str(node.get("parentId")), {}):
            if value(node, "role") in AROUND and value(node, "name"):
                return f"{value(node, 'role')} {value(node, 'name')}"
        return ""

    def described(node: Node) -> Node:
        listed = node.get("properties", [])
        assert isinstance(listed, list)
        properties = {each["name"]: each["value"].get("value") for each in listed}
        words = {name: value(node, name) for name in ("role", "name", "description")}
        return {
            **words,
            "around": around(node),
            "level": properties.get("level"),
            "focusable": properties.get("focusable", False),
        }

    return [described(node) for node in nodes if not node.get("ignored")]


def check_names(visit: Visit) -> None:
    nodes = [node for node in tree(visit) if node["role"] not in ("RootWebArea", "option", "MenuListPopup")]
    unnamed = [node for node in nodes if not node["name"] and (node["focusable"] or node["role"] in NAMED)]
    assert unnamed == []
    controls = Counter(
        (node["role"], node["name"], node["description"], node["around"]) for node in nodes if node["focusable"]
    )
    assert [control for control, count in controls.items() if count > 1] == []
    levels = [node["level"] for node in nodes if node["role"] == "heading"]
    assert all(isinstance(level, int) for level in levels)
    steps = zip([0, *levels], levels, strict=False)
    assert all(level <= before + 1 for before, level in steps if isinstance(before, int) and isinstance(level, int))
    assert levels.count(1) == 1


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("view", OFFERED)
def test_every_control_has_a_name_of_its_own(tour: Visit, view: str, language: str) -> None:
    tour.open(f"#1/{view}?language={language}")
    check_names(tour)


@pytest.mark.parametrize("step", ["vectors", "scores", "scaled", "masked", "softmax", "sum", "merge"])
def test_in_every_step_of_attention(tour: Visit, step: str) -> None:
    tour.open(f"#1/attention?x-step={step}")
    check_names(tour)


@pytest.mark.parametrize(
    "state",
    [
        "heads?x-from=8&x-to=2,3",
        "output?x-find=robot",
        "compare?x-tensor=mlp_out",
        "whatif?do=no_mask&do=zero_ablate_head:layer=1,head=2",
        "article?x-figure=F16",
    ],
)
def test_in_states_of_views(tour: Visit, state: str) -> None:
    tour.open(f"#1/{state}")
    check_names(tour)


def test_what_saves_a_drawing_and_chooses_a_head_says_what_in_chinese(tour: Visit, music_visit: Visit) -> None:
    tools = ".picture > .tools > button, .music-heads input"
    for visit, view in ((tour, "attention"), (tour, "mlp"), (tour, "parameters"), (music_visit, "music")):
        visit.page.bring_to_front()
        visit.open(f"#1/{view}?language=zh")
        names = visit.page.locator(tools).evaluate_all("(all) => all.map((each) => each.ariaLabel)")
        assert names
        assert [name for name in names if not re.search(CHINESE, name)] == []


# The words that the page dots in a text.
DOTTED = """async ([view, text]) => {
  const entry = document.querySelector("script[type=module]").src;
  const { explained } = await import(new URL("ui/glossary.js", entry));
  const { render } = await import(new URL("vendor/lit-html.js", entry));
  const box = document.createElement("p");
  render(explained(view, text), box);
  for (const meaning of box.querySelectorAll("[role=tooltip]")) meaning.remove();
  return [box.textContent, [...box.querySelectorAll("dfn")].map((each) => each.textContent)];
}"""


@pytest.mark.parametrize(
    ("language", "view", "text", "dotted"),
    [
        ("zh", "attention", "真实的数值：值向量和数值", ["值"]),  # once, and not within another word
        ("zh", "stack", "层归一化之后的层，下一层", ["层归一化", "层"]),  # the longest that stands there
        ("en", "stack", "Layers, and a multilayer one: two blocks, a logit lens", ["Layers", "logit lens"]),
        ("en", "article", "A keyboard has keys; a key, a value", ["keys"]),
        ("zh", "parameters", "没有这样的词", []),
    ],
)
def test_a_word_of_the_glossary_is_found_as_a_word(
    tour: Visit, language: str, view: str, text: str, dotted: list[str]
) -> None:
    tour.open(f"#1/article?language={language}")
    assert tour.page.evaluate(DOTTED, [view, text]) == [text, dotted]


def test_a_number_is_no_value(tour: Visit) -> None:
    tour.open("#1/article?language=zh")
    assert "数值" in tour.page.locator(".lead").inner_text()
    assert "值" not in tour.page.locator(".lead dfn").all_inner_texts()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_in_music_and_translation(music_visit: Visit, translator_visit: Visit, language: str) -> None:
    for visit, view in ((music_visit, "music"), (translator_visit, "translation")):
        visit.page.bring_to_front()
        visit.open(f"#1/{view}?language={language}")
        check_names(visit)
