"""From a name to a model: which engine runs, and what is refused."""

import subprocess
import sys

import pytest

import cutaway
from cutaway.errors import EngineError, UsageError
from cutaway.loading import make_engine
from tests.tiny import tiny_weights

WEIGHTS = tiny_weights()


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda: cutaway.load(None), "a model must be a name or a path"),  # type: ignore[arg-type]
        (lambda: cutaway.load(engine="pytorch", threads=5000), "threads must be from 1 to 1024"),
        (lambda: cutaway.load(engine="steam"), "engine must be one of"),
    ],
)
def test_rejects_invalid_input_in_one_line(wrong: object, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        wrong()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise EngineError("the library is not built")

    monkeypatch.setattr("cutaway.engines.cpu.library.library", missing)


@pytest.mark.usefixtures("no_library")
def test_without_the_library_the_reference_runs_and_says_why() -> None:
    with pytest.warns(RuntimeWarning, match="the library is not built; running the reference engine, which is slow"):
        assert make_engine(WEIGHTS).name == "reference"
    with pytest.raises(UsageError, match="no threads of its own; and the library is not built"):
        make_engine(WEIGHTS, threads=2)
    with pytest.raises(UsageError, match="with the reference engine, not 'int8'; and the library is not built"):
        make_engine(WEIGHTS, "int8")


def test_the_reference_replaces_the_cpu_engine_only_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise EngineError("out of memory")

    monkeypatch.setattr("cutaway.engines.cpu.engine.CpuEngine._new_model", no_memory)
    with pytest.raises(EngineError, match="out of memory"):
        make_engine(WEIGHTS)


def test_a_first_token_imports_neither_tokenizers_nor_hub_nor_figures() -> None:
    code = """
import sys, cutaway
next(cutaway.load().stream("A robot must obey", seed=1))
heavy = {"tokenizers", "huggingface_hub", "torch", "starlette", "difflib", "cutaway.figures", "cutaway.trace"}
print(*(heavy & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.split() == []
