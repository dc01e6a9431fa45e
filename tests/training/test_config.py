"""The configuration of a run."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from cutaway.errors import UsageError
from cutaway.training.config import TrainingConfig, convert, read_toml

FIELDS = {setting.name: setting for setting in fields(TrainingConfig)}


def test_a_document_gives_the_configuration_back() -> None:
    config = TrainingConfig(data=("a", "b"), weights=(1.0, 2.5), max_time=90.0, compile=True, lr=0.1)
    assert TrainingConfig.from_document(json.loads(json.dumps(config.to_document()))) == config
    assert TrainingConfig.from_document({}) == TrainingConfig()


def test_toml_gives_settings(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text('n_layer = 2\nmax_time = "1.5h"\ndata = ["x"]\nlr = 1\nkeep_best = false\n')
    config = TrainingConfig.from_document(read_toml(path))
    assert (config.n_layer, config.max_time, config.data, config.lr, config.keep_best) == (
        2,
        5400.0,
        ("x",),
        1.0,
        False,
    )


@pytest.mark.parametrize("data", ["x", Path("x"), ["x"], [Path("x")]])
def test_a_script_may_name_a_corpus_as_it_likes(data: Any) -> None:
    assert TrainingConfig(data=data) == TrainingConfig(data=("x",))


def test_a_toml_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_bytes(b"\xef\xbb\xbfn_layer = 2\r\nn_head = 1\r\n")
    assert read_toml(path) == {"n_layer": 2, "n_head": 1}


@pytest.mark.parametrize("content", [b"n_layer = ", b"\xff"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "small.toml"
    with pytest.raises(UsageError, match=r"cannot read .*small.toml: No such file"):
        read_toml(path)
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"small.toml: not TOML"):
        read_toml(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("n_layers = 1", "unknown setting 'n_layers'; did you mean n_layer?"),
        ('max_steps = "6"', "max_steps must be a whole number, not '6'"),
        ('lr = "0.1"', "lr must be a number, not '0.1'"),
        ("max_steps = 6.0", "max_steps must be a whole number, not 6.0"),
        ("max_steps = true", "max_steps must be a whole number, not True"),
        ("max_time = true", "max_time must be a number, not True"),
        ("init = 124", "init must be text, not 124"),
        ("optimizer = false", "optimizer must be text, not False"),
        ("compile = 1", "compile must be true or false, not 1"),
        ('compile = "true"', "compile must be true or false, not 'true'"),
        ("data = 5", "data must be text, not 5"),
        ('data = ["a", 5]', "data must be text, not 5"),
        ('weights = ["1"]', "weights must be a number, not '1'"),
        ("weights = [[1]]", r"weights must be a number, not \[1\]"),
        ("seed = 99999999999999999999", "seed must be from"),
        ("lr = true", "lr must be a number, not True"),
        ("n_layer = [2]", "n_layer must be a whole number"),
        ("max_time = 10:00:00", "max_time must be a number"),
        ("[model]\nn_embd = 64", r"\[model\]: settings are in no table; write n_embd = ... without \[model\]"),
        ("[optimizer]", r"\[optimizer\]: settings are in no table"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_file_and_key(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "small.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=f"small.toml: {complaint}"):
        read_toml(path)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("n_layer", 8, 8),
        ("max_steps", None, None),
        ("lr", 1, 1.0),
        ("max_time", "30m", 1800.0),
        ("max_time", "45", 45.0),
        ("data", ["a", "b"], ("a", "b")),
        ("weights", [1, 2.5], (1.0, 2.5)),
        ("weights", 1, (1.0,)),
    ],
)
def test_values_are_converted(name: str, given: object, expected: object) -> None:
    assert convert(FIELDS[name], given) == expected


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"n_layers": 2}, "unknown setting 'n_layers'; did you mean n_layer?"),
        ({"zebra": 2}, "unknown setting 'zebra'$"),
        ({"n_layer": "x"}, "n_layer must be a whole number, not 'x'"),
        ({"n_layer": None}, "n_layer must be a whole number, not None"),
        ({"lr": "fast"}, "lr must be a number, not 'fast'"),
        ({"lr": True}, "lr must be a number, not True"),
        ({"max_time": "soon"}, "max_time must be a duration such as 90s, 30m or 9h, not 'soon'"),
        ({"compile": "yes"}, "compile must be true or false, not 'yes'"),
        ({"init": 5}, "init must be text, not 5"),
        ({"batch_size": 0}, "batch_size must be from 1 to 1048576"),
        ({"batch_size": 4, "micro_batch_size": 8}, r"micro_batch_size .8. must be at most batch_size .4."),
        ({"n_layer": 0}, "n_layer must be"),
        ({"n_embd": 10, "n_head": 4}, r"n_embd .10. must be a multiple of n_head .4."),
        ({"seed": -1}, "seed must be at least 0"),
        ({"lr": 2}, "lr must be from 0 to 1"),
        ({"lr": float("nan")}, "lr must be a number, not nan"),
        ({"dropout": 1.0}, "dropout must be below 1"),
        ({"max_time": 0}, "max_time must be from 1 to"),
        ({"optimizer": "sgd"}, "optimizer must be muon or adamw, not 'sgd'"),
        ({"dtype": "float16"}, "dtype must be float32 or bfloat16"),
        ({"short_ctx": 4}, "short_ctx and short_steps belong together"),
        ({"short_ctx": 600, "short_steps": 4}, r"short_ctx .600. must be at most n_ctx .512."),
        ({"relative_positions": -1}, "relative_positions must be a positive integer"),
        ({"relative_positions": 600}, r"relative_positions .600. must be at most n_ctx .512.: no distance is larger"),
        ({"data": ["a"], "weights": [1, 2]}, "weights must be as many as the directories of data: they are 2 for 1"),
        ({"data": ["a"], "weights": [0]}, "weights must be positive, not 0"),
        ({"data": ["a"], "weights": ["x"]}, "weights must be a number, not 'x'"),
    ],
)
def test_invalid_settings_are_refused(document: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        TrainingConfig.from_document(document)


def test_steps_have_a_default_unless_time_ends_the_run() -> None:
    assert TrainingConfig().step_limit == 1000
    assert TrainingConfig(max_steps=5).step_limit == 5
    assert TrainingConfig(max_time=5.0).step_limit is None


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, 100),
        ({"max_steps": 5000}, 100),
        ({"max_steps": 300}, 30),
        ({"max_steps": 3}, 1),
        ({"max_time": 60.0}, 100),
        ({"max_steps": 300, "warmup_steps": 7}, 7),
    ],
)
def test_the_rate_warms_up_for_a_tenth_of_a_short_run(settings: dict[str, Any], steps: int) -> None:
    assert TrainingConfig(**settings).warmup == steps


def test_every_setting_is_explained() -> None:
    assert all(setting.metadata["help"] and setting.metadata["group"] for setting in fields(TrainingConfig))
