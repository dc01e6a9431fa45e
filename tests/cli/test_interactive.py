import pytest

import cutaway
from tests.cli.invoke import Result, choose_tokens, invoke, type_lines


def converse(model: str, *arguments: str, stdin: bytes = b"", terminal: bool = False) -> Result:
    command = ("generate", "--engine", "reference", "--model", model, "--max-new-tokens", "3", "--interactive")
    return invoke(*command, *arguments, stdin=stdin, terminal=terminal)


def test_every_line_is_a_prompt(tiny: str) -> None:
    model = cutaway.load(tiny, engine="reference")
    texts = [model.generate(prompt, max_new_tokens=3, seed=seed).text for prompt, seed in (("One", 4), ("Two", 5))]
    result = converse(tiny, "--seed", "4", stdin=b"One\nTwo")
    assert result.code == 0
    assert result.out == "".join(f"{text}\n" for text in texts)
    assert [line.split("seed ")[1][0] for line in result.err.splitlines()] == ["4", "5"]


def test_a_prompt_in_the_arguments_comes_first(tiny: str) -> None:
    assert (
        converse(tiny, "--seed", "4", "One", stdin=b"Two\n").out
        == converse(tiny, "--seed", "4", stdin=b"One\nTwo\n").out
    )


def test_an_empty_line_continues_the_text(tiny: str) -> None:
    greedy = ("--temperature", "0")
    twice = converse(tiny, *greedy, "A robot", stdin=b"\n").out.split("\n")
    assert "".join(twice) == converse(tiny, *greedy, "--max-new-tokens", "6", stdin=b"A robot").out.strip("\n")


def test_an_error_ends_only_its_own_text(tiny: str) -> None:
    result = converse(tiny, stdin=b"x" * 500 + b"\nOne\n")
    assert result.code == 0
    first, second = result.err.splitlines()
    assert first.startswith("cutaway: the prompt is ")
    assert second.startswith("3 tokens")


def test_only_a_new_line_ends_a_prompt_and_it_must_be_utf8(tiny: str) -> None:
    once = converse(tiny, "--seed", "4", stdin=b"One\rTwo\r\n").out
    assert once == converse(tiny, "--seed", "4", "One\rTwo").out
    result = converse(tiny, stdin=b"One\nCaf\xe9\nTwo\n")
    assert result.code == 0
    assert [line.split(",")[0] for line in result.err.splitlines()] == [
        "3 tokens",
        "cutaway: the line is not UTF-8 at byte 3",
        "3 tokens",
    ]


def test_an_interactive_session_explains_itself(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = type_lines(monkeypatch, "One", "Caf\udce9", "Two")
    result = converse(tiny, "--seed", "4", terminal=True)
    assert result.code == 0
    assert asked == ["> "] * 4
    assert "Ctrl-D ends" in result.err.splitlines()[0]
    assert "the line is not UTF-8" in result.err
    assert result.out == converse(tiny, "--seed", "4", stdin=b"One\nCaf\xe9\nTwo\n").out


def test_ctrl_c_stops_the_text_and_then_the_loop(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stops = iter([True])

    def interrupted(*_: object) -> int:
        if next(stops, False):
            raise KeyboardInterrupt
        return 13

    monkeypatch.setattr("cutaway.generation.batch.choose", interrupted)
    result = converse(tiny, stdin=b"One\nTwo\n")
    assert result.code == 0
    assert result.out == "...\n"

    monkeypatch.setattr("builtins.input", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert converse(tiny, terminal=True).code == 130


def test_ctrl_c_at_the_prompt_takes_back_a_line_and_ends_if_pressed_again(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pressed = iter([None, "One", None, None, "Two"])  # None is Ctrl-C

    def answer(_: str) -> str:
        line = next(pressed)
        if line is None:
            raise KeyboardInterrupt
        return line

    monkeypatch.setattr("builtins.input", answer)
    result = converse(tiny, "--seed", "4", terminal=True)
    assert result.code == 130
    assert result.out == converse(tiny, "--seed", "4", stdin=b"One\n").out
    assert result.err.count("Ctrl-C again or Ctrl-D ends.") == 2
    assert next(pressed) == "Two"


def test_enter_continues_a_text_that_ctrl_c_stopped(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = choose_tokens(monkeypatch, [64, 65, None, 66, 66, 66])
    assert converse(tiny, stdin=b"One\n\n").out == "ab\nccc\n"
    assert seen[3] == (*seen[0], 64, 65)
