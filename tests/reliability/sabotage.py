"""Sabotage: each takes one precaution out of the code, for the rest of this process, and some check must then fail."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cutaway import disk
from cutaway.training import manifest, runs
from cutaway.training.lock import Lock, Owner
from cutaway.training.runs import RunDirectory

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from cutaway.checkpoints.safetensors import TensorEntry
    from cutaway.training.trainer import Trainer

_applied: list[str] = []


def _replace(owner: object, name: str, value: object) -> None:
    assert hasattr(owner, name)
    setattr(owner, name, value)


def write_in_place() -> None:
    """Save under the final name, and delete what has one."""
    beside = RunDirectory._beside
    _replace(RunDirectory, "_beside", lambda run, target, kind: target if kind == "tmp" else beside(run, target, kind))
    _replace(RunDirectory, "_install", lambda run, staging, target: None)


def delete_first() -> None:
    """Delete the old checkpoint of a step before the new one has its name."""

    def install(run: RunDirectory, staging: Path, target: Path) -> None:
        if target.exists():
            shutil.rmtree(target)
        staging.rename(target)
        disk.sync(run.checkpoints)

    _replace(RunDirectory, "_install", install)


def swallow_errors() -> None:
    """Report as saved what could not be saved."""
    run_errors = runs._run_errors

    @contextmanager
    def swallow(path: Path, what: str, needed: int = 0) -> Iterator[None]:
        with run_errors(path, what, needed) if what == "cannot be used as a run directory" else suppress(OSError):
            yield

    _replace(runs, "_run_errors", swallow)


def leave_leftovers() -> None:
    """Leave what a killed trainer left."""
    _replace(RunDirectory, "_remove_leftovers", lambda run: None)


def _sync_only(wanted: Callable[[Path], bool]) -> None:
    sync = disk.sync
    _replace(runs, "sync", lambda path: sync(path) if wanted(path) else None)


def skip_file_sync() -> None:
    """Rename files whose bytes may not be on the disk."""
    _sync_only(Path.is_dir)


def skip_directory_sync() -> None:
    """Rename a directory whose entries may not be on the disk."""
    _sync_only(lambda path: ".tmp-" not in path.name)


def skip_parent_sync() -> None:
    """Report a rename that may not be on the disk."""
    _sync_only(lambda path: path.name != "checkpoints")


def skip_verification() -> None:
    """Believe a checkpoint."""
    _replace(runs, "check_manifest", lambda directory, step: json.loads((directory / "manifest.json").read_bytes()))


def check_sizes_only() -> None:
    """Compare the files' sizes alone."""
    _replace(manifest, "hash_files", lambda paths: "")


def prune_unseen() -> None:
    """Prune without a look at what is kept."""
    _replace(RunDirectory, "_is_valid", lambda run, step: True)


def ignore_owner() -> None:
    """Take every lock for a dead one's."""
    _replace(Owner, "is_alive", lambda owner: False)


def remove_dead_lock() -> None:
    """Remove the lock of a dead owner, then make one's own, as if nobody else could do so in between."""

    def claim(lock: Lock, candidate: Path, chain: list[Owner]) -> bool:
        time.sleep(0.001)
        if chain:
            lock.path.unlink(missing_ok=True)
        with suppress(FileExistsError):
            os.link(candidate, lock.path)
            return True
        return False

    _replace(Lock, "_claim", claim)


def _after_restore(spoil: "Callable[[Trainer], None]") -> None:
    from cutaway.training.trainer import Trainer

    restore = Trainer.restore

    def restored(trainer: Trainer, *saved: Any) -> None:
        restore(trainer, *saved)
        spoil(trainer)

    _replace(Trainer, "restore", restored)


def forget_cursor() -> None:
    """Read the data from its beginning again after a restart."""

    def spoil(trainer: "Trainer") -> None:
        done = trainer.steps
        batch = trainer.source.batch
        _replace(trainer.source, "batch", lambda k, n_rows, n_ctx: batch(k - done, n_rows, n_ctx))

    _after_restore(spoil)


def forget_optimizer() -> None:
    """Start with fresh moments after a restart."""

    def spoil(trainer: "Trainer") -> None:
        from cutaway.training.optimizers import make_optimizer

        trainer.optimizer = make_optimizer(trainer.config, trainer.parameters)

    _after_restore(spoil)


def forget_adapter() -> None:
    """Start LoRA anew after a restart."""
    from cutaway.training.tuners import LoRATuner

    _replace(LoRATuner, "_take", lambda tuner, arrays: None)


def stream_randomness() -> None:
    """Draw what is dropped from one stream, as if each step did not address its own."""
    from cutaway.training import trainer

    _replace(trainer, "seed_draws", lambda device, seed: None)


def keep_log() -> None:
    """Leave the lines of steps that are taken again."""
    _replace(RunDirectory, "rewind_metrics", lambda run, step: None)


def stop_without_saving() -> None:
    """Leave it to the last checkpoint when a signal stops a run."""
    from cutaway.training import loop

    save = loop._Loop.save

    def unsaved(its: loop._Loop, *, is_last: bool = False) -> None:
        if not is_last:
            save(its)

    _replace(loop._Loop, "save", unsaved)


def ask_twice() -> None:
    """Take a second signal for the first."""
    from cutaway.training.signals import StopSignals

    def stop(signals: StopSignals, number: int, frame: object) -> None:
        signals.received = signal.Signals(number)

    _replace(StopSignals, "_stop", stop)


def take_more_steps() -> None:
    """Take two more steps after a signal."""
    from cutaway.training.distributed import Request, World
    from cutaway.training.signals import StopSignals

    agree = World.agree
    more = [1, 2]

    def late(world: World, signals: StopSignals) -> Request:
        request = agree(world, signals)
        return Request(None, request.save) if request.stop and more and more.pop() else request

    _replace(World, "agree", late)


def train_on_nan() -> None:
    """Take a step whatever its loss and its gradient are."""
    from cutaway.training.trainer import Trainer

    _replace(Trainer, "_refuse", lambda trainer, batch, loss: None)


def name_no_tensor() -> None:
    """Blame the loss for everything that is not finite."""
    from cutaway.training import trainer

    _replace(trainer, "first_not_finite", lambda model, forward: None)


def let_errors_out() -> None:
    """Let an error end the command line as Python ends it."""
    from cutaway import cli

    def unguarded(action: Callable[[], None], tell: Callable[[str], None]) -> int:
        action()
        return 0

    _replace(cli, "guarded", unguarded)


def parse_control_tokens() -> None:
    """Take names of control tokens in a text for control tokens."""
    from cutaway.tokenizer import fast

    _replace(fast._Gpt2Tokenizer, "_added", property(lambda tokenizer: tokenizer._added_and_control))


def parse_fields() -> None:
    """Take those in the fields of a task for control tokens."""
    from cutaway.tasks.encoder import TaskEncoder
    from cutaway.tasks.template import Field, Part

    ids_of = TaskEncoder._ids

    def parsed(encoder: TaskEncoder, part: Part, fields: Mapping[str, str]) -> list[int]:
        if isinstance(part, Field):
            return encoder.codec.encode(fields[part.name], allow_special=True)
        return ids_of(encoder, part, fields)

    _replace(TaskEncoder, "_ids", parsed)


def count_no_literals() -> None:
    """Say nothing of the names of control tokens in a corpus."""
    from cutaway.data.encode import Encoder
    from cutaway.tokenizer.reading import FileTokenizer

    begin = Encoder.__init__

    def begun(encoder: Encoder, tokenizer: FileTokenizer, share: float, field: str = "text") -> None:
        begin(encoder, tokenizer, share, field)
        encoder._control = ()

    _replace(Encoder, "__init__", begun)


def believe_shapes() -> None:
    """Believe a safetensors file about where its tensors lie."""
    from cutaway.checkpoints import safetensors

    _replace(safetensors, "_parse_header", _believed_header)


def _believed_header(header: bytes, path: Path, file_bytes: int) -> "dict[str, TensorEntry]":
    from cutaway.checkpoints.safetensors import TensorEntry, size_of

    raw = {name: value for name, value in json.loads(header).items() if name != "__metadata__"}
    start = 8 + len(header)
    entries = {}
    for name, value in raw.items():
        shape = tuple(value["shape"])
        first = start + value["data_offsets"][0]
        entries[name] = TensorEntry(value["dtype"], shape, first, size_of((value["dtype"], shape)))
    return entries


def open_the_door() -> None:
    """Answer whoever asks."""
    from cutaway.web.security import Guard

    _replace(Guard, "_intercept", lambda guard, request: None)


def serve_any_file() -> None:
    """Serve what a path leads to."""
    from starlette.responses import FileResponse

    from cutaway.explore import app, assets

    async def asset(request: "Request") -> "Response":
        return FileResponse(assets.PAGE / request.path_params.get("path", "index.html"))

    _replace(app, "asset", asset)


def answer_with_bugs() -> None:
    """Take a wrong parameter for a bug of the server."""
    from cutaway.errors import UsageError
    from cutaway.explore import app
    from cutaway.web.responses import EXCEPTION_HANDLERS

    handlers = {kind: handler for kind, handler in EXCEPTION_HANDLERS.items() if kind is not UsageError}
    _replace(app, "EXCEPTION_HANDLERS", handlers)


def _edit(sources: Path, file: str, old: str, new: str) -> None:
    text = (sources / file).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file}: {old!r}"
    (sources / file).write_text(text.replace(old, new), encoding="utf-8")


def shrink_the_cache(sources: Path) -> None:
    """Allocate for as many tokens as there are, not for whole panels of them."""
    _edit(sources, "cache.cpp", "round_up(std::min(shape_.n_ctx, length + length / 2 + 4 * kLanes), kLanes)", "length")


def unlock_the_engine(sources: Path) -> None:
    """Let two threads use the engine's workspace at once."""
    lock = "        std::lock_guard<std::mutex> lock(model->mutex);\n"
    _edit(sources, "api.cpp", f"{lock}        const Batch", "        const Batch")


# Sabotage of the C++ sources, which are compiled once more.
NATIVE: dict[str, Callable[[Path], None]] = {
    "shrink-the-cache": shrink_the_cache,
    "unlock-the-engine": unlock_the_engine,
}


def apply(name: str) -> None:
    """Apply a sabotage by the name of its function, with hyphens, or note that one of `NATIVE` is wanted."""
    if name not in NATIVE:
        globals()[name.replace("-", "_")]()
    _applied.append(name)


def applied() -> list[str]:
    """Return the names of what was applied here."""
    return list(_applied)


def arguments() -> list[str]:
    """Return the arguments that apply the same sabotage in another process."""
    return [part for name in _applied for part in ("--sabotage", name)]
