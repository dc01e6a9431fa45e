"""The command that a model is used by, which a run ends with and `cutaway generate` points to."""

from pathlib import Path

import pytest

from cutaway.checkpoints import open_checkpoint, save_checkpoint
from cutaway.checkpoints.directory import CHAT_TEMPLATE_FILE
from cutaway.cli.model_command import command_of
from cutaway.data.chat import CHAT_TEMPLATE
from cutaway.errors import CheckpointError
from cutaway.tasks import open_task
from tests.cli.invoke import invoke
from tests.tasks.models import save_translator


@pytest.mark.parametrize(
    ("task", "command"),
    [
        ("translation", "cutaway translate --model"),
        ("wiki-lead", "cutaway summarize --model"),
        ("reverse", "cutaway generate --task reverse --model"),
    ],
)
def test_a_task_has_its_command(tmp_path: Path, task: str, command: str) -> None:
    model = save_translator(tmp_path / "model", open_task(task))
    assert command_of(str(model)) == f"{command} {model}"


def test_a_model_of_conversations_is_talked_with(tiny: str, tmp_path: Path) -> None:
    weights = open_checkpoint(Path(tiny))
    for name, template, command in (("ours", CHAT_TEMPLATE, "chat"), ("other", "{{ messages }}", "generate")):
        save_checkpoint(tmp_path / name, weights, side_files={CHAT_TEMPLATE_FILE: template})
        assert command_of(str(tmp_path / name)) == f"cutaway {command} --model {tmp_path / name}"


def test_a_path_with_a_space_is_one_argument(tiny: str, tmp_path: Path) -> None:
    directory = tmp_path / "my model"
    directory.symlink_to(tiny, target_is_directory=True)
    assert command_of(str(directory)) == f"cutaway generate --model '{directory}'"


def test_a_path_with_a_control_character_does_not_reach_the_terminal(tiny: str, tmp_path: Path) -> None:
    directory = tmp_path / "my\x1bmodel"
    directory.symlink_to(tiny, target_is_directory=True)
    command = command_of(str(directory))
    assert "\x1b" not in command
    assert str(tmp_path) in command


def test_a_model_that_is_not_there_has_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        command_of(str(tmp_path / "model"))


def test_generate_points_to_the_command_with_the_model_as_it_was_given(tmp_path: Path) -> None:
    model = save_translator(tmp_path / "run" / "model")
    result = invoke("generate", "--model", str(model), "--max-new-tokens", "1", "a")
    assert f"cutaway translate --model {model} does it" in result.err
