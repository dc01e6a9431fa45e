"""Taking along what is on the screen: each file has the picture's numbers, and says of what they are."""

import re
import xml.etree.ElementTree as ET
from csv import reader
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator
from safetensors import safe_open

from cutaway.figures.colours import paint
from tests.browser.conftest import Explorer
from tests.browser.visit import Visit

pytestmark = pytest.mark.slow

SVG = "{http://www.w3.org/2000/svg}"


def saved(visit: Visit, room: Locator, button: str, folder: Path) -> Path:
    with visit.page.expect_download() as downloaded:
        room.get_by_role("button", name=re.compile(f"^{button}(:|$)")).first.click()
    path = folder / downloaded.value.suggested_filename
    downloaded.value.save_as(path)
    return path


def test_draws_a_grid_in_every_format(visit: Visit, explorer: Explorer, tmp_path: Path) -> None:
    visit.open("#1/attention?layer=2&head=1&x-step=softmax")
    grid = (
        visit.page.locator("cell-grid")
        .filter(has=visit.page.locator("canvas[data-tensor='attn.2'][data-rows='9']"))
        .first
    )
    expected = explorer.trace["attn.2"][1]
    grid.get_by_text("Save", exact=True).click()
    csv, tensor, png, svg = (saved(visit, grid, form, tmp_path) for form in ("CSV", "safetensors", "PNG", "SVG"))
    assert {path.name for path in (csv, tensor, png, svg)} == {
        f"attn.2[1].{form}" for form in ("csv", "safetensors", "png", "svg")
    }
    header, *rows = reader(csv.read_text(encoding="utf-8").splitlines())
    assert header == ["", *(row[0] for row in rows)]
    assert header[3] == "␣robot"
    np.testing.assert_allclose(np.array([row[1:] for row in rows], np.float64), expected, rtol=1e-6)
    with safe_open(tensor, "numpy") as opened:
        np.testing.assert_allclose(opened.get_tensor("attn.2"), expected, rtol=1e-6)
        assert opened.metadata()["shape"] == ",".join(map(str, explorer.trace["attn.2"].shape))
    assert png.read_bytes().startswith(b"\x89PNG")
    root = ET.parse(svg).getroot()
    image = root.find(f"{SVG}image")
    assert image is not None
    assert image.get("data-tensor") == "attn.2"
    assert image.get("data-offset") == str(81)
    shown = np.array(pixels(visit, image.attrib["href"])).reshape(9, 9, 3)
    below = np.tril_indices(9)  # what the mask leaves
    np.testing.assert_array_equal(shown[below], paint(expected, "share")[below])
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert "␣robot" in texts
    assert f"{100 * expected[8, 0]:.1f} %" in texts


def pixels(visit: Visit, href: str) -> list[list[int]]:
    """The colours of a picture, row by row."""
    visit.page.goto("about:blank")
    data: list[int] = visit.page.evaluate(
        """async (href) => {
          const image = await createImageBitmap(await (await fetch(href)).blob());
          const ink = new OffscreenCanvas(image.width, image.height).getContext("2d");
          ink.drawImage(image, 0, 0);
          return [...ink.getImageData(0, 0, image.width, image.height).data];
        }""",
        href,
    )
    return [data[i : i + 3] for i in range(0, len(data), 4)]


@pytest.mark.parametrize(
    ("state", "name", "marks"),
    [
        ("attention", "attn.5[5,8]", "path"),  # of one head and token
        ("article?x-figure=F05", "", "rect"),
        ("mlp", "gelu", "circle"),
        ("parameters", "parameters", "rect"),
    ],
)
def test_saved_drawings_keep_their_colours(visit: Visit, tmp_path: Path, state: str, name: str, marks: str) -> None:
    visit.page.emulate_media(color_scheme="dark")
    visit.open(f"#1/{state}")
    picture = visit.page.locator(".picture").first
    path = saved(visit, picture, "SVG", tmp_path)
    assert path.name.startswith(name)
    text = path.read_text(encoding="utf-8")
    assert "<!--" not in text
    root = ET.fromstring(text)
    paper = root[0]
    assert paper.get("fill") == visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    found = list(root.iter(f"{SVG}{marks}"))
    assert len(found) > 3
    assert all(mark.get("stroke") or mark.get("fill") for mark in found)
    assert all("var(" not in value for mark in root.iter() for value in mark.attrib.values())
