"""Split a checkpoint, as bfloat16, into files of at most 15 MB, for a machine that returns no larger ones; join them.

    python -m recipes.builtin.parts split CHECKPOINT OUT
    python -m recipes.builtin.parts join OUT CHECKPOINT

The upper bytes of the numbers, with sign and exponent, compress to less than half; the lower bytes are noise.
"""

import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

from cutaway.checkpoints import open_checkpoint, save_checkpoint

PART_BYTES = 15_000_000


def split(checkpoint: Path, out: Path) -> None:
    """Write config.json, upper.z and lower.00, lower.01, ... into a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        small = Path(scratch) / "checkpoint"
        save_checkpoint(small, open_checkpoint(checkpoint), dtype="bfloat16")
        data = np.fromfile(small / "model.safetensors", np.uint8)
        shutil.copy(small / "config.json", out)
    (out / "upper.z").write_bytes(zlib.compress(data[1::2].tobytes()))
    lower = data[::2].tobytes()
    for number, start in enumerate(range(0, len(lower), PART_BYTES)):
        (out / f"lower.{number:02}").write_bytes(lower[start : start + PART_BYTES])


def join(parts: Path, checkpoint: Path) -> None:
    """Restore the checkpoint, in bfloat16, from the files that `split` wrote."""
    upper = np.frombuffer(zlib.decompress((parts / "upper.z").read_bytes()), np.uint8)
    lower = np.concatenate([np.fromfile(path, np.uint8) for path in sorted(parts.glob("lower.*"))])
    data = np.empty(len(upper) + len(lower), np.uint8)
    data[::2] = lower
    data[1::2] = upper
    checkpoint.mkdir(parents=True)
    data.tofile(checkpoint / "model.safetensors")
    shutil.copy(parts / "config.json", checkpoint)


if __name__ == "__main__":
    {"split": split, "join": join}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
