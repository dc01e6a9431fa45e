"""Check that any changed byte of a checkpoint is found before use: flips, cuts, swapped, missing and added files."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from cutaway.errors import CutawayError
from cutaway.training.runs import RunDirectory
from tests.reliability.harness import Result, save, scratch

Damage = Callable[[random.Random, list[Path], Path], None]  # with the checkpoint's files, and another checkpoint


def _flip(generator: random.Random, files: list[Path], _: Path) -> None:
    path = generator.choice(files)
    data = bytearray(path.read_bytes())
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    path.write_bytes(data)


def _truncate(generator: random.Random, files: list[Path], _: Path) -> None:
    path = generator.choice(files)
    data = path.read_bytes()
    path.write_bytes(data[: generator.randrange(len(data))])


def _extend(generator: random.Random, files: list[Path], _: Path) -> None:
    with generator.choice(files).open("ab") as file:
        file.write(generator.randbytes(generator.randint(1, 8)))


def _fill(generator: random.Random, files: list[Path], _: Path) -> None:
    """Overwrite a stretch with what was not there, as a lost block reads."""
    path = generator.choice(files)
    data = bytearray(path.read_bytes())
    start = generator.randrange(len(data))
    stop = min(len(data), start + 512)
    data[start:stop] = bytes(0xFF if byte == 0 else 0 for byte in data[start:stop])
    path.write_bytes(data)


def _swap(generator: random.Random, files: list[Path], _: Path) -> None:
    one, other = generator.sample(files, 2)
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def _mix(generator: random.Random, files: list[Path], other: Path) -> None:
    """Take some files, but not all, from another checkpoint of the run."""
    differing = [path for path in files if path.read_bytes() != (other / path.name).read_bytes()]
    for path in generator.sample(differing, generator.randint(1, len(differing) - 1)):
        shutil.copyfile(other / path.name, path)


def _exchange(_: random.Random, files: list[Path], other: Path) -> None:
    """Take all files from another checkpoint: whole, but not the one that its name says."""
    for path in files:
        shutil.copyfile(other / path.name, path)


def _remove(generator: random.Random, files: list[Path], _: Path) -> None:
    for path in generator.sample(files, generator.randint(1, len(files))):
        path.unlink()


def _add(generator: random.Random, files: list[Path], _: Path) -> None:
    name = generator.choice(("tokenizer.json", "model.safetensors.index.json", "added_tokens.json", "x"))
    (files[0].parent / name).write_bytes(b"{}")


DAMAGE: dict[str, Damage] = {
    "flipped bit": _flip,
    "truncated": _truncate,
    "extended": _extend,
    "lost block": _fill,
    "swapped": _swap,
    "mixed": _mix,
    "exchanged": _exchange,
    "missing": _remove,
    "added": _add,
}


def damage(trials: int, seed: int = 1) -> Result:
    """Damage the newest of two checkpoints, half of the times by one bit; it must be named, and the other one used."""
    result = Result()
    generator = random.Random(seed)
    with scratch() as root, RunDirectory.open(root) as run:
        save(run, 1, 1)
        save(run, 2, 2)
        one, two = (run.checkpoints / f"step-0000000{step}" for step in (1, 2))
        files = {path: path.read_bytes() for path in sorted(two.iterdir())}
        for trial in range(trials):
            kind = "flipped bit" if trial % 2 else generator.choice(list(DAMAGE))
            DAMAGE[kind](generator, list(files), one)
            result.add(f"trial {trial} of seed {seed}, {kind}", _problems(run))
            for path in set(two.iterdir()) - set(files):
                path.unlink()
            for path, data in files.items():
                path.write_bytes(data)
    return result


def _problems(run: RunDirectory) -> list[str]:
    warnings: list[str] = []
    run._warn = warnings.append
    try:
        newest = run.newest()
    except CutawayError as error:
        return [f"refused: {error}"]
    except Exception as error:  # noqa: BLE001 - a damaged file must never be a bug
        return [f"unexpected: {error!r}"]
    if newest is None or newest.step != 1:
        return ["not found"]
    named = len(warnings) == 1 and "step-00000002" in warnings[0] and "\n" not in warnings[0]
    return [] if named else [f"warnings: {warnings}"]


def pruned_damage(trials: int, seed: int = 1) -> Result:
    """Damage some of five checkpoints, but not all, and prune: a valid one must be left, and the newest valid one."""
    result = Result()
    generator = random.Random(seed)
    with scratch() as directory:
        with RunDirectory.open(directory / "template") as run:
            for step in range(1, 6):
                save(run, step, step)
        for trial in range(trials):
            shutil.copytree(directory / "template", directory / "run")
            with RunDirectory.open(directory / "run", warn=lambda _: None) as run:
                damaged = generator.sample(range(1, 6), generator.randint(1, 4))
                for step in damaged:
                    _flip(generator, sorted((run.checkpoints / f"step-0000000{step}").iterdir()), run.path)
                newest_valid = max({1, 2, 3, 4, 5} - set(damaged))
                keep_last = generator.randint(1, 5)
                run.prune(keep_last, generator.choice((None, 1, 3)))
                result.add(f"trial {trial} of seed {seed}", _pruned_problems(run, newest_valid, keep_last))
            shutil.rmtree(directory / "run")
    return result


def _pruned_problems(run: RunDirectory, newest_valid: int, keep_last: int) -> list[str]:
    steps = run.steps()
    problems = [] if set(range(6 - keep_last, 6)) <= set(steps) else [f"keep_last {keep_last} left {steps}"]
    try:
        newest = run.newest()
    except CutawayError as error:
        return [*problems, str(error)]
    return problems if newest and newest.step == newest_valid else [*problems, f"{newest_valid} is lost, {steps} left"]
