"""A browser opens the page."""

import pytest

from tests.browser.conftest import has_browser


def test_there_is_a_browser() -> None:
    if not has_browser():
        pytest.skip("no browser: make browser")
