"""text8: bits per character of Wikipedia without markup, in an alphabet of 27 characters (Mahoney 2006).

File: `text8`, 100,000,000 characters: the letters a to z and the space; numbers are spelled out.

Recipe: the last 5,000,000 characters, the usual test split, unchanged, as one document; a file of another size is used
in full. A character is a byte. The paper has 1.17 for 124M and does not say which split it used.
"""

from cutaway.evaluation.paper_tasks.enwik8 import FULL_SIZE, TEST_SIZE, decode_part, test_part
from cutaway.evaluation.paper_tasks.running_text import bits_per_byte
from cutaway.evaluation.paper_tasks.task import PaperTask, Result
from cutaway.evaluation.protocol import LanguageModel, Progress


def run(model: LanguageModel, data: bytes, place: str, stride: int | None, progress: Progress) -> Result:
    """Score the test split.

    >>> import cutaway
    >>> from cutaway.evaluation.protocol import no_progress
    >>> result = run(cutaway.load(), b"one nine zero five", "text8", None, no_progress)
    >>> result.metrics[0].name, result.counts["bytes"]
    ('bits_per_byte', 18)
    """
    return bits_per_byte(model, decode_part(data, test_part(data), place), place, stride, progress)


TASK = PaperTask("text8", "text8", ("text8",), run, "bytes", (FULL_SIZE, TEST_SIZE))
