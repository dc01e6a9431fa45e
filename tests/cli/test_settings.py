"""Settings as flags."""

import argparse

import pytest

from cutaway.cli import COMMANDS, SUBCOMMANDS, make_parser
from cutaway.cli.settings import read_settings
from cutaway.training.config import TrainingConfig
from tests.cli.invoke import invoke

NAMES = [*COMMANDS, *("_".join(words) for words in SUBCOMMANDS)]


def test_a_list_given_twice_is_joined() -> None:
    options = make_parser("train").parse_args(["--out", "run", "--data", "a", "b", "--data", "c"])
    assert read_settings(options, TrainingConfig)["data"] == ("a", "b", "c")


def test_shares_are_typed_in_percent_or_as_numbers() -> None:
    for typed in ("10%", "0.1", "1e-1", ".1"):
        options = make_parser("train").parse_args(["--out", "run", "--hold", typed, "--dropout", typed])
        assert read_settings(options, TrainingConfig) == {"hold": 0.1, "dropout": 0.1}


def test_numbers_are_typed_as_text() -> None:
    typed = ["--max-steps", "6", "--lr", "3e-4", "--weights", "1", "2.5", "--max-time", "30m", "--init", "124"]
    options = make_parser("train").parse_args(["--out", "run", *typed])
    expected = {"max_steps": 6, "lr": 3e-4, "weights": (1.0, 2.5), "max_time": 1800.0, "init": "124"}
    assert read_settings(options, TrainingConfig) == expected


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        (["--max-steps", "-1"], "--max-steps must be at least 1, not -1"),
        (["--max-steps", "9" * 5000], "--max-steps must be a whole number, not '999"),
        (["--share", "10"], "--share must be from 0 to 1, such as 5% or 0.05, not '10'"),
        (["--dropout", "half"], "--dropout must be from 0 to 1, such as 5% or 0.05, not 'half'"),
        (["--max-time", "soon"], "--max-time must be a duration such as 90s, 30m or 9h, not 'soon'"),
    ],
)
def test_a_number_that_was_typed_is_named(typed: list[str], error: str) -> None:
    assert invoke("finetune", "--out", "run", "--data", "a", *typed).error.startswith(f"cutaway: {error}")


@pytest.mark.parametrize("flag", ["--data", "--max-steps"])
def test_a_single_value_given_twice_is_refused(flag: str) -> None:
    result = invoke("finetune", "--out", "run", flag, "1", flag, "2")
    assert result.code == 2
    assert f"argument {flag}: given twice" in result.error


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Return a parser and those of its actions."""
    actions = [action.choices.values() for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [parser, *(each for choices in actions for inner in choices for each in parsers(inner))]


@pytest.mark.parametrize("name", NAMES)
def test_no_flag_of_a_list_drops_what_it_was_given_before(name: str) -> None:
    flags = [action for each in parsers(make_parser(name)) for action in each._actions if action.option_strings]
    dropping = [action.option_strings for action in flags if action.nargs in ("+", "*")]
    kept = [action.option_strings for action in flags if isinstance(action, argparse._ExtendAction)]
    assert dropping == kept
