"""One trainer a directory: living owners are named, dead ones are succeeded by exactly one process."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cutaway.errors import RunError
from cutaway.training.lock import Lock, Owner, _start_time
from cutaway.untrusted import read_object


def write(path: Path, owner: Owner) -> None:
    path.write_text(json.dumps(asdict(owner)))


def dead(token: str = "0123abcd") -> Owner:
    """An owner on this host whose number now belongs to another process: this one."""
    return replace(Owner.this_process(), started="1", token=token)


def test_a_living_owner_is_named(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    with pytest.raises(RunError, match=rf"is in use by process {os.getpid()} on .*: stop it, wait for it, or choose"):
        Lock(tmp_path)
    lock.release()
    assert list(tmp_path.iterdir()) == []
    Lock(tmp_path).release()


def test_an_owner_on_another_host_counts_as_living(tmp_path: Path) -> None:
    write(tmp_path / "trainer.lock", replace(dead(), host="elsewhere", pid=7))
    with pytest.raises(RunError, match=r"by process 7 on another host, elsewhere: wait for it, or delete trainer.lock"):
        Lock(tmp_path)


def test_an_owner_whose_start_is_not_known_counts_as_living(tmp_path: Path) -> None:
    write(tmp_path / "trainer.lock", replace(Owner.this_process(), started=""))
    with pytest.raises(RunError, match="is in use by process"):
        Lock(tmp_path)


@pytest.mark.parametrize("change", [{"started": "1"}, {"boot": "of another day"}, {"pid": 4194305}])
def test_a_dead_owner_is_succeeded(tmp_path: Path, change: dict[str, str]) -> None:
    """The process has the number of another one, the machine was started again, or there is no such process."""
    write(tmp_path / "trainer.lock", replace(Owner.this_process(), **change))  # type: ignore[arg-type]
    lock = Lock(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["trainer.lock"]
    assert json.loads((tmp_path / "trainer.lock").read_text()) == asdict(lock.owner)


def test_a_lock_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def observed(name: str) -> Callable[..., None]:
        function = getattr(os, name)

        def call(*arguments: object) -> None:
            calls.append(name)
            function(*arguments)

        return call

    for name in ("fsync", "link"):
        monkeypatch.setattr(os, name, observed(name))
    Lock(tmp_path).release()
    assert calls == ["fsync", "link"]


def test_the_lock_of_another_owner_is_not_released(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    write(tmp_path / "trainer.lock", dead())
    lock.release()
    assert json.loads((tmp_path / "trainer.lock").read_text()) == asdict(dead())


def test_processes_that_start_at_different_times_are_told_apart() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert _start_time(child.pid) not in ("", "0", _start_time(os.getpid()))
        child.kill()


LOCK = "import os, sys, time, pathlib, cutaway.training.lock as l; lock = l.Lock(pathlib.Path(sys.argv[1]))"


def test_a_zombie_is_dead(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"{LOCK}; print('locked', flush=True); time.sleep(600)", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "locked\n"
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        Lock(tmp_path).release()


def test_a_forked_child_does_not_release_the_lock(tmp_path: Path) -> None:
    code = f"{LOCK}; child = os.fork(); child or lock.release(); child and os.wait()"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert (tmp_path / "trainer.lock").exists()


def test_a_successor_that_died_before_it_had_the_name_is_succeeded(tmp_path: Path) -> None:
    write(tmp_path / "trainer.lock", dead("aa"))
    write(tmp_path / "trainer.lock.after-aa", dead("bb"))
    write(tmp_path / "trainer.lock.after-bb", dead("cc"))
    lock = Lock(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["trainer.lock"]
    assert json.loads((tmp_path / "trainer.lock").read_text())["token"] == lock.owner.token


def test_a_living_successor_is_named(tmp_path: Path) -> None:
    write(tmp_path / "trainer.lock", dead("aa"))
    write(tmp_path / "trainer.lock.after-aa", Owner.this_process())
    with pytest.raises(RunError, match=f"is in use by process {os.getpid()} on "):
        Lock(tmp_path)


def test_a_process_that_was_slower_than_another_successor_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its look at a dead lock and its claim, another process takes over all the way."""
    write(tmp_path / "trainer.lock", dead())
    link = os.link
    faster: list[Lock] = []

    def slow_link(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        faster.append(Lock(tmp_path))
        link(source, target)

    monkeypatch.setattr(os, "link", slow_link)
    with pytest.raises(RunError, match="is in use by process"):
        Lock(tmp_path)
    assert json.loads((tmp_path / "trainer.lock").read_text()) == asdict(faster[0].owner)
    assert [path.name for path in tmp_path.iterdir()] == ["trainer.lock"]


def test_a_successor_that_came_too_late_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead lock was read, then replaced, then one that was slower stood for a moment in the replacer's old place."""
    write(tmp_path / "trainer.lock", replace(Owner.this_process(), host="winner", pid=7))
    loser = replace(Owner.this_process(), host="loser", pid=8)
    read = Lock._chain
    chains = [[dead(), loser]]
    monkeypatch.setattr(Lock, "_chain", lambda lock: chains.pop() if chains else read(lock))
    with pytest.raises(RunError, match="process 7 on another host, winner"):
        Lock(tmp_path)


def test_a_lock_that_is_released_while_it_is_read_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "trainer.lock", Owner.this_process())

    def read_late(path: Path) -> dict[str, object]:
        path.unlink()
        return read_object(path)

    monkeypatch.setattr("cutaway.training.lock.read_object", read_late)
    Lock(tmp_path)


def test_a_file_that_another_process_takes_for_a_leftover_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def late_link(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        source.unlink()
        link(source, target)

    monkeypatch.setattr(os, "link", late_link)
    Lock(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["trainer.lock"]


def test_a_process_that_cannot_tell_its_start_makes_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dead()
    write(tmp_path / "trainer.lock", before)

    def refuse(*_: object, **__: object) -> str:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", refuse)
        assert before.is_alive()  # as far as can be seen
        with pytest.raises(OSError, match="Too many open files"):
            Lock(tmp_path)
    Lock(tmp_path).release()


def test_files_of_dead_contenders_are_removed_and_of_living_ones_left(tmp_path: Path) -> None:
    write(tmp_path / "trainer.lock.1-aa", dead())
    (tmp_path / "trainer.lock.2-bb").write_text("")
    write(tmp_path / "trainer.lock.3-cc", Owner.this_process())
    Lock(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trainer.lock", "trainer.lock.3-cc"]


@pytest.mark.parametrize("text", ["", "{}", '{"pid": 1, "started": "", "host": "", "boot": "", "token": "../x"}'])
def test_a_lock_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "trainer.lock").write_text(text)
    with pytest.raises(RunError, match=r"trainer.lock: .*; delete it if no trainer is running$"):
        Lock(tmp_path)
