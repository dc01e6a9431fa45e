import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cutaway import PUBLISHED
from cutaway.checkpoints.sources import BUILTIN_MODELS
from tests.cli.invoke import invoke


def put_in_the_cache(directory: str, repository: str, cache: Path) -> None:
    """Lay out the hub's cache: a folder for each repository and commit, and which commit is main."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    home = cache / f"models--{repository.replace('/', '--')}"
    shutil.copytree(directory, home / "snapshots" / commit)
    (home / "blobs").mkdir()
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)


def listed() -> dict[str, dict[str, object]]:
    models = invoke("models", "--json").document["models"]
    assert isinstance(models, list)
    return {model["names"][0]: model for model in models}


def test_lists_the_published_models_under_both_names() -> None:
    result = invoke("models")
    assert result.code == 0
    lines = {line.split(",")[0]: line for line in result.out.splitlines()}
    for model in PUBLISHED:
        line = lines[model.name]
        assert f"{model.name}, {model.size}, {model.first_size} " in line
        assert f" {model.config.n_params:,} " in line
        assert line.endswith("to be fetched")


def test_counts_are_exact_in_json() -> None:
    counts = [124_439_808, 354_823_168, 774_030_080, 1_557_611_200]
    assert [listed()[model.name]["parameters"] for model in PUBLISHED] == counts


def test_lists_what_is_in_the_cache(tiny: str, mute: str, tmp_path: Path) -> None:
    put_in_the_cache(tiny, "openai-community/gpt2", tmp_path / "hub")
    put_in_the_cache(mute, "someone/small", tmp_path / "hub")
    other = tmp_path / "other"
    shutil.copytree(mute, other)
    (other / "config.json").write_text('{"model_type": "bert"}')
    put_in_the_cache(str(other), "someone/bert", tmp_path / "hub")
    models = listed()
    assert models["gpt2"]["here"]
    assert not models["gpt2-xl"]["here"]
    assert models["someone/small"]["here"]
    assert "openai-community/gpt2" not in models
    assert "someone/bert" not in models


def test_lists_the_built_in_model(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILTIN_MODELS, "builtin", Path(tiny))
    assert listed()["builtin"]["here"]
    monkeypatch.setitem(BUILTIN_MODELS, "builtin", Path(tiny) / "nothing")
    assert "builtin" not in listed()


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"])
@pytest.mark.parametrize("command", [["models"], ["next", "--model", "gpt2", "x"], ["next", "--model", "a/b", "x"]])
def test_an_invalid_variable_of_the_hub_is_an_error_of_one_line(variable: str, command: list[str]) -> None:
    environment = {**os.environ, variable: "abc", "HF_HUB_OFFLINE": "1"}
    arguments = [sys.executable, "-m", "cutaway", *command]
    result = subprocess.run(arguments, check=False, capture_output=True, encoding="utf-8", env=environment)
    assert result.returncode == 4
    assert result.stderr.count("\n") == 1
    assert "'abc'; check the variables HF_*" in result.stderr


def test_a_cache_that_is_a_file_is_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hub").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    result = invoke("models")
    assert result.code == 4
    assert "expects a directory but found a file" in result.error
