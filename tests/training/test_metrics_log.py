"""The log of a run: whole lines in the order of their steps, cut back to a checkpoint."""

import errno
import os
from pathlib import Path

import pytest

from cutaway.errors import RunError
from cutaway.training.metrics_log import MetricsLog, read_metrics

SAVED = {"kind": "save", "step": 2}


@pytest.fixture
def log(tmp_path: Path) -> MetricsLog:
    log = MetricsLog(tmp_path)
    for event in (
        {"step": 1},
        {"step": 2},
        {"step": 2, "kind": "eval"},
        SAVED,
        {"step": 3},
        {"kind": "save", "step": 3},
    ):
        log.append(event)
    return log


def steps(log: MetricsLog) -> list[object]:
    return [event["step"] for event in read_metrics(log.path.parent)]


def test_later_lines_go(log: MetricsLog) -> None:
    log.rewind(2, SAVED)
    assert steps(log) == [1, 2, 2, 2]
    log.append({"step": 3})
    assert steps(log) == [1, 2, 2, 2, 3]


def test_what_was_cut_off_is_cut_off_on_the_disk(log: MetricsLog, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        fsync(descriptor)
        sizes.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", recorded)
    log.rewind(2, SAVED)
    assert sizes == [log.path.stat().st_size]


def test_the_last_line_is_added_if_it_is_missing(log: MetricsLog) -> None:
    log.path.write_bytes(b'{"step": 1}\n{"step": 2}\n')
    log.rewind(2, SAVED)
    assert read_metrics(log.path.parent)[-1] == SAVED
    log.path.write_bytes(b'{"step": 1}\n{"step": 2}')  # torn before the end of its line
    log.rewind(2, SAVED)
    assert read_metrics(log.path.parent) == [{"step": 1}, SAVED]
    log.path.unlink()
    log.rewind(2, SAVED)
    assert read_metrics(log.path.parent) == [SAVED]


def test_lines_of_the_same_step_after_it_go(log: MetricsLog) -> None:
    log.rewind(2, SAVED)
    before = read_metrics(log.path.parent)
    log.append({"step": 2, "kind": "final"})
    log.rewind(2, SAVED)
    assert read_metrics(log.path.parent)[-1] == SAVED
    assert read_metrics(log.path.parent) == before


@pytest.mark.parametrize("torn", [b'{"step": 4', b'{"step": 4}', b"\0\0\0", b"\0\n\0\n", b'{"step": "4"}\n', b"4\n"])
def test_a_torn_end_goes(log: MetricsLog, torn: bytes) -> None:
    with log.path.open("ab") as file:
        file.write(torn)
    log.rewind(3, {"kind": "save", "step": 3})
    assert steps(log) == [1, 2, 2, 2, 3, 3]


def test_damage_that_would_cost_lines_is_refused(log: MetricsLog) -> None:
    data = log.path.read_bytes()
    log.path.write_bytes(b"x" + data[1:])
    with pytest.raises(
        RunError, match=r"metrics.jsonl: line 1 is damaged: restore it, or move the file out of the run$"
    ):
        log.rewind(2, SAVED)
    assert log.path.read_bytes() == b"x" + data[1:]


def test_clear(log: MetricsLog) -> None:
    log.clear()
    assert read_metrics(log.path.parent) == []
    log.append({"step": 1})
    assert steps(log) == [1]


def test_a_torn_last_line_is_not_read(log: MetricsLog) -> None:
    with log.path.open("ab") as file:
        file.write(b'{"step": 4')
    assert steps(log) == [1, 2, 2, 2, 3, 3]


def test_nan_is_refused(log: MetricsLog) -> None:
    with pytest.raises(RunError, match=r"metrics.jsonl: step 4 holds NaN or infinity$"):
        log.append({"step": 4, "loss": float("nan")})
    assert steps(log) == [1, 2, 2, 2, 3, 3]


def test_a_full_disk_leaves_no_half_line(log: MetricsLog, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[: len(data) - 4])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(RunError, match=r"metrics.jsonl: cannot be written: No space left on device$"):
            log.append({"step": 4})
    log.append({"step": 5})
    assert steps(log) == [1, 2, 2, 2, 3, 3, 5]
