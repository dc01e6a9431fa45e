"""Installed files: the compiled library (hatch_build.py), the wheel and the source distribution."""

import ctypes
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import hatch_build
from hatch_build import BuildError, Compiler

ROOT = Path(__file__).parents[1]
SOURCE = (
    '#include <vector>\nextern "C" __attribute__((visibility("default"))) int cutaway_answer() { return ANSWER; }\n'
)

needs_library = pytest.mark.skipif(
    not hatch_build.is_current(ROOT), reason="hatch_build.py has not built the library here"
)


@pytest.fixture(scope="session")
def compiler() -> Compiler:
    found = hatch_build.find_compiler()
    return found or pytest.skip("no C++ compiler here")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package whose engine is one line of C++."""
    (tmp_path / hatch_build.SOURCES).mkdir(parents=True)
    (tmp_path / hatch_build.SOURCES / "answer.cpp").write_text(SOURCE.replace("ANSWER", "42"))
    (tmp_path / "hatch_build.py").touch()
    return tmp_path


def answer(tree: Path) -> int:
    code = f"import ctypes; print(ctypes.CDLL('{tree / hatch_build.LIBRARY}').cutaway_answer())"
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)


def test_instruction_sets_are_in_the_names_and_the_portable_code_is_linked_first(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a_amx.cpp", "b_avx512.cpp", "c_avx2.cpp", "d_portable.cpp", "e.h"):
        (tree / hatch_build.SOURCES / name).touch()
    monkeypatch.setattr(hatch_build, "X86_64", True)
    sources = hatch_build.sources(tree)
    in_order = ["answer.cpp", "d_portable.cpp", "c_avx2.cpp", "b_avx512.cpp", "a_amx.cpp"]
    assert [path.name for path in sources] == in_order
    assert ["-mavx2" in flags for flags in sources.values()] == [False, False, True, True, True]
    assert ["-mavx512vnni" in flags for flags in sources.values()] == [False, False, False, True, True]
    assert ["-mamx-int8" in flags for flags in sources.values()] == [False, False, False, False, True]
    monkeypatch.setattr(hatch_build, "X86_64", False)
    assert [path.name for path in hatch_build.sources(tree)] == ["answer.cpp", "d_portable.cpp"]


@pytest.mark.slow
def test_compiles_when_something_changed_and_only_then(
    tree: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hatch_build.ensure_library(tree)
    assert answer(tree) == 42
    monkeypatch.setattr(hatch_build, "build", lambda *_: pytest.fail("compiled again"))
    assert hatch_build.ensure_library(tree)
    monkeypatch.undo()
    source = tree / hatch_build.SOURCES / "answer.cpp"
    source.write_text(source.read_text().replace("42", "43"))
    assert hatch_build.ensure_library(tree)
    assert answer(tree) == 43


@pytest.mark.slow
def test_a_failing_compiler_is_an_error_that_says_what_to_do(tree: Path, compiler: Compiler) -> None:
    (tree / hatch_build.SOURCES / "broken.cpp").write_text("int f() { return unheard_of; }\n")
    with pytest.raises(BuildError, match=r"unheard_of(.|\n)*set CXX to another one, or CUTAWAY_NATIVE=0"):
        hatch_build.ensure_library(tree)
    assert not (tree / hatch_build.LIBRARY).exists()


def test_a_requested_compiler_must_work(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O1")
    with pytest.raises(BuildError, match=r"^CXX=no-such-compiler -O1 cannot build"):
        hatch_build.ensure_library(tree)


def test_without_a_compiler_there_is_no_library(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hatch_build, "find_compiler", lambda: None)
    (tree / hatch_build.LIBRARY).touch()  # of other sources
    assert not hatch_build.ensure_library(tree)
    assert not (tree / hatch_build.LIBRARY).exists()


def test_on_request_nothing_is_compiled_and_an_existing_library_stays(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hatch_build, "find_compiler", lambda: pytest.fail("looked for a compiler"))
    monkeypatch.setenv("CUTAWAY_NATIVE", "0")
    assert not hatch_build.ensure_library(tree)
    (tree / hatch_build.LIBRARY).touch()  # of an editable install
    assert not hatch_build.ensure_library(tree)
    assert (tree / hatch_build.LIBRARY).exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_reinstalls_if_the_library_is_missing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def installs(*arguments: str) -> bool:
        command = ["make", "--dry-run", "run", *arguments]
        return "pip install" in subprocess.run(command, check=True, cwd=tree, capture_output=True, text=True).stdout

    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tree)
    (tree / ".venv" / "bin").mkdir(parents=True)
    for path in (tree / ".venv" / "bin" / "pip", tree / hatch_build.LIBRARY, tree / ".venv" / "core.stamp"):
        path.touch()
    assert not installs()
    (tree / hatch_build.LIBRARY).unlink()
    assert installs()
    assert not installs("CUTAWAY_NATIVE=0")


@pytest.mark.slow
def test_the_engine_compiles_without_warnings(compiler: Compiler) -> None:
    for source, flags in hatch_build.sources(ROOT).items():
        command = [*compiler.command, *flags, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", str(source)]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


@needs_library
@pytest.mark.skipif(sys.platform == "darwin", reason="there the C++ run-time is a library of its own")
def test_the_library_shows_its_own_functions_only() -> None:
    library = ctypes.CDLL(str(ROOT / hatch_build.LIBRARY))
    assert hasattr(library, "cutaway_forward")
    assert not hasattr(library, "_Znwm")  # operator new, of the C++ run-time linked in


def build(tree: Path, target: str, directory: Path, **environment: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(directory)]
    subprocess.run(command, check=True, cwd=tree, env=os.environ | environment, capture_output=True)
    (built,) = directory.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    directory = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build(ROOT, "sdist", directory)) as archive:
        for member in archive:  # not extractall: its safe form came with Python 3.11.4
            path = directory / member.name
            content = archive.extractfile(member)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read() if content else b"")
    (unpacked,) = (path for path in directory.iterdir() if path.is_dir())
    return unpacked


@pytest.mark.slow
def test_the_source_distribution_has_what_the_package_is_made_from(sdist: Path) -> None:
    for name in ("README.md", "LICENSE", "NOTICE", "Makefile", "constraints.txt", "tests", "docs", hatch_build.SOURCES):
        assert (sdist / name).exists(), name
    assert {path.suffix for path in (sdist / hatch_build.SOURCES).iterdir()} == {".cpp", ".h", ".inl"}
    assert not (sdist / hatch_build.LIBRARY).exists()


@pytest.mark.slow
def test_a_wheel_without_the_library_is_for_every_platform(sdist: Path, tmp_path: Path) -> None:
    (sdist / hatch_build.LIBRARY).touch()  # of an editable install: not for this wheel
    wheel = build(sdist, "wheel", tmp_path, CUTAWAY_NATIVE="0")
    assert (sdist / hatch_build.LIBRARY).exists()
    assert wheel.name.endswith("-py3-none-any.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "cutaway/engines/cpu/_native.so" not in names
    assert {"cutaway/py.typed", "cutaway/tokenizer/vocab.bpe", "cutaway/builtin/text/model.safetensors"} <= names
    licences = {name.split("/licenses/")[1] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}


@pytest.mark.slow
@needs_library
def test_a_wheel_with_the_library_is_for_this_platform_and_every_python(tmp_path: Path) -> None:
    wheel = build(ROOT, "wheel", tmp_path)
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "cutaway/engines/cpu/_native.so" in names
    assert not [name for name in names if name.endswith((".cpp", ".h"))]
