"""Event files, read back by TensorBoard itself, in a process of its own: its imports warn."""

import json
import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cutaway.errors import WriteError
from cutaway.training.tensorboard import EventWriter, crc32c, record

READ = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
read = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
read.Reload()
scalars = {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
texts = [(e.step, e.tensor_proto.string_val[0].decode()) for t in read.Tags()["tensors"] for e in read.Tensors(t)]
print(json.dumps({"scalars": scalars, "texts": texts}))
"""


def read(directory: Path) -> Any:
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ, str(directory)], capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout)


@pytest.mark.slow
def test_tensorboard_reads_every_number_and_the_samples(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "events")
    for step in (1, 2, 300):
        writer.write(
            {
                "kind": "train",
                "step": step,
                "tokens": 64 * step,
                "loss": 4.0 / step,
                "lr": 0.5,
                "grad_norm": 1,
                "seconds": 2,
            }
        )
    writer.write({"kind": "eval", "step": 300, "valid_loss": 3.5, "bits_per_byte": 1.25, "sample": "a robot é🤖" * 40})
    writer.write({"kind": "save", "step": 300})
    averaged = {"valid_loss": 3.25, "bits_per_byte": 1.0, "sample": "averaged"}
    writer.write({"kind": "final", "step": 300, "kept": True, **averaged})
    writer.close()
    found = read(tmp_path / "events")
    assert found["scalars"]["loss/train"] == [
        [step, struct.unpack("f", struct.pack("f", 4.0 / step))[0]] for step in (1, 2, 300)
    ]
    assert found["scalars"]["optimizer/lr"] == [[1, 0.5], [2, 0.5], [300, 0.5]]
    assert found["scalars"]["progress/tokens"][-1] == [300, 19200]
    assert found["scalars"]["loss/valid"] == [[300, 3.5]]
    assert found["scalars"]["loss/bits_per_byte"] == [[300, 1.25]]
    assert found["scalars"]["averaged/loss/valid"] == [[300, 3.25]]
    assert set(found["scalars"]) == {
        "averaged/loss/valid",
        "averaged/loss/bits_per_byte",
        "loss/train",
        "loss/valid",
        "loss/bits_per_byte",
        "optimizer/lr",
        "optimizer/grad_norm",
        "progress/tokens",
    }
    assert found["texts"] == [[300, "a robot é🤖" * 40], [300, "averaged"]]


@pytest.mark.slow
def test_a_run_that_resumes_replaces_the_later_steps(tmp_path: Path) -> None:
    first = EventWriter(tmp_path)
    for step in (1, 2, 3, 4):
        first.write({"kind": "train", "step": step, "loss": 1.0})
    first.close()
    second = EventWriter(tmp_path, step=2)
    second.write({"kind": "train", "step": 3, "loss": 2.0})
    second.close()
    assert read(tmp_path)["scalars"]["loss/train"] == [[1, 1.0], [2, 1.0], [3, 2.0]]


def test_crc_vectors() -> None:
    """RFC 3720, appendix B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_a_record_is_framed_by_its_length() -> None:
    framed = record(b"data")
    assert framed[:8] == struct.pack("<Q", 4)
    assert framed[12:16] == b"data"
    assert len(framed) == 20


def test_a_full_disk_leaves_no_half_record(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    size = writer.path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, before[1]))
    try:
        with pytest.raises(WriteError, match=r"events.out.tfevents.*: cannot be written: File too large$"):
            writer.write({"kind": "train", "step": 1, "loss": 4.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert writer.path.stat().st_size == size
    writer.write({"kind": "train", "step": 2, "loss": 4.5})
    assert writer.path.read_bytes()[size:].count(b"loss/train") == 1
    writer.close()
