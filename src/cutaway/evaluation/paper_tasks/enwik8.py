"""enwik8: bits per byte of the source text of Wikipedia pages, including markup (Hutter Prize; Mahoney 2006).

File: `enwik8`, the first 100,000,000 bytes of a dump of the English Wikipedia of 2006.

Recipe: the last 5,000,000 bytes, the usual test split, unchanged, as one document; a file of another size is used in
full. An incomplete character at either end, of up to three bytes, is dropped. The paper has 1.16 for 124M and does not
say which split it used.
"""

from cutaway.data.sources import decode_text
from cutaway.evaluation.paper_tasks.running_text import bits_per_byte
from cutaway.evaluation.paper_tasks.task import PaperTask, Result
from cutaway.evaluation.protocol import LanguageModel, Progress

FULL_SIZE = 100_000_000
TEST_SIZE = 5_000_000


def test_part(data: bytes) -> bytes:
    """Return the test split of a file of `FULL_SIZE` bytes, or the whole of any other file.

    >>> test_part(b"<page>")
    b'<page>'
    """
    return data[-TEST_SIZE:] if len(data) == FULL_SIZE else data


def whole_characters(data: bytes) -> bytes:
    """Drop incomplete UTF-8 characters at both ends.

    >>> whole_characters("é".encode()[1:] + b"a" + "é".encode()[:1])
    b'a'
    """
    start = next((i for i, byte in enumerate(data[:3]) if byte & 0xC0 != 0x80), min(3, len(data)))
    data = data[start:]
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return data[: error.start]
    return data


def decode_part(data: bytes, part: bytes, place: str) -> str:
    """Decode the part of a file that is scored. Raises UsageError naming the line of the file that is not UTF-8.

    >>> decode_part(b"one nine", b"nine", "text8")
    'nine'
    """
    return decode_text(part, place, first_line=1 + data.count(b"\n", 0, data.rfind(part)))


def run(model: LanguageModel, data: bytes, place: str, stride: int | None, progress: Progress) -> Result:
    """Score the test split.

    >>> import cutaway
    >>> from cutaway.evaluation.protocol import no_progress
    >>> result = run(cutaway.load(), b"<title>Robot</title>", "enwik8", None, no_progress)
    >>> result.metrics[0].name, result.counts["bytes"]
    ('bits_per_byte', 20)
    """
    return bits_per_byte(model, decode_part(data, whole_characters(test_part(data)), place), place, stride, progress)


TASK = PaperTask("enwik8", "enwik8", ("enwik8",), run, "bytes", (FULL_SIZE, TEST_SIZE))
