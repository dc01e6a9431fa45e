import sys

import pytest

from cutaway.cli import progress_line
from cutaway.cli.progress_line import ProgressLine
from tests.cli.invoke import Stream


def test_shows_how_far_and_how_long_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(terminal=True)
    stream.reconfigure(encoding="utf-8")
    monkeypatch.setattr(sys, "stderr", stream)
    times = iter([0.0, 3.0, 3.05])
    monkeypatch.setattr(progress_line, "monotonic", lambda: next(times))
    with ProgressLine("bytes", "ptb") as progress:
        progress(1000, 4000)
        progress(1001, 4000)  # too early for another
    assert stream.text() == "\rptb: 1,000 of 4,000 bytes, 25 %, 9s left\x1b[K\r\x1b[K"


def test_is_silent_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("bytes") as progress:
        progress(1, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("calls", "part"), [(1, "7 of 5,153 examples"), (0, "0 examples")])
def test_an_interruption_says_how_far_it_came(calls: int, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        with ProgressLine("examples") as progress:
            for _ in range(calls):
                progress(7, 5153)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert capsys.readouterr().err == f"cutaway: interrupted after {part}\n"
