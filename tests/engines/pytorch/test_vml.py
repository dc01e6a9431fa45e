"""MKL chooses its kernels on one thread, before a model computes anything: see `cutaway.engines.pytorch.vml`."""

import re
from pathlib import Path

import pytest
import torch

import cutaway
from cutaway.config import GPT2Config
from cutaway.engines.pytorch import vml
from cutaway.engines.pytorch.model import GPT2

COMPUTED_BY_VML = {
    *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "erfc", "erfinv", "exp", "exp2"),
    *("expm1", "lgamma", "log", "log10", "log1p", "log2", "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh"),
}


def test_a_model_is_made_after_each_function_was_called_for_one_number(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, str]] = []
    monkeypatch.setattr(vml, "FUNCTIONS", [lambda x: calls.append((x.numel(), x.device.type))])
    vml.choose_kernels.cache_clear()
    for _ in range(2):
        with torch.device("meta"):
            GPT2(GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=1))
    vml.choose_kernels.cache_clear()  # so that the next model calls them
    assert calls == [(1, "cpu")]


def test_they_are_the_functions_that_this_package_uses() -> None:
    used = set()
    for path in Path(cutaway.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^\s*(import|from) torch", text, re.MULTILINE):
            used |= set(re.findall(r"(?<!math)(?<!np)\.(\w+?)_?\b", text)) & COMPUTED_BY_VML
    assert used == {function.__name__ for function in vml.FUNCTIONS}
