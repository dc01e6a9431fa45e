"""Checks that all processes of a run, perhaps on several machines, were started with the same settings and data."""

import platform
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.checkpoints import Weights
from cutaway.errors import UsageError
from cutaway.training.config import TrainingConfig, show_flags
from cutaway.training.distributed import World
from cutaway.training.finetune_config import FineTuneConfig
from cutaway.training.resumption import Difference
from cutaway.training.runs import saved_steps
from cutaway.untrusted import quote_name, quote_path

OWN = frozenset({"threads", "data", "valid"})  # may differ between machines; files are compared by content


def check_alike(
    config: TrainingConfig | FineTuneConfig,
    hashes: Sequence[str],
    directory: Path,
    world: World,
    weights: Weights | None = None,
) -> None:
    """Raise UsageError in all processes unless all have the same settings, data hashes and initial weights.

    Also raise it if a process sees later checkpoints of the run than process 0, which resumes the run. Without this
    check processes could train on the wrong data, wait for each other forever, or lose another machine's checkpoints.

    >>> from cutaway.training.distributed import ALONE
    >>> check_alike(TrainingConfig(), [], Path("run"), ALONE)
    """
    ours = {
        "settings": {name: value for name, value in config.to_document().items() if name not in OWN},
        "hashes": list(hashes),
        "weights": hash_weights(weights) if weights is not None and world.size > 1 else "",
        "step": _newest_step(directory),
        "host": platform.node(),
    }
    problem = _problem(directory, world.broadcast(ours), ours) if world.size > 1 else ""
    mine = f"process {world.rank}, on {quote_name(platform.node())}, {problem}" if problem else None
    if found := world.first([mine]):
        raise UsageError(found)


def _problem(directory: Path, first: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Describe how a process differs from process 0; "" if it does not."""
    reasons = [] if ours["hashes"] == first["hashes"] else ["on other data than process 0"]
    if ours["weights"] != first["weights"]:
        reasons.append("from other weights than process 0")
    if differs := Difference.between(first["settings"], ours["settings"]):
        reasons.append(f"with {show_flags(differs.now)}, not {show_flags(differs.before)} as process 0")
    if reasons:
        return f"was started {' and '.join(reasons)}: start all with the same command, on the same data"
    if ours["step"] <= first["step"]:
        return ""
    return (
        f"has {quote_path(directory)} at step {ours['step']}, and process 0, on {quote_name(first['host'])}, which "
        f"resumes it, at step {first['step']}: put the directory where all see it, or have process 0 where it is"
    )


def hash_weights(weights: Weights) -> str:
    """Return the SHA-256 of all weights, independent of how they are split into files.

    >>> from cutaway.checkpoints import ArrayWeights
    >>> from cutaway.config import GPT2Config
    >>> shape = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
    >>> ones = ArrayWeights(shape, {name: np.ones(s, np.float32) for name, s in shape.tensor_shapes().items()})
    >>> hash_weights(ones)[:16]
    '8e052c9c062f5468'
    """
    digest = sha256()
    for name in weights.config.tensors:
        digest.update(np.ascontiguousarray(weights.read(name)).tobytes())
    return digest.hexdigest()


def _newest_step(directory: Path) -> int:
    """Return the step of the newest checkpoint of a run, 0 if this process sees none."""
    try:
        return max(saved_steps(directory), default=0)
    except OSError:
        return 0
