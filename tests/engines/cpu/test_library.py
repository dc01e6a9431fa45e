"""Loading the compiled library: what is said where it is missing or not what it should be."""

from pathlib import Path

import pytest

from cutaway.engines.cpu import library as module
from cutaway.errors import EngineError


@pytest.fixture
def library_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Move the path of the library to a temporary folder."""
    path = tmp_path / "_native.so"
    monkeypatch.setattr(module, "PATH", path)
    return path


def test_a_missing_library_is_an_error_that_says_how_to_build_it(library_path: Path) -> None:
    with pytest.raises(EngineError, match="not built") as caught:
        module.library.__wrapped__()
    assert "\n" not in str(caught.value)


def test_an_unloadable_library_is_an_error_of_one_line(library_path: Path) -> None:
    library_path.write_bytes(b"not a library")
    with pytest.raises(EngineError, match="cannot be loaded") as caught:
        module.library.__wrapped__()
    assert "\n" not in str(caught.value)


def test_a_library_of_other_sources_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERFACE", 0)
    with pytest.raises(EngineError, match=r"_native\.so was built from other sources"):
        module.library.__wrapped__()


def test_running_out_of_memory_is_an_engine_error() -> None:
    module.check(0)
    with pytest.raises(EngineError, match="memory"):
        module.check(1)
