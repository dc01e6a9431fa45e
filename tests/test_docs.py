"""The pages in docs/ and the READMEs: their links resolve, their examples run, and no module or page is left out."""

import doctest
import importlib
import re
import shlex
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

import cutaway
from cutaway.cli import COMMANDS, make_parser, split_command
from tests.test_house import PACKAGE, ROOMS, ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def prose(path: Path) -> str:
    """The text of a page without code."""
    return re.sub(r"`[^`\n]*`", "code", FENCED.sub("", path.read_text("utf-8")))


def links(path: Path) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)) if not link.startswith("https://")]


def slug(heading: str) -> str:
    """The anchor of a heading, as Python-Markdown makes it."""
    ascii_only = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_only).strip().lower())


def anchors(path: Path) -> set[str]:
    text = FENCED.sub("", path.read_text("utf-8"))
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def is_documented(name: str, page: Path) -> bool:
    """True if a reference page shows the object of that name."""
    shown = re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
    assert any(name == module or name.startswith(f"{module}.") for module in shown)
    module, _, attribute = name.rpartition(".")
    try:
        return bool(importlib.import_module(name))
    except ModuleNotFoundError:
        return hasattr(importlib.import_module(module), attribute)


def code(path: Path, *languages: str) -> Iterator[str]:
    return (block for language, block in FENCED.findall(path.read_text("utf-8")) if language in languages)


def by_name(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(ROOT)))


@by_name(PAGES)
def test_links_resolve(path: Path) -> None:
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert DOCS not in path.parents or DOCS in target.parents, f"{link} is not part of the site"
        if anchor:
            assert is_documented(anchor, target) if anchor.startswith("cutaway.") else anchor in anchors(target), link


def test_links_are_found() -> None:
    assert len(links(DOCS / "index.md")) > 10
    assert "the-start-token-and-more" not in anchors(DOCS / "run.md")
    assert "prompts-and-the-start-token" in anchors(DOCS / "run.md")


def with_examples() -> Iterator[ParameterSet]:
    """Yield the pages that have examples; the examples of some take more than half a second."""
    for path in PAGES:
        if any(code(path, "pycon")):
            is_slow = path.name in ("train.md", "convert.md", "look-inside.md")
            yield pytest.param(path, id=path.name, marks=[pytest.mark.slow] if is_slow else [])


@pytest.mark.parametrize("path", [*with_examples()])
def test_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = "\n".join(code(path, "pycon"))
    example = doctest.DocTestParser().get_doctest(source, {}, path.name, str(path), 0)
    runner = doctest.DocTestRunner()
    report: list[str] = []
    runner.run(example, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


def commands(path: Path) -> list[list[str]]:
    """The arguments of each `cutaway` in the shell examples of a page."""
    lines = [line.removeprefix("$ ") for block in code(path, "sh", "console") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if re.match(r"(\.venv/bin/)?cutaway ", line)]
    return [list(until_pipe(each[1:])) for each in words]


def until_pipe(words: list[str]) -> Iterator[str]:
    for word in words:
        if word in ("|", ">"):
            return
        yield word


@by_name([path for path in PAGES if commands(path)])
def test_commands_are_valid(path: Path) -> None:
    for words in commands(path):
        assert words[0] in COMMANDS
        name, arguments = split_command(words)
        make_parser(name).parse_args(arguments)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").split("\nnav:\n")[1].split("\n\n")[0]
    listed = re.findall(r"- (\S+\.md)$", navigation, re.MULTILINE)
    assert sorted(listed) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def test_every_room_is_in_the_reference() -> None:
    pages = "".join(path.read_text("utf-8") for path in (DOCS / "reference").glob("*.md"))
    rooms = {room for floor in ROOMS for room in floor} - {"__init__", "__main__"}
    assert set(re.findall(r"^::: cutaway\.(\w+)$", pages, re.MULTILINE)) == rooms
    assert all((PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file() for room in rooms)


def test_the_reference_page_lists_the_packages_exports() -> None:
    page = (DOCS / "reference" / "index.md").read_text("utf-8")
    paragraph = page.split("What `import cutaway` gives:")[1].split("\n\n")[0]
    assert sorted(re.findall(r"`(\w+)`", paragraph)) == sorted(cutaway.__all__)


def test_the_architecture_page_draws_the_floors() -> None:
    [drawing] = code(DOCS / "architecture.md", "")
    rows = [re.split(r"  +", re.split(r"   +", line)[0]) for line in drawing.splitlines()]
    floors = [sorted(floor) for floor in ROOMS if not set(floor) & {"__init__", "__main__"}]
    assert [sorted(room.rstrip("/") for room in row) for row in rows] == floors[::-1]
