"""No number is invented: what stands on the page, and the colours of what is drawn, are the model's own tensors."""

import re

import numpy as np
import pytest

from cutaway.figures import all_figures
from cutaway.trace import Trace
from tests.browser.conftest import Explorer
from tests.browser.numbers import is_tensor, is_weight, picture_of, wrong_cells, wrong_numbers
from tests.browser.visit import VIEWS, Visit

pytestmark = pytest.mark.slow

CELLS = 6  # of each grid, and as many again with the pointer
STATES = {  # of views that show other tensors in other states
    "attention": [f"x-step={step}" for step in ("vectors", "scores", "scaled", "masked", "sum", "merge")],
    "input": ["x-folded=1"],
    "output": ["x-token=11&x-find=robot"],
    "compare": ["x-with=text&x-ids=50256,32,9379"],
}
HYPHEN = re.compile(r"(?<![^\s(≤≥|])-(?!1\))\d\S*|\de-\d+")  # a number that is read has a minus sign
PLACE = "layer=2&head=1&position=5"


def check_numbers(visit: Visit, trace: Trace) -> int:
    """Return how many grids and numbers of the page were compared, each with the trace."""
    entries = visit.page.evaluate("look.numbers()")
    grids = [grid for grid in visit.page.evaluate("(n) => look.grids(n)", CELLS) if is_tensor(trace, grid["tensor"])]
    assert wrong_numbers(trace, entries) == []
    assert HYPHEN.findall(visit.page.locator("body").inner_text()) == []
    weights = [entry["text"] for entry in entries if is_weight(entry["tensor"]) and not entry["isExact"]]
    assert [text for text in weights if not text.endswith(" %")] == []
    for grid in grids:
        assert grid["cells"], grid
        assert wrong_cells(trace, grid) == []
    return len(grids) + sum(is_tensor(trace, entry["tensor"]) for entry in entries)


@pytest.mark.parametrize("view", VIEWS)
def test_the_page_shows_what_the_model_computes(tour: Visit, explorer: Explorer, view: str) -> None:
    compared = 0
    for state in ["", *STATES.get(view, [])]:
        tour.open(f"#1/{view}?{PLACE}&{state}")
        compared += check_numbers(tour, explorer.trace)
    assert compared or view in ("whatif", "music", "translation", "parameters")  # what those show has no tensor


@pytest.mark.parametrize("view", VIEWS)
def test_of_a_model_of_any_shape(mute_tour: Visit, mute_explorer: Explorer, view: str) -> None:
    ids = [7, 60, 0, 7, 7, 31, 2]
    mute_tour.open(f"#1/{view}?ids={','.join(map(str, ids))}&layer=0&head=2&position=5")
    check_numbers(mute_tour, mute_explorer.trace_of(ids))


def test_every_figure_of_the_article(tour: Visit, explorer: Explorer) -> None:
    tour.open(f"#1/article?{PLACE}")
    for figure in all_figures():
        tour.page.locator(".contents button", has=tour.page.locator(f"b:text-is('{figure}')")).click()
        tour.settle()
        assert tour.page.locator("article").first.get_attribute("data-figure") == figure
        check_numbers(tour, explorer.trace)
        assert tour.page.locator(".check.fails").count() == 0


def test_thumbnails_of_heads(visit: Visit, explorer: Explorer) -> None:
    visit.open("#1/heads")
    pictures = visit.page.evaluate("look.pictures()")
    assert len(pictures) >= explorer.model.config.n_head
    for picture in pictures:
        weights = explorer.trace[picture["tensor"]][int(picture["index"])]
        shown = np.reshape(picture["colours"], (*weights.shape, 3))
        assert np.abs(shown.astype(int) - picture_of(weights)).max() <= 4  # one of the 256 colours beside it at most


def test_what_is_masked_is_empty_in_the_dark_too(visit: Visit) -> None:
    visit.page.emulate_media(color_scheme="dark")
    visit.open("#1/heads")
    canvas = visit.page.locator(".heads .beside canvas")
    empty = canvas.evaluate("(each) => look.colours(each, each.width - 4, 24, 1, 1)")
    pictures = visit.page.evaluate("look.pictures()")
    for picture in pictures:
        shown = np.reshape(picture["colours"], (picture["size"], picture["size"], 3))
        masked = shown[np.triu_indices(picture["size"], 1)]
        assert (masked == empty).all()
    assert pictures
