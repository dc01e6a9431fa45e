"""The examples in the docstrings run, and every public name has one."""

import doctest
import importlib
import inspect
from pkgutil import walk_packages

import pytest

from cutaway import figures

MODULES = ["cutaway.figures", *(module.name for module in walk_packages(figures.__path__, "cutaway.figures."))]
FUNCTIONS = [name for name in figures.__all__ if inspect.isfunction(getattr(figures, name))]


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_have_an_example(name: str) -> None:
    assert ">>>" in (getattr(figures, name).__doc__ or "")
