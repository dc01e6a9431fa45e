"""A checkpoint as bfloat16, cut into files of at most 15 MB: `python -m recipes.builtin.parts CHECKPOINT OUT`.

`cat model.part.* > model.safetensors` puts it together again beside its config.json.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from cutaway.checkpoints import open_checkpoint, save_checkpoint

PART_BYTES = 15_000_000


def write_parts(checkpoint: Path, out: Path) -> None:
    """Write config.json and model.part.00, model.part.01, ... into `out`."""
    with tempfile.TemporaryDirectory() as scratch:
        small = Path(scratch) / "checkpoint"
        save_checkpoint(small, open_checkpoint(checkpoint), dtype="bfloat16")
        data = (small / "model.safetensors").read_bytes()
        shutil.copy(small / "config.json", out)
    for number, start in enumerate(range(0, len(data), PART_BYTES)):
        (out / f"model.part.{number:02}").write_bytes(data[start : start + PART_BYTES])


if __name__ == "__main__":
    write_parts(Path(sys.argv[1]), Path(sys.argv[2]))
