"""Templates: controls, fields and text, each a part of its own."""

import pytest

from cutaway.errors import UsageError
from cutaway.tasks.template import Control, Field, Text, parse_template


def test_parts_are_in_their_order() -> None:
    assert parse_template("<|go|>a < b\n{x}{ y}<|to-{z}|>") == (
        Control("<|go|>"),
        Text("a "),
        Text("<"),
        Text(" b\n"),
        Field("x"),
        Field("y", after_space=True),
        Control("<|to-{}|>", "z"),
    )


@pytest.mark.parametrize("template", ["{", "}", "{}", "{X}", "{a b}", "a{x"])
def test_braces_that_hold_no_field_are_refused(template: str) -> None:
    with pytest.raises(UsageError, match=r"^template: unexpected '[{}]' at character \d+: a field is"):
        parse_template(template)
