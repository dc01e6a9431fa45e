"""The page as one file: it holds what it will ask for, and asks for nothing else. tests/browser opens it."""

import base64
import errno
import gzip
import json
import os
import re
import resource
import signal
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from weakref import ref

import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors

import cutaway
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.explore import export
from cutaway.explore.assets import assets
from cutaway.explore.encoding import tensors_content
from cutaway.explore.export import ABOUT_TRACE, POLICY, UNPACK, ExportedPage, PagePacker, export_page
from cutaway.explore.handlers import HANDLERS, TraceRequest
from cutaway.figures import Selection, all_figures, draw
from cutaway.model import Model
from cutaway.music.codecs import CODECS
from cutaway.numerics import FloatArray
from cutaway.trace.interventions import Intervention
from cutaway.web.params import QueryParams
from tests.tiny import random_ids, tiny_weights

WEIGHTS = tiny_weights()
MUTE = Model(ReferenceEngine(WEIGHTS), WEIGHTS, None, "mute")


def unpacked(page: ExportedPage) -> dict[str, bytes]:
    """The files inside the page."""
    match = re.search(r'id="packed">([^<]*)<', page.text)
    assert match
    tensors = load_safetensors(gzip.decompress(base64.b64decode(match[1])))
    return {name: tensor.tobytes() for name, tensor in tensors.items()}


def rows_of(files: dict[str, bytes], values: dict[str, Any]) -> FloatArray:
    """The rows of numbers that a figure or a tensor refers to."""
    numbers = np.frombuffer(files["numbers"], np.uint8).reshape(4, -1).T.copy().view(np.float32).ravel()
    return np.array([numbers[first : first + values["columns"]] for first in values["rows"]])


@pytest.fixture(scope="module")
def robot() -> ExportedPage:
    model = cutaway.load("builtin")
    return export_page(model, model.trace("A robot must obey the orders given it", prepend_bos=True), Selection(5, 1))


@pytest.mark.slow
def test_an_export_of_a_sentence_is_below_half_a_megabyte(robot: ExportedPage) -> None:
    assert len(robot.text.encode()) < 500_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "tokens", [18, 20, 60]
)  # the most of which all heads, and all positions, are in it, and more than most sentences have
def test_an_export_of_a_long_text_is_below_half_a_megabyte(tokens: int) -> None:
    model = cutaway.load(engine="reference")
    ids = model.encode(" It was the best of times, and the worst: 1859." * 5)[:tokens]
    assert len(export_page(model, model.trace(ids), Selection(2, 1)).text.encode()) < 500_000


@pytest.mark.slow
def test_exports_request_nothing(robot: ExportedPage) -> None:
    outside = robot.text.replace(re.search(r'id="packed">([^<]*)<', robot.text)[1], "")  # type: ignore[index]
    assert re.findall(r"https?:|\bsrc=|\bhref=|@import|url\(", outside) == []
    assert f'content="{POLICY}"' in outside
    assert "'unsafe-eval'" not in POLICY


@pytest.mark.slow
def test_the_modules_of_its_views_are_embedded_and_import_by_absolute_names(robot: ExportedPage) -> None:
    files = unpacked(robot)
    modules = {name for name in files if name.endswith(".js")}
    views = {name[6:-3] for name in modules if name.startswith("views/")}
    shown = set(json.loads(files["start"])["views"])
    assert views - {"index", "article-motion", "attention-picture"} == shown
    assert modules < {name for name in assets() if name.endswith(".js")} - {UNPACK}
    for name in modules:
        imported = re.findall(r'\bfrom "([^"]+)";$', files[name].decode(), re.MULTILINE)
        assert {path.removeprefix("cutaway/") for path in imported} <= modules, name
    names = re.findall(r"\w+", files["views/index.js"].decode().split("VIEWS = ")[1])
    assert len(names) == len(shown)


@pytest.mark.parametrize(("view", "opened"), [("heads", "heads"), ("whatif", "overview"), ("", "overview")])
def test_an_export_opens_on_a_view_that_it_has(view: str, opened: str) -> None:
    files = unpacked(export_page(MUTE, MUTE.trace([1, 2, 3]), Selection(1, 2), view=view))
    assert json.loads(files["start"])["address"] == f"#1/{opened}?ids=1,2,3&layer=1&head=2&position=2"


@pytest.mark.slow
def test_an_export_opens_with_the_settings_of_its_view_and_the_changes_of_its_model() -> None:
    trace = MUTE.trace([1, 2, 3]).intervene(Intervention("zero_ablate_head", layer=1, head=2))
    settings = [("language", "zh"), ("x-figure", "F40")]
    for view, kept in (("article", "language=zh&x-figure=F40"), ("mlp", "language=zh")):
        files = unpacked(export_page(MUTE, trace, Selection(1, 2), view=view, settings=settings))
        address = json.loads(files["start"])["address"]
        assert address.endswith(f"&position=2&do=zero_ablate_head:layer=1,head=2&{kept}")


@pytest.mark.slow
def test_the_export_of_a_translation_has_its_map_and_what_the_model_writes() -> None:
    model = cutaway.load("builtin-translation")
    trace = model.trace_example({"from": "en", "to": "de", "source": "Where is the station?"})
    page = export_page(model, trace, Selection(4, 6, 7), view="translation", settings=[("x-mean", "all")])
    files = unpacked(page)
    assert len(page.text.encode()) < 500_000
    assert json.loads(files["start"])["address"].startswith("#1/translation?")
    translations = json.loads(files["api/translations?from=en&to=de&source=Where is the station?"])
    assert translations["translations"][0]["text"] == "Wo ist der Bahnhof?"
    assert json.loads(files["api/traces/text/translation"])["n_source"] == 7
    for sel in ("attn.4[6,6:12,0:7]", "attn.0[0,6:12,0:7]", "attn.5[:,6:12,0:7]"):
        found = json.loads(files[f"api/traces/text/tensors?sel={sel}&enc=f32"])
        assert found["shape"][-2:] == [len(trace) - 6, 7]
    np.testing.assert_array_equal(rows_of(files, found["values"]), trace["attn.5"][:, 6:, :7].reshape(-1, 7))


@pytest.mark.slow
def test_the_export_of_a_changed_or_unwritten_translation_has_none() -> None:
    model = cutaway.load("builtin-translation")
    whole = model.trace_example({"from": "en", "to": "de", "source": "Run!"})
    unwritten = model.trace(whole.ids[: model.encoder().find_target(whole.ids)])
    for trace in (unwritten, whole.intervene(Intervention("no_mask")), model.trace([5, 6])):
        files = unpacked(export_page(model, trace, Selection(0, 0)))
        assert "api/traces/text/translation" in files
        assert any(name.startswith("api/translations") for name in files) == (trace is unwritten)


@pytest.mark.slow
def test_the_export_of_music_has_its_notes_and_what_the_heads_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = CODECS["perf388"]
    weights = tiny_weights(n_layer=2, n_head=3, n_vocab=codec.n_vocab, n_ctx=80)
    model = Model(ReferenceEngine(weights), weights, codec, "piano")
    trace = model.trace(random_ids(weights.config, 40))
    files = unpacked(export_page(model, trace, Selection(1, 2, 30), view="music"))
    assert "music" in json.loads(files["start"])["free"]
    for position in range(40):
        found = json.loads(files[f"api/traces/text/tensors?sel=attn.1[:,{position},:]&enc=f32"])
        np.testing.assert_array_equal(rows_of(files, found["values"]), trace["attn.1"][:, position])
    monkeypatch.setattr(export, "MAX_LAYER_WEIGHTS", 3 * 40**2 - 1)
    files = unpacked(export_page(model, trace, Selection(1, 2, 30), view="music"))
    assert "music" not in json.loads(files["start"])["free"]
    assert [name for name in files if "attn.1[:," in name] == ["api/traces/text/tensors?sel=attn.1[:,30,:]&enc=f32"]
    assert json.loads(files["start"])["address"].startswith("#1/music?")
    assert {"notes", "owners", "times"} <= set(json.loads(files["api/traces/text/notes"]))


@pytest.mark.parametrize("tokens", [6, 25])
def test_an_export_holds_the_words_of_its_modules(tokens: int) -> None:
    ids = random_ids(WEIGHTS.config, tokens)
    files = unpacked(export_page(MUTE, MUTE.trace(ids), Selection(1, 2, 3)))
    words = set(json.loads(files["page/words.json"]))
    for name, code in files.items():
        if name.endswith(".js"):
            assert set(re.findall(r'\bt\("([\w.]+)"', code.decode())) <= words, name
            for room in re.findall(r"\bt\(`([\w.]+\.)\$\{", code.decode()):
                assert any(each.startswith(room) for each in words), (name, room)
    assert "compare.title" not in words


@pytest.mark.slow
def test_an_export_holds_every_figure(robot: ExportedPage) -> None:
    files = unpacked(robot)
    start = json.loads(files["start"])["address"]
    assert start.endswith("&layer=5&head=1&position=8")
    for figure in all_figures().values():
        path = f"api/traces/text/figures/{figure.id}?layer=5&head=1&position=8"
        assert path in files, figure.id


def test_an_exports_responses_equal_the_traces_numbers() -> None:
    ids = random_ids(WEIGHTS.config, 6)
    trace = MUTE.trace(ids)
    files = unpacked(export_page(MUTE, trace, Selection(1, 2, 3)))
    for sel, expected in (("attn.1[2,:,:]", trace["attn.1"][2]), ("resid.mid.1[3,:]", trace["resid.mid.1"][3])):
        found = json.loads(files[f"api/traces/text/tensors?sel={sel}&enc=f32"])
        assert (found["name"], found["shape"]) == (sel, list(expected.shape))
        np.testing.assert_array_equal(rows_of(files, found["values"]), expected.reshape(-1, expected.shape[-1]))
    assert json.loads(files["api/traces"])["ids"] == ids
    assert not any(name.startswith("api/tokens") for name in files)


@pytest.mark.slow
def test_an_exports_figures_store_each_row_of_numbers_once() -> None:
    trace = MUTE.trace(random_ids(WEIGHTS.config, 6))
    files = unpacked(export_page(MUTE, trace, Selection(1, 2, 3)))
    held = 0
    for figure in all_figures().values():
        found = json.loads(files[f"api/traces/text/figures/{figure.id}?layer=1&head=2&position=3"])
        expected = json.loads(json.dumps(draw(trace, figure.id, layer=1, head=2, position=3).document()))
        for panel in (panel for panel in found["panels"] if "cells" in panel):
            values = rows_of(files, panel["cells"]["values"])
            held += values.size
            panel["cells"]["values"] = values.tolist()
        for panel in (panel for panel in expected["panels"] if "cells" in panel):
            panel["cells"]["values"] = np.array(panel["cells"]["values"], np.float32).tolist()
        assert _nan_as_none(found["panels"]) == _nan_as_none(expected["panels"]), figure.id
    for sel in (name for name in files if "/tensors?" in name):
        held += rows_of(files, json.loads(files[sel])["values"]).size
    assert len(files["numbers"]) / 4 < 0.8 * held


@pytest.mark.parametrize(
    ("path", "query"), [("summary", "position=3"), ("logit_lens", "position=3&k=5"), ("surprisal", "")]
)
def test_an_exports_responses_round_nothing_that_a_float32_tells_apart(path: str, query: str) -> None:
    trace = MUTE.trace(random_ids(WEIGHTS.config, 6))
    files = unpacked(export_page(MUTE, trace, Selection(1, 2, 3)))
    params = QueryParams(parse_qsl(query))
    expected = HANDLERS[path](TraceRequest(trace, params, {"text": trace}.__getitem__, lambda: None)).body
    found = files[f"api/traces/text/{path}" + (f"?{query}" if query else "")]

    def single(number: str) -> float:
        return float(np.float32(number))

    assert json.loads(found, parse_float=single) == json.loads(expected, parse_float=single)
    assert len(found) < len(expected)


def _nan_as_none(panels: object) -> str:
    return json.dumps(panels).replace("NaN", "null")


@pytest.mark.slow
def test_exports_of_long_texts_hold_the_patterns_of_one_head() -> None:
    weights = tiny_weights(n_ctx=128)
    model = Model(ReferenceEngine(weights), weights, None, "mute")
    files = unpacked(export_page(model, model.trace(random_ids(weights.config, 120)), Selection()))
    assert [name for name in files if "sel=attn." in name] == ["api/traces/text/tensors?sel=attn.0[0,:,:]&enc=f32"]
    assert "heads" not in json.loads(files["start"])["views"]


@pytest.mark.slow
def test_notebooks_show_it_in_a_sandboxed_frame(robot: ExportedPage) -> None:
    frame = robot._repr_html_()
    inside = re.fullmatch(
        r'<iframe sandbox="allow-scripts allow-downloads" .* srcdoc="([^"]*)" title="Cutaway">.*', frame
    )
    assert inside
    assert unescape(inside[1]) == robot.text


@pytest.mark.slow
def test_the_same_trace_gives_the_same_file(tmp_path: Path) -> None:
    trace = MUTE.trace([1, 2, 3])
    export_page(MUTE, trace, Selection()).save(tmp_path / "one.html")
    assert (tmp_path / "one.html").read_text(encoding="utf-8") == export_page(MUTE, trace, Selection()).text


PAGE = ExportedPage("<html>" * 9)


@pytest.mark.parametrize("step", ["chmod", "fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_save_keeps_the_old_file_and_leaves_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    file = tmp_path / "one.html"
    file.write_text("before")

    def fail(*arguments: object, **options: object) -> None:
        raise failure

    if step == "chmod":
        monkeypatch.setattr(Path, "chmod", fail)
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(failure)) as error:
        PAGE.save(file)
    if isinstance(error.value, OSError):
        assert error.value.filename == str(file)
    assert [path.name for path in tmp_path.iterdir()] == ["one.html"]
    assert file.read_text() == "before"


def test_a_write_that_fails_halfway_keeps_the_old_file_and_leaves_no_litter(tmp_path: Path) -> None:
    file = tmp_path / "one.html"
    file.write_text("before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            ExportedPage("<html>" * 9_000).save(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert error.value.filename == str(file)
    assert [path.name for path in tmp_path.iterdir()] == ["one.html"]
    assert file.read_text() == "before"


def test_save_keeps_the_mode(tmp_path: Path) -> None:
    file = tmp_path / "one.html"
    for mode in (0o600, 0o644, 0o640):
        file.touch()
        file.chmod(mode)
        PAGE.save(file)
        assert file.stat().st_mode & 0o777 == mode
        assert file.read_text() == PAGE.text


def test_save_replaces_the_target_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "target.html"
    for link in (tmp_path / "one.html", tmp_path / "two.html"):
        link.symlink_to(target)  # which does not exist at first
        PAGE.save(link)
        assert link.is_symlink()
        assert target.read_text() == PAGE.text


def test_save_writes_into_a_pipe_and_a_device(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_text)
        PAGE.save(pipe)
        assert read.result(timeout=20) == PAGE.text
    assert pipe.is_fifo()
    (tmp_path / "null").symlink_to("/dev/null")
    PAGE.save(tmp_path / "null")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["", ".", "..", "/"])
def test_save_rejects_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="Is a directory"):
        PAGE.save(name)
    assert list(tmp_path.iterdir()) == []


def test_save_rejects_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="symbolic links"):
        PAGE.save(tmp_path / "a")
    assert (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("name", ["x" * 255, "y" * 250 + ".html"])
def test_save_accepts_the_longest_names(tmp_path: Path, name: str) -> None:
    PAGE.save(tmp_path / name)
    assert (tmp_path / name).read_text() == PAGE.text


def test_a_drawn_figure_is_let_go_of_once_it_is_packed() -> None:
    packer = PagePacker()
    drawn = draw(MUTE.trace([1]), "F40")
    packer.add(f"{ABOUT_TRACE}figures/F40", drawn)
    figure = ref(drawn)
    del drawn
    assert figure() is None


@pytest.mark.slow
def test_a_page_is_packed_without_copies_of_what_it_holds() -> None:
    values = np.random.default_rng(0).standard_normal((1000, 1000), np.float32)
    packer = PagePacker()
    tracemalloc.start()
    try:
        packer.add(f"{ABOUT_TRACE}tensors?sel=x", tensors_content({"x": values}, {"x": "{}"}).body)
        tracemalloc.reset_peak()
        text = packer.page().text
        size, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 1.1 * len(text)
    assert peak < 1.1 * (values.nbytes + 2 * len(text))  # the numbers, the text in parts, and joined


@pytest.mark.slow
def test_two_exports_are_the_same_bytes() -> None:
    ids = random_ids(WEIGHTS.config, 5)
    assert export_page(MUTE, MUTE.trace(ids), Selection()) == export_page(MUTE, MUTE.trace(ids), Selection())


def test_rejects_an_unknown_head() -> None:
    with pytest.raises(UsageError, match="^head must be from 0 to 2, not 3$"):
        export_page(MUTE, MUTE.trace([1]), Selection(head=3))
