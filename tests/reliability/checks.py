"""Every check with its promise, its short and its full form, and the sabotage that it must find."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from tests.reliability import crash_points, damage, disks, durability, races, sabotage, traced
from tests.reliability.harness import BrokenPromiseError, Result, result_of


def _always() -> bool:
    return True


def _has_proc() -> bool:
    return Path("/proc/self/statm").exists()


@dataclass(frozen=True)
class Later:
    """A function whose module is imported when it is called or loaded: most need not what it needs, such as PyTorch."""

    module: str
    function: str

    def __call__(self, *arguments: object) -> Any:
        return self.load()(*arguments)

    def load(self) -> Callable[..., Any]:
        """Import the module and return the function."""
        return cast(Callable[..., Any], getattr(import_module(f"tests.reliability.{self.module}"), self.function))


@dataclass(frozen=True)
class Check:
    """A promise and its proof, and what this is called with in its short and in its full form.

    `possible` is asked first, and what it `needs` is told where it is not.
    """

    promise: str
    proof: Callable[..., Result]
    short: tuple[object, ...]
    full: tuple[object, ...]
    sabotage: tuple[str, ...]
    possible: Callable[[], bool] = _always
    needs: str = ""

    def run(self, *, short: bool) -> Result:
        """Run the short or the full form."""
        return self.proof(*(self.short if short else self.full))

    def run_sabotaged(self, sabotaged: str) -> Result:
        """Sabotage the code of this process for good, and run the short form until one promise is broken."""
        sabotage.apply(sabotaged)
        Result.one_is_enough = True
        try:
            return self.run(short=True)
        except BrokenPromiseError as first:
            return Result(1, [str(first)])

    def run_sabotages(self) -> dict[str, Result]:
        """Do so with each sabotage, in processes forked from this one, which has imported what they need."""
        if isinstance(self.proof, Later):
            self.proof.load()
        return {name: result_of(partial(self.run_sabotaged, name)) for name in self.sabotage}


CHECKS = {
    "kills": Check(
        "killed by -9 at any moment, a run ends bit for bit as if it never was: weights, optimizer and log",
        Later("kills", "training_kills"),
        (10,),
        (200,),
        ("forget-cursor", "forget-optimizer", "stream-randomness", "keep-log"),
    ),
    "fine-tuning-kills": Check(
        "the same of fine-tuning, all weights and LoRA",
        Later("kills", "fine_tuning_kills"),
        (6,),
        (100,),
        ("forget-cursor", "forget-optimizer", "forget-adapter", "keep-log"),
    ),
    "stop-signals": Check(
        "a signal saves a run at the end of its step, a second one ends it at once; its end is that of any run",
        Later("stops", "stop_signals"),
        (3,),
        (50,),
        ("stop-without-saving", "ask-twice", "take-more-steps"),
    ),
    "non-finite-numbers": Check(
        "NaN or infinity in weights, loss, gradient or update stops a run by step and tensor, and costs no checkpoint",
        Later("nonfinite", "injected_numbers"),
        (4,),
        (20,),
        ("train-on-nan", "name-no-tensor"),
    ),
    "crash-points": Check(
        "killed, disk full or I/O error at every call of a save, a prune, a start: the old or the new, whole",
        crash_points.all_crash_points,
        (("kill", "EIO"),),
        (),
        ("write-in-place", "delete-first", "swallow-errors", "leave-leftovers"),
    ),
    "traced-crash-points": Check(
        "the same at the system calls themselves",
        traced.all_traced_crash_points,
        (2,),
        (),
        ("delete-first", "swallow-errors", "leave-leftovers"),
        durability.has_strace,
        "strace",
    ),
    "order": Check(
        "data, directory, name and parent are on the disk before a save is reported",
        durability.order,
        (),
        (),
        ("skip-file-sync", "skip-directory-sync", "skip-parent-sync"),
    ),
    "traced-order": Check(
        "the same as strace sees it",
        durability.traced_order,
        (),
        (),
        ("skip-file-sync", "skip-directory-sync", "skip-parent-sync"),
        durability.has_strace,
        "strace",
    ),
    "power-cuts": Check(
        "what was reported as saved is there after a power cut, whole",
        Later("power_cuts", "power_cuts"),
        (12,),
        (100,),
        ("skip-file-sync", "skip-parent-sync"),
        Later("power_cuts", "can_cut_power"),
        "root and loop devices",
    ),
    "file-size-limits": Check(
        "a file size limit costs a save, no checkpoint",
        disks.file_size_limits,
        (),
        (),
        ("swallow-errors",),
    ),
    "full-disks": Check(
        "a full disk costs a save, no checkpoint, and is named with the bytes needed and free",
        disks.full_disks,
        (4,),
        (),
        ("swallow-errors",),
        disks.can_mount,
        "root, to mount a tmpfs",
    ),
    "damage": Check(
        "any damaged byte is found before use: the checkpoint is named, the one before is used",
        damage.damage,
        (300,),
        (10_000,),
        ("skip-verification", "check-sizes-only"),
    ),
    "prune": Check(
        "whatever is damaged, pruning keeps the newest valid checkpoint",
        damage.pruned_damage,
        (60,),
        (1000,),
        ("prune-unseen",),
    ),
    "lock-races": Check(
        "of four trainers that start at once one gets the directory; a dead one's is free",
        races.lock_races,
        (20,),
        (100,),
        ("ignore-owner", "remove-dead-lock"),
    ),
    "control-tokens": Check(
        "no text becomes a control token: prompts, conversations, fields, corpora, the explorer",
        Later("control_tokens", "control_tokens"),
        (300,),
        (10_000,),
        ("parse-control-tokens", "parse-fields", "count-no-literals"),
    ),
    "broken-files": Check(
        "a broken file of any kind is read or refused in one line: no bug, no wait, no more than 64 MiB",
        Later("inputs", "broken_files"),
        (1_500,),
        (100_000,),
        ("believe-shapes",),
    ),
    "hostile-requests": Check(
        "whatever is sent to the explorer, it answers the others as before, and nobody from elsewhere",
        Later("requests", "hostile_requests"),
        (400,),
        (20_000,),
        ("open-the-door", "serve-any-file", "answer-with-bugs"),
        _has_proc,
        "/proc",
    ),
    "odd-environments": Check(
        "whatever surrounds a command, it works or says in one line why not",
        Later("environments", "odd_environments"),
        (1,),
        (),
        ("let-errors-out",),
    ),
    "address-sanitizer": Check(
        "no call of the C++ engine reads or writes where it must not, and its logits are right",
        Later("sanitizers", "sanitized_calls"),
        (
            "address",
            30,
        ),
        (
            "address",
            2_000,
        ),
        ("shrink-the-cache",),
        Later("sanitizers", "can_sanitize"),
        "g++ with libasan and libtsan",
    ),
    "thread-sanitizer": Check(
        "several threads may use the C++ engine at once",
        Later("sanitizers", "sanitized_calls"),
        (
            "thread",
            30,
        ),
        (
            "thread",
            2_000,
        ),
        ("unlock-the-engine",),
        Later("sanitizers", "can_sanitize"),
        "g++ with libasan and libtsan",
    ),
}
