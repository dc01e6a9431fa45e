import unicodedata

import pytest

from cutaway.cli.terminal import BOLD, safe, style
from tests.cli.invoke import Stream


def test_no_control_character_reaches_a_terminal() -> None:
    everything = "".join(map(chr, range(0x300)))
    shown = safe(everything)
    assert {char for char in shown if unicodedata.category(char) == "Cc"} == {"\n", "\t"}
    assert safe("\x1b[2J\x07\r\x7f\x9b") == "␛[2J␇␍␡\\x9b"
    assert safe("Käse\n\t漢字 🤖") == "Käse\n\t漢字 🤖"


@pytest.mark.parametrize(
    ("terminal", "environment", "styled"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ],
)
def test_colour_is_for_terminals_and_can_be_disabled(
    terminal: bool, environment: dict[str, str], styled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    text = style("robot", BOLD, Stream(terminal=terminal))
    assert text == ("\x1b[1mrobot\x1b[0m" if styled else "robot")
