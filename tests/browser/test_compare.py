"""A and B: each side's numbers are of its own text, or of its own model."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import cutaway
from cutaway.checkpoints import save_checkpoint
from cutaway.trace import Intervention, Trace
from tests.browser.conftest import Explorer, served, visiting
from tests.browser.numbers import is_tensor, wrong_cells, wrong_numbers
from tests.browser.visit import Found, Visit
from tests.tiny import tiny_weights

pytestmark = pytest.mark.slow

IDS = "7,60,0,7,31,2"
SHAPE = {"n_layer": 1, "n_head": 3, "n_vocab": 61}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same shape as the mute one, with other weights."""
    folder = tmp_path_factory.mktemp("models") / "other"
    save_checkpoint(folder, tiny_weights(seed=1, **SHAPE))
    return folder


@pytest.fixture(scope="module")
def two(mute_model: Path, other: Path) -> Iterator[Explorer]:
    mine = cutaway.load(mute_model, engine="reference")
    yield from served(mine, "--model", str(mute_model), "--against", str(other))


@pytest.fixture
def visit_two(browser: Browser, two: Explorer) -> Iterator[Visit]:
    yield from visiting(browser, two.address)


def unmarked(found: Found, mark: str) -> Found:
    """A number or a picture without the side's letter before its tensor."""
    cells = [unmarked(cell, mark) for cell in found.get("cells", [])]  # type: ignore[attr-defined]
    return found | {"tensor": str(found["tensor"]).removeprefix(mark), "cells": cells}


def check_sides(visit: Visit, a: Trace, b: Trace) -> None:
    """Every number and some cells of both sides; those of B have its letter before the tensor."""
    entries = visit.page.evaluate("look.numbers()")
    grids = visit.page.evaluate("look.grids(8)")
    for trace, mark in ((a, ""), (b, "B: ")):
        own, pictures = (
            [unmarked(each, mark) for each in found if each["tensor"].startswith("B: ") == bool(mark)]
            for found in (entries, grids)
        )
        assert wrong_numbers(trace, own) == []  # type: ignore[arg-type]
        assert [wrong for picture in pictures for wrong in wrong_cells(trace, picture)] == []
        assert sum(is_tensor(trace, str(each["tensor"])) for each in own) >= 10
        assert pictures


@pytest.mark.parametrize("tensor", ["attn", "mlp_act"])
def test_compares_two_models(visit_two: Visit, two: Explorer, other: Path, tensor: str) -> None:
    visit_two.open(f"#1/compare?ids={IDS}&x-with=model&x-tensor={tensor}")
    ids = list(map(int, IDS.split(",")))
    check_sides(visit_two, two.trace_of(ids), cutaway.load(other, engine="reference").trace(ids))
    assert "other" in visit_two.page.locator(".sides").inner_text()


@pytest.mark.parametrize("tensor", ["attn", "mlp_act"])
def test_compares_two_texts(visit_two: Visit, two: Explorer, tensor: str) -> None:
    visit_two.open(f"#1/compare?ids={IDS}&x-with=text&x-ids=7,60,1,7&x-tensor={tensor}")
    mine = two.trace_of(list(map(int, IDS.split(","))))
    check_sides(
        visit_two, mine, mine.edit([7, 60, 1, 7])
    )  # from A, as the server reads it: the last bits depend on that


def test_the_first_tokens_that_differ_are_among_those_listed(visit: Visit) -> None:
    ids = [*range(300, 420), 7, 8]
    visit.open(f"#1/compare?ids={','.join(map(str, ids))}&x-with=text&x-ids={','.join(map(str, [*ids[:-2], 9, 8]))}")
    differing = visit.page.locator(".sides .differs")
    assert differing.count() == 2
    assert visit.page.locator(".sides dd").first.inner_text().startswith("… 72")


def test_interventions_beyond_a_short_text_are_dropped(visit_two: Visit, two: Explorer) -> None:
    visit_two.open(f"#1/compare?ids={IDS}&x-with=text&x-ids=7,60&layer=0&head=0&do=attention_knockout:query=3,key=0")
    mine = two.trace_of(list(map(int, IDS.split(","))))
    changed = mine.intervene(Intervention("attention_knockout", query=3, key=0))
    check_sides(visit_two, changed, mine.edit([7, 60]))
    assert "B has too few tokens for" in visit_two.page.locator("main").inner_text()


def test_without_another_model_it_says_how_to_get_one(mute_visit: Visit) -> None:
    mute_visit.open("#1/compare?x-with=model")
    assert "--against NAME" in mute_visit.page.locator("main").inner_text()


def test_of_long_texts_the_tokens_around_the_first_that_differs_are_listed(visit: Visit) -> None:
    visit.open("#1/compare?ids=50256," + ",".join(map(str, range(1000, 1150))))  # and without the last
    lines = visit.page.locator(".sides dd").all_inner_texts()
    assert [line.split()[:2] for line in lines] == [["…", "102"], ["…", "102"]]


def test_a_ready_pair_is_compared_at_once(visit: Visit) -> None:
    visit.open("#1/compare")
    sides = visit.page.locator(".sides dd")
    assert sides.count() == 2  # there is an answer without a press
    for pair in visit.page.locator(".links button").all()[:2]:
        words = pair.inner_text().replace("“", "").replace("”", "").split(" / ")
        pair.click()
        visit.settle()
        assert visit.page.locator(".sides .differs").all_inner_texts() == [
            f"␣{word}".removeprefix("␣A") or "A" for word in words
        ]
        assert len(set(sides.all_inner_texts())) == 2


@pytest.mark.parametrize("threshold", ["0.00005", "0.02", "0.035", "0.06", "50"])
def test_a_sentence_says_from_where_on_they_differ(visit: Visit, threshold: str) -> None:
    texts = "text=A robot must obey the orders&x-with=text&x-text=A king must obey the orders"
    visit.open(f"#1/compare?{texts}&x-kl={threshold}")
    marked = visit.page.locator("table.lens tr.marked th").all_inner_texts()
    said = visit.page.locator(".verdict").inner_text()
    if not marked:
        assert said == "They never differ by more than the threshold."
    elif marked[0].startswith("the input"):
        assert said == "They differ from the start: their inputs differ."
    else:
        place, part = marked[0].split(", after ")
        assert said == f"They differ from the {part.split()[-2].removeprefix('the ')} of {place} on."


def test_the_last_tokens_of_texts_of_two_lengths_are_compared(visit: Visit) -> None:
    visit.open("#1/compare?x-with=text&x-text=A robot must obey the orders given it by human beings")
    assert visit.page.locator(".two h3").all_inner_texts() == ["A · position 9 (index 8)", "B · position 12 (index 11)"]
    lists = [
        visit.page.locator("section", has=visit.page.locator(f"h3:has-text('{side} ·')")).locator(".likely li")
        for side in "AB"
    ]
    a, b = (
        {each.locator(".token").inner_text(): "marked" in (each.get_attribute("class") or "") for each in side.all()}
        for side in lists
    )
    assert {token for token, is_marked in a.items() if is_marked} == set(a) - set(b)
    assert {token for token, is_marked in b.items() if is_marked} == set(b) - set(a)
    assert set(a) - set(b)
