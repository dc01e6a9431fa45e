"""Messages about invalid arguments: one short line that shows the value exactly."""

import numpy as np
import pytest

from cutaway.checks import check_float, check_int, check_top_p, parse_share
from cutaway.errors import UsageError


@pytest.mark.parametrize("text", ["-1", "5 percent", "nan", "inf", "%", "1_0", "٥%", ""])
def test_other_text_is_no_share(text: str) -> None:
    assert parse_share(text) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.arange(40).reshape(8, 5), "array([[ 0,  1,  2,  3,  4],"),
        ("a\n" * 100, "'a\\na\\n"),
        (10**400, "1000000"),
        (-1, "-1"),
    ],
)
def test_an_invalid_integer_is_shown_on_one_short_line(value: object, shown: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_int("k", value, 0, 9)
    assert shown in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 120


def test_a_number_of_thousands_of_digits_is_not_written() -> None:
    with pytest.raises(UsageError, match=r"^k must be from 0 to 9, not a number of thousands of digits$"):
        check_int("k", 10**5000, 0, 9)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.0000001, "1.0000001"), (1 + 2**-52, "1.0000000000000002"), (10**400, "1000"), (np.ones(3), "array")],
)
def test_an_invalid_float_is_shown_exactly(value: object, shown: str) -> None:
    with pytest.raises(UsageError, match=shown):
        check_float("top_p", value, 0, 1)


def test_a_number_of_numpy_is_a_number() -> None:
    found = check_float("value", np.float32(0.5), 0, 1)
    assert (found, type(found)) == (0.5, float)
    assert check_top_p("top_p", np.float32(0.5)) == 0.5
    with pytest.raises(UsageError, match="top_p must be above 0 and at most 1"):
        check_top_p("top_p", np.float32(0))
    with pytest.raises(UsageError, match="value must be a number"):
        check_float("value", np.bool_(True), 0, 1)
