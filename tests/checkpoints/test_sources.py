"""A source is a directory or else a name; anything else is refused in one line."""

from pathlib import Path

import pytest

from cutaway.checkpoints import hub, open_checkpoint, save_checkpoint
from cutaway.errors import CheckpointError
from tests.tiny import tiny_weights


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that are asked of the hub, which answers with one and the same model."""
    save_checkpoint(tmp_path / "cache", tiny_weights())
    names: list[str] = []

    def fetch(name: str) -> Path:
        names.append(name)
        return tmp_path / "cache"

    monkeypatch.setattr(hub, "fetch", fetch)
    monkeypatch.setattr(hub, "fetch_published", fetch)
    return names


def test_accepts_a_directory_as_text_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "mine", tiny_weights())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (tmp_path / "mine", str(tmp_path / "mine"), "mine", "./mine", "~/mine", Path("~/mine")):
        assert open_checkpoint(source).name == "mine"
    monkeypatch.chdir(tmp_path / "mine")
    assert open_checkpoint(".").name == "mine"


@pytest.mark.parametrize("name", ["gpt2", "124M", "117M"])
def test_each_name_of_a_published_model(fetched: list[str], name: str) -> None:
    assert open_checkpoint(name).name == "gpt2"
    assert fetched == ["gpt2"]


def test_opens_a_hub_name(fetched: list[str]) -> None:
    assert open_checkpoint("someone/their-gpt2.5_x").name == "someone/their-gpt2.5_x"
    assert fetched == ["someone/their-gpt2.5_x"]


def test_a_directory_takes_precedence_over_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("gpt2", "someone/model"):
        save_checkpoint(tmp_path / name, tiny_weights())
        assert open_checkpoint(name).path == Path(name)
    assert fetched == []


@pytest.mark.parametrize(
    "source",
    ["gpt3", "/no/such/place", "./gpt2", "../a/b", "a/b/c", "a/", "-a/b", "a b/c", "é/a", "a\0b", "a\nb", Path("gpt2")],
)
def test_rejects_what_is_neither_directory_nor_name(
    fetched: list[str], source: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "cache")
    with pytest.raises(
        CheckpointError, match=r"is neither a directory nor a model name \(builtin, .*gpt2, .*, or "
    ) as error:
        open_checkpoint(source)
    assert len(str(error.value).splitlines()) == 1
    assert fetched == []


@pytest.mark.parametrize("source", ["a" * 300, "~no-such-user/x", Path("b" * 5000)])
def test_rejects_invalid_paths(source: str | Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read: ") as error:
        open_checkpoint(source)
    assert len(str(error.value).splitlines()) == 1


def test_rejects_a_file_and_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="file: is a file; give the directory that it is in, or convert"):
        open_checkpoint(tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"empty: holds no checkpoint: config\.json is missing$"):
        open_checkpoint(tmp_path / "empty")


def test_the_directory_of_a_run_names_its_model(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step in (9, 10):
        (run / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    (run / "checkpoints" / "step-00000011.tmp-1-00000000").mkdir()
    (run / "config.json").write_text("{}")
    with pytest.raises(
        CheckpointError, match=r"has not ended; its last checkpoint is .*/run/checkpoints/step-00000010$"
    ):
        open_checkpoint(run)
    (run / "model").mkdir()
    for name in ("adapter_config.json", "config.json"):
        (run / "model" / name).write_text("{}")
        with pytest.raises(CheckpointError, match=r"/run: is a training run; give its model, .*/run/model$"):
            open_checkpoint(run)


def test_an_empty_name_is_not_the_current_directory() -> None:
    with pytest.raises(CheckpointError, match="must not be empty"):
        open_checkpoint("")
