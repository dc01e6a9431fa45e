"""Check that what was reported as saved is there, whole, after a power cut.

A run trains on an ext4 file system in an image. Again and again it is stopped, and the image is copied as it is: what
had reached the disk, and nothing of what the kernel still held in memory. The copy is mounted, as after a cut.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from unittest.mock import patch

from cutaway.errors import CheckpointError, CutawayError
from cutaway.training import lock
from cutaway.training.config import TrainingConfig
from cutaway.training.loop import Event, Silent
from cutaway.training.manifest import NAME, check_manifest
from cutaway.training.metrics_log import read_metrics
from cutaway.training.pretraining import train
from cutaway.training.runs import RunDirectory
from tests.reliability.harness import FINISHED, Result, scratch, started
from tests.reliability.kills import make_corpus

_IMAGE_BYTES = 8 << 20
_KEEP_LAST = 2
_OPTIONS = ("noauto_da_alloc", "defaults")  # the first: ext4 mends no program that forgets to sync


@dataclass
class _Reports(Silent):
    """Writes the step and the hash of every checkpoint to a pipe, as soon as it is reported as saved."""

    run: Path
    pipe: int

    def event(self, event: Event) -> None:
        if event["kind"] == "save":
            manifest = self.run / "checkpoints" / f"step-{event['step']:08d}" / NAME
            os.write(self.pipe, json.dumps([event["step"], _digest(manifest)]).encode() + b"\n")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def power_cuts(cuts: int, seed: int = 1) -> Result:
    """Cut the power of runs: half of the times at a random moment, half as soon as a checkpoint is reported."""
    generator = random.Random(seed)
    result = Result()
    with scratch() as directory:
        corpus = make_corpus(directory)
        for options in _OPTIONS:
            with _formatted(directory / "disk.img", directory / "disk", options) as disk:
                _cut_one_run(disk / "run", corpus, cuts // len(_OPTIONS), generator, result)
    return result


def _cut_one_run(run: Path, corpus: Path, cuts: int, generator: random.Random, result: Result) -> None:
    """Train in `run`, which is on the image beside its file system, until the power was cut so many times."""
    image = run.parent.with_suffix(".img")
    copy = image.with_name("copy.img")
    ours, theirs = os.pipe()
    child = started(lambda: _train(run, corpus, theirs))
    os.close(theirs)
    reported: dict[int, str] = {}
    try:
        with os.fdopen(ours, "rb", buffering=0) as reports:
            for cut in range(cuts):
                moment = generator.uniform(0, 0.3)
                if cut % 2:
                    time.sleep(moment)
                else:
                    _read_reports(reports, reported)
                _stop(child)
                os.set_blocking(ours, False)
                _read_reports(reports, reported)
                os.set_blocking(ours, True)
                _copy_quiet(image, copy)
                os.kill(child, signal.SIGCONT)
                with _mounted(copy, image.with_name("after"), "defaults") as after:
                    result.add(f"cut {cut} after step {max(reported)}", _problems(after / run.name, reported))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _train(run: Path, corpus: Path, pipe: int) -> int:
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 16, "n_ctx": 16, "batch_size": 4, "threads": 1, "device": "cpu"}
    saving = {"save_every": 3, "keep_last": _KEEP_LAST, "eval_every": 50, "max_steps": 10**6}
    config = TrainingConfig.from_document({**TrainingConfig().to_document(), "data": [str(corpus)], **shape, **saving})
    train(config, run, _Reports(run, pipe))
    return FINISHED


def _read_reports(reports: BinaryIO, reported: dict[int, str]) -> None:
    """Read what is in the pipe; wait for it if the pipe blocks."""
    lines = reports.read(1 << 16)
    assert lines != b"", "the run ended"
    reported.update(json.loads(line) for line in (lines or b"").splitlines())


def _stop(child: int) -> None:
    os.kill(child, signal.SIGSTOP)
    status = os.waitpid(child, os.WUNTRACED)[1]
    assert os.WIFSTOPPED(status), "the run ended"


def _copy_quiet(image: Path, copy: Path) -> None:
    """Copy an image at a moment at which the kernel does not write to it, so that the copy is of one moment."""
    before = b""
    while (now := image.read_bytes()) != before:
        before = now
    copy.write_bytes(now)


def _problems(run: Path, reported: Mapping[int, str]) -> list[str]:
    """Open a run as the trainer does that is started after the cut, when the machine has booted again."""
    problems: list[str] = []
    boot = run.with_name("boot_id")
    boot.write_text("after the cut")
    try:
        with patch.object(lock, "_BOOT", boot), RunDirectory.open(run, warn=problems.append) as opened:
            steps = opened.steps()
            for step in steps:
                problems += _checkpoint_problems(opened.checkpoints / f"step-{step:08d}", step, reported)
            if max(reported) > max(steps, default=0) or len(steps) < min(_KEEP_LAST, len(reported)):
                problems.append(f"steps {sorted(reported)[-_KEEP_LAST:]} were reported, {steps} are there")
            newest = opened.newest()
            if newest:
                opened.rewind_metrics(newest.step)
                logged = [event["step"] for event in read_metrics(run) if event["kind"] == "train"]
                problems += [] if logged == list(range(1, newest.step + 1)) else ["the log is not whole"]
    except CutawayError as error:
        problems.append(str(error))
    return problems


def _checkpoint_problems(directory: Path, step: int, reported: Mapping[int, str]) -> list[str]:
    try:
        check_manifest(directory, step)
    except CheckpointError as error:
        return [str(error)]
    same = reported.get(step) in (None, _digest(directory / NAME))
    return [] if same else [f"{directory.name} is another than the one reported"]


@contextmanager
def _formatted(image: Path, place: Path, options: str) -> Iterator[Path]:
    """Make a file system in an image and mount it."""
    with image.open("wb") as file:
        file.truncate(_IMAGE_BYTES)
    at_once = "lazy_itable_init=0,lazy_journal_init=0"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-b", "1024", "-J", "size=1", "-E", at_once, image], check=True)
    with _mounted(image, place, options):
        yield place


@contextmanager
def _mounted(image: Path, place: Path, options: str) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", f"loop,{options}", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def can_cut_power() -> bool:
    """Return True if an image can be formatted and mounted here."""
    if os.geteuid():
        return False
    with scratch() as directory:
        try:
            with _formatted(directory / "disk.img", directory / "disk", _OPTIONS[0]):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False
