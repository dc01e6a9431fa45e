"""Event files for TensorBoard, written without TensorFlow.

A file is a sequence of records: the length of the data (8 bytes, little-endian), its masked CRC, the data, and the
data's masked CRC. The data is an `Event` in protocol-buffer encoding. Sources: tensorflow/core/lib/io/record_writer.h,
tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto of tensorflow/tensorflow.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from cutaway.errors import WriteError
from cutaway.untrusted import quote_path

_POLYNOMIAL = 0x82F63B78  # Castagnoli polynomial, bit-reversed
_VARINT = 0
_FIXED64 = 1
_BYTES = 2
_FIXED32 = 5
_SESSION_START = 1
_DT_STRING = 7

# The tag of each number in a line of metrics.jsonl. TensorBoard groups tags by the part before "/".
TAGS = {
    "loss": "loss/train",
    "valid_loss": "loss/valid",
    "bits_per_byte": "loss/bits_per_byte",
    "lr": "optimizer/lr",
    "grad_norm": "optimizer/grad_norm",
    "tokens": "progress/tokens",
}
SAMPLE_TAG = "sample"
AVERAGED = "averaged/"  # prefix of the tags of the final evaluation, which is of the averaged weights


class EventWriter:
    """Appends the events of a run to a new event file in a directory.

    Pass the `step` after which a run resumes: TensorBoard then drops later steps of earlier files.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     writer = EventWriter(Path(directory))
    ...     writer.write({"kind": "train", "step": 1, "loss": 4.5, "lr": 0.001})
    ...     writer.close()
    ...     len(list(Path(directory).glob("events.out.tfevents.*")))
    1
    """

    def __init__(self, directory: Path, step: int = 0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        now = time.time()
        # TensorBoard reads the files of a directory in order of name, so the name begins with the time in nanoseconds.
        name = f"events.out.tfevents.{int(now)}.{time.time_ns() % 10**9:09d}.{socket.gethostname()}.{os.getpid()}"
        self.path = directory / name
        self._file = self.path.open("xb", buffering=0)  # unbuffered: an open page shows each record at once
        self._append(_event(now, 0, _string(3, "brain.Event:2")))
        if step:
            self._append(_event(now, step + 1, _field(7, _int(1, _SESSION_START))))

    def write(self, event: Mapping[str, object]) -> None:
        """Append the numbers and the sample in one line of `metrics.jsonl`. Raises WriteError."""
        step = event["step"]
        assert isinstance(step, int)
        numbers = {name: value for name, value in event.items() if isinstance(value, int | float)}
        group = AVERAGED if event["kind"] == "final" else ""
        tags = {name: group + tag for name, tag in TAGS.items() if name in numbers}
        summary = b"".join(_field(1, _scalar(tag, numbers[name])) for name, tag in tags.items())
        sample = event.get("sample")
        if isinstance(sample, str):
            summary += _field(1, _text(group + SAMPLE_TAG, sample))
        if summary:
            self._append(_event(time.time(), step, _field(5, summary)))

    def close(self) -> None:
        self._file.close()

    def _append(self, data: bytes) -> None:
        whole = record(data)
        end = self._file.tell()
        try:
            written = self._file.write(whole)
            if written < len(whole):  # the disk is full: a second write raises the error
                self._file.write(whole[written:])
        except OSError as error:
            self._file.truncate(end)  # TensorBoard stops reading at a torn record
            self._file.seek(end)
            raise WriteError(f"{quote_path(self.path)}: cannot be written: {error.strerror}") from None


def record(data: bytes) -> bytes:
    """Frame data as one record.

    >>> record(b"").hex()
    '000000000000000029039807d8ea82a2'
    """
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _masked_crc(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of data.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _event(wall_time: float, step: int, content: bytes) -> bytes:
    return _key(1, _FIXED64) + struct.pack("<d", wall_time) + _int(2, step) + content


def _scalar(tag: str, value: float) -> bytes:
    """Encode a `Summary.Value` with a number."""
    return _string(1, tag) + _key(2, _FIXED32) + struct.pack("<f", value)


def _text(tag: str, text: str) -> bytes:
    """Encode a `Summary.Value` with a string tensor of one element, for the text plugin."""
    plugin = _field(1, _string(1, "text"))
    shape = _field(2, _field(2, _int(1, 1)))
    tensor = _int(1, _DT_STRING) + shape + _field(8, text.encode("utf-8", "replace"))
    return _string(1, tag) + _field(9, plugin) + _field(8, tensor)


def _string(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _field(number: int, data: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(data)) + data


def _int(number: int, value: int) -> bytes:
    return _key(number, _VARINT) + _varint(value)


def _key(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
