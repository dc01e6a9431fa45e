"""Resuming a run: the command that started it, and the settings that have changed since."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cutaway.errors import RunError, UsageError
from cutaway.layout import counted
from cutaway.training.config import TrainingConfig, show_flags
from cutaway.training.finetune_config import FineTuneConfig
from cutaway.training.manifest import fingerprint
from cutaway.training.runs import RunDirectory, SavedCheckpoint
from cutaway.untrusted import quote_path

if TYPE_CHECKING:
    from cutaway.training.distributed import World

MARKS = {"train": "corpora", "finetune": "finetune"}  # by command, a key in the "about" of its checkpoints


@dataclass(frozen=True)
class Difference:
    """The settings in which two configurations differ, with both values; falsy if there are none."""

    before: Mapping[str, object]
    now: Mapping[str, object]

    @classmethod
    def between(
        cls, before: Mapping[str, object], now: Mapping[str, object], without: Container[str] = frozenset()
    ) -> Self:
        """Compare documents of settings, except those in `without`.

        >>> str(Difference.between({"seed": 1, "lr": 0.1, "merge": False}, {"seed": 2, "lr": 0.1, "merge": True}))
        '--seed 2, --merge instead of --seed 1, --no-merge'
        """
        names = [name for name in now if name not in without and before.get(name) != now[name]]
        return cls({name: before.get(name) for name in names}, {name: now[name] for name in names})

    def __bool__(self) -> bool:
        return bool(self.now)

    def __str__(self) -> str:
        return f"{show_flags(self.now)} instead of {show_flags(self.before)}"


def run_place(saved: SavedCheckpoint) -> str:
    """Return the directory of a checkpoint's run, for a message.

    >>> from pathlib import Path
    >>> from types import SimpleNamespace
    >>> run_place(SimpleNamespace(directory=Path("poems/checkpoints/step-00000100")))
    'poems'
    """
    return quote_path(saved.directory.parent.parent)


def saved_part(saved: SavedCheckpoint, name: str) -> Mapping[str, Any]:
    """Return a part of a checkpoint's state. Raises RunError if it is missing.

    >>> from types import SimpleNamespace
    >>> saved_part(SimpleNamespace(document={"config": {"seed": 1}}), "config")
    {'seed': 1}
    """
    part = saved.document.get(name)
    if not isinstance(part, dict):
        raise RunError(f"{quote_path(saved.directory)}: its state is missing {name}")
    return part


def run_about(saved: SavedCheckpoint, command: str) -> Mapping[str, Any]:
    """Return what a checkpoint records about its run. Raises UsageError if another command started the run.

    >>> from types import SimpleNamespace
    >>> run_about(SimpleNamespace(document={"about": {"corpora": []}}), "train")
    {'corpora': []}
    """
    about = saved_part(saved, "about")
    if MARKS[command] in about:
        return about
    other = next((name for name, mark in MARKS.items() if mark in about), None)
    if other is None:
        raise RunError(f"{quote_path(saved.directory)}: its state does not say what started the run")
    raise UsageError(
        f"{run_place(saved)}: is a run of `cutaway {other}`, not of `cutaway {command}`: use another --out"
    )


@contextmanager
def opened_run(
    directory: Path,
    config: TrainingConfig | FineTuneConfig,
    world: "World",
    note: Callable[[str], None],
    check: Callable[[SavedCheckpoint], None],
) -> Iterator[tuple[RunDirectory | None, SavedCheckpoint | None]]:
    """Open a run directory and its newest checkpoint, if any; `check` raises if the run must not resume from it.

    The configuration is written to the directory. `note` receives a line for each change of the environment. Only
    process 0 gets the directory and the checkpoint; the others get None.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.training.distributed import ALONE
    >>> with TemporaryDirectory() as directory:
    ...     with opened_run(Path(directory), TrainingConfig(), ALONE, note=print, check=print) as (run, saved):
    ...         print(run.path.is_dir(), saved)
    True None
    """
    if not world.is_first:
        yield None, None
        return
    with RunDirectory.open(directory, note) as run:
        saved = run.newest(strict=config.strict)
        if saved is not None:
            check(saved)
            note_surroundings(saved, world.size, note)
        run.write_config(config.to_document())
        yield run, saved


def note_surroundings(saved: SavedCheckpoint, n_processes: int, note: Callable[[str], None]) -> None:
    """Give `note` a line for each change outside the settings since a checkpoint that affects rounding: the number of
    processes, versions, the processor.

    >>> from types import SimpleNamespace
    >>> environment = fingerprint() | {"numpy": "1.0", "python": "3.0"}  # which computes nothing
    >>> saved = SimpleNamespace(document={"processes": 2}, environment=environment)
    >>> note_surroundings(saved, 1, note=lambda line: print(line.replace(str(fingerprint()["numpy"]), "2.0")))
    1 process instead of 2: the run continues, but not bit for bit
    numpy 2.0 instead of 1.0: the run continues, but not bit for bit
    """
    before = saved.document.get("processes")
    if before != n_processes:
        note(f"{counted(n_processes, 'process')} instead of {before}: the run continues, but not bit for bit")
    for name, now in fingerprint().items():
        then = saved.environment.get(name)
        if then != now and name != "python":
            note(f"{name} {now} instead of {then}: the run continues, but not bit for bit")


def refuse_differences(
    saved: SavedCheckpoint, settings: Difference, others: Sequence[str], advice: str = "use another --out"
) -> None:
    """Raise UsageError if a run was started with other settings, or if there are `others`, such as "on other data".

    >>> from pathlib import Path
    >>> from types import SimpleNamespace
    >>> saved = SimpleNamespace(directory=Path("a/checkpoints/step-00000100"))
    >>> refuse_differences(saved, Difference({"seed": 1}, {"seed": 2}), ["on other data"])
    Traceback (most recent call last):
    cutaway.errors.UsageError: a: the run was started on other data and with --seed 1, not --seed 2: use another --out
    """
    reasons = [*others, *([f"with {show_flags(settings.before)}, not {show_flags(settings.now)}"] if settings else [])]
    if reasons:
        raise UsageError(f"{run_place(saved)}: the run was started {' and '.join(reasons)}: {advice}")
