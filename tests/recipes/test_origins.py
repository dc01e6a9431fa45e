"""recipes/origins.py on a repository of this machine."""

import shutil
import subprocess
from pathlib import Path

import pytest

from recipes import origins

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@needs_git
def test_a_clone_holds_what_the_patterns_match_at_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = tmp_path / "public" / "reed" / "weir"
    for path in ("473.txt", "images/473.png", "Reed, Ann/Weir.txt"):
        (public / path).parent.mkdir(parents=True, exist_ok=True)
        (public / path).write_text("first\n", encoding="utf-8")
    git(public, "init", "-q")
    git(public, "add", ".")
    git(public, "commit", "-qm", "first")
    commit = git(public, "rev-parse", "HEAD")[:10]
    (public / "473.txt").write_text("second\n", encoding="utf-8")
    git(public, "commit", "-qam", "second")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{(tmp_path / 'public').as_uri()}/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/")

    clones = tmp_path / "clones"
    for _ in range(2):  # made, then found
        folder = origins.clone(clones, "reed/weir", commit, ("/473.txt", "/Reed, Ann/"))
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if ".git" not in path.parts)
        assert files == ["473.txt", "Reed, Ann/Weir.txt"]
        assert (folder / "473.txt").read_text(encoding="utf-8") == "first\n"
    with pytest.raises(origins.CorpusError, match="not at its commit; run git -C .* checkout 0123456789"):
        origins.clone(clones, "reed/weir", "0123456789", ("/473.txt",))


def test_a_folder_without_history_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "weir").mkdir()
    assert origins.clone(tmp_path, "reed/weir", "0123456789", ("/473.txt",)) == tmp_path / "weir"
