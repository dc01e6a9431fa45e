"""The examples in docstrings run."""

import doctest
import importlib
from functools import cache
from pathlib import Path

import pytest

import cutaway

PACKAGE = Path(cutaway.__file__).parent
EXAMPLES = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]
SLOW = {
    "checkpoints/pickles.py",
    "checkpoints/sandbox.py",
    "checkpoints/unpickle.py",
    "engines/cpu/engine.py",
    "engines/pytorch/engine.py",
    "evaluation/perplexity.py",
    "explore/export.py",
    "figures/article/part3_summaries.py",
    "figures/drawn.py",
    "loading.py",
    "training/finetuning.py",
    "training/hardware.py",
    "training/transfer.py",
    "training/tuners.py",
}
PARAMETERS = [
    pytest.param(path, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
    for path in EXAMPLES
    for name in [path.relative_to(PACKAGE).as_posix()]
]
load_once = cache(cutaway.load)


@pytest.mark.parametrize("path", PARAMETERS)
def test_examples_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutaway, "load", load_once)
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
