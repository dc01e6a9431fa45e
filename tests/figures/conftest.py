"""Which of the many tests of figures are left out of `make check`."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every figure on the built-in model, or on one as wide as GPT-2, is slow; on a tiny one it is quick."""
    for item in items:
        is_large = "built-in" in item.name or "124M" in item.name
        if is_large and HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
