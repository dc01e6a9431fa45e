"""Blocks of text, the unit of work in preparing a corpus: about a megabyte each, cut only at token boundaries.

Blocks depend only on the files, not on the processes that read or encode them, and neither does the corpus.
"""

import codecs
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from cutaway.data.records import Record, lowest_digests, read_documents
from cutaway.data.sources import LINES, PARQUET, SourceFile, count_rows, is_plain_text, is_utf16, open_bytes
from cutaway.errors import UsageError
from cutaway.untrusted import quote_path

BLOCK_BYTES = 1 << 20
PART_BYTES = 1 << 26  # of text; each part becomes one shard of each split
MAX_UNCUT = 1 << 24  # characters without white space, after which a text is cut anywhere
PASSAGE = 1 << 12  # characters; a corpus that is one text is split into train and valid by passages
LEAST_PASSAGE = 1 << 6  # characters, in a text that is too short for larger passages
_PASSAGES = 20  # approximate number, in a text that is too short for random draws
_SHORT = 1 << 24  # characters; a shorter text is held in memory, so that some of it can always be held out
_KEY = 1 << 14  # first characters of a document, whose hash decides its split
_WINDOW = 1 << 12  # characters that are searched for a cut at a time
_CUTS = re.compile(r"(?<=\S)[ \r\n]")
_LINE_ENDS = re.compile(r"(?<=\S)[\r\n]")

PartId = tuple[int, int]  # (lot, part of the lot)


@dataclass(frozen=True)
class Passage:
    """A document, or a part of a long one; only the first passage of a document `opens` it.

    In a pair, `text` is the prompt, which is not learned, and `completion` is learned. `split` is None until it is
    drawn. `is_conversation` is True for messages. `whole` is the text of all passages, in the first of a pair or
    conversation.
    """

    text: str
    split: str | None = None
    opens: bool = True
    completion: str | None = None
    is_conversation: bool = False
    whole: str | None = None

    @property
    def n_characters(self) -> int:
        """Number of characters in the text and the completion."""
        return len(self.text) + len(self.completion or "")


@dataclass(frozen=True)
class Block:
    """Passages, or unparsed JSON lines (the first has number `first_line`), of the file `path`.

    `position` is the number of bytes read so far from all files of the lot.
    """

    path: Path
    position: int
    part: PartId = (0, 0)
    passages: tuple[Passage, ...] = ()
    lines: bytes = b""
    first_line: int = 1
    split: str | None = None

    @property
    def n_bytes(self) -> int:
        """Number of bytes in the lines, or of characters in the passages."""
        return len(self.lines) + sum(passage.n_characters for passage in self.passages)


@dataclass(frozen=True)
class Lot:
    """Files to read one after the other: one large file, or several small ones."""

    number: int
    sources: tuple[SourceFile, ...]
    field: str = "text"
    share: float = 0  # of documents to draw for valid
    by_passage: bool = False  # draw passages instead of documents
    block_bytes: int = BLOCK_BYTES
    part_bytes: int = PART_BYTES

    def blocks(self, done: frozenset[PartId] = frozenset()) -> Iterator[Block]:
        """Read the files in blocks, each with its part; blocks of the parts in `done` are skipped.

        Raises UsageError naming the invalid file and line.
        """
        return in_parts(self._all(), self.number, self.part_bytes, done)

    def _all(self) -> Iterator[Block]:
        before = 0
        for source in self.sources:
            for block in self._read(source):
                yield replace(block, position=before + block.position)
            before += source.n_bytes

    def _read(self, source: SourceFile) -> Iterator[Block]:
        if source.kind in LINES:
            return read_lines(source, self.block_bytes)
        if source.kind in PARQUET:
            records = read_documents(source.path, self.field)
            documents = (passages_of(record, source.split) for record in records)
            return _grouped(documents, source, self.block_bytes, count_rows(source.path))
        if self.by_passage and self.share:
            block = read_short_text(source, self.block_bytes, self.share)
            if block is not None:
                return iter([block])
        return read_text(source, self.block_bytes, self.share, by_passage=self.by_passage)


def make_lots(
    sources: Sequence[SourceFile],
    field: str,
    share: float,
    block_bytes: int = BLOCK_BYTES,
    part_bytes: int = PART_BYTES,
) -> list[Lot]:
    """Group files, in their order, into lots of about `part_bytes`.

    >>> files = [SourceFile(Path(f"{size}.txt"), size) for size in (30, 40, 500)]
    >>> [len(lot.sources) for lot in make_lots(files, "text", share=0, part_bytes=100)]
    [2, 1]
    """
    lone = len(sources) == 1 and sources[0].split is None and is_plain_text(sources[0].path)
    groups: list[list[SourceFile]] = []
    filled = 0
    for source in sources:
        if not groups or filled + source.n_bytes > part_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(source)
        filled += source.n_bytes
    return [
        Lot(number, tuple(group), field, share, lone, block_bytes, part_bytes) for number, group in enumerate(groups)
    ]


def in_parts(
    blocks: Iterable[Block], lot: int, part_bytes: int = PART_BYTES, done: frozenset[PartId] = frozenset()
) -> Iterator[Block]:
    """Divide a lot's blocks into parts of about `part_bytes`, and skip the blocks of parts in `done`.

    >>> source = SourceFile(Path("memory"), 0, "train")
    >>> blocks = text_blocks(["one", "two", "three", "four"], source, block_bytes=1)
    >>> [block.part for block in in_parts(blocks, lot=0, part_bytes=6)]
    [(0, 0), (0, 0), (0, 1), (0, 1)]
    """
    part = 0
    filled = 0
    for block in blocks:
        if filled >= part_bytes:
            part += 1
            filled = 0
        if (lot, part) not in done:
            placed = replace(block, part=(lot, part))
            yield _reopened(placed) if filled == 0 else placed
        filled += block.n_bytes


def _reopened(block: Block) -> Block:
    """Make the first passage of a part open a document, so that a shard can be read without the previous one."""
    if not block.passages:
        return block
    first, *rest = block.passages
    return replace(block, passages=(replace(first, opens=True), *rest))


def read_lines(source: SourceFile, block_bytes: int) -> Iterator[Block]:
    r"""Read blocks of whole lines.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(f"{directory}/a.jsonl")
    ...     _ = path.write_text('{"text": "A robot"}\n{"text": "must obey"}\n')
    ...     [(block.first_line, block.lines) for block in read_lines(SourceFile(path, 0), block_bytes=30)]
    [(1, b'{"text": "A robot"}\n'), (2, b'{"text": "must obey"}\n')]
    """
    line = 1
    begun: list[bytes] = []  # parts of an incomplete line, joined only once, so that a long line takes linear time
    with open_bytes(source.path) as (stream, position):
        while data := stream.read(block_bytes):
            end = data.rfind(b"\n") + 1
            if end:
                lines = b"".join([*begun, data[:end]])
                begun = []
                yield Block(source.path, position(), lines=lines, first_line=line, split=source.split)
                line += lines.count(b"\n")
            begun.append(data[end:])
        if any(begun):
            yield Block(source.path, position(), lines=b"".join(begun), first_line=line, split=source.split)


def text_blocks(texts: Iterable[str], source: SourceFile, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Group documents into blocks, in their order.

    >>> source = SourceFile(Path("memory"), 0, "train")
    >>> [len(block.passages) for block in text_blocks(["one", "two", "three"], source, block_bytes=6)]
    [2, 1]
    """
    return _grouped(([Passage(text, source.split)] for text in texts), source, block_bytes, 0)


def passages_of(record: Record, split: str | None = None) -> Iterator[Passage]:
    """Yield a record's passages: one, or for a conversation one per message of the assistant.

    >>> from cutaway.data.records import parse_line
    >>> record = parse_line(b'{"prompt": "Who are you?", "completion": " A robot."}', "robots.jsonl:1")
    >>> next(passages_of(record)).completion
    ' A robot.'
    """
    before = ""
    for turn in record.turns:
        if record.is_document:
            yield Passage(turn.completion, split)
        else:
            prompt = turn.prompt.removeprefix(before)
            whole = None if before else record.turns[-1].prompt + record.turns[-1].completion
            yield Passage(prompt, split, not before, turn.completion, record.is_conversation, whole)
        before = turn.prompt + turn.completion


def _grouped(
    documents: Iterable[Iterable[Passage]], source: SourceFile, block_bytes: int, n_documents: int
) -> Iterator[Block]:
    """Group the passages of documents into blocks of whole documents.

    If the number of documents is known, the position is estimated from the share of documents read.
    """
    passages: list[Passage] = []
    filled = 0
    for number, document in enumerate(documents, start=1):
        for passage in document:
            passages.append(passage)
            filled += passage.n_characters
        if filled >= block_bytes:
            position = source.n_bytes * number // n_documents if n_documents else 0
            yield Block(source.path, position, passages=tuple(passages))
            passages = []
            filled = 0
    if passages:
        yield Block(source.path, source.n_bytes, passages=tuple(passages))


def read_text(source: SourceFile, block_bytes: int, share: float, *, by_passage: bool) -> Iterator[Block]:
    """Read a plain text in blocks. It is one document, and is drawn for valid with probability `share`.

    With `by_passage`, passages of `PASSAGE` characters are drawn instead; consecutive passages of one split are a
    document.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(f"{directory}/a.txt")
    ...     _ = path.write_text("A robot must obey")
    ...     blocks = read_text(SourceFile(path, 0), block_bytes=10, share=0, by_passage=False)
    ...     [(passage.text, passage.opens) for block in blocks for passage in block.passages]
    [('A robot', True), (' must', False), (' obey', False)]
    """
    reader = _TextReader(source, share, by_passage)
    with open_bytes(source.path) as (stream, position):
        while data := stream.read(block_bytes):
            passages = reader.push(data)
            if passages:
                yield Block(source.path, position(), passages=passages)
        passages = reader.finish()
        if passages:
            yield Block(source.path, position(), passages=passages)


def read_short_text(source: SourceFile, block_bytes: int, share: float) -> Block | None:
    """Read a text that is too short for random draws as one block, so that some passages are held out nevertheless.

    The text is cut into about twenty passages, or more if they would be longer than `PASSAGE` characters. The `share`
    of passages with the lowest hashes is for valid: at least one, but not all. Returns None for a text in which random
    draws give both splits more than white space, and for a text that is too large to hold in memory. Raises UsageError
    if the text is too short to be cut in two.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(f"{directory}/a.txt")
    ...     _ = path.write_text(" ".join(map(str, range(600))))
    ...     block = read_short_text(SourceFile(path, 1100), block_bytes=BLOCK_BYTES, share=0.1)
    >>> [passage.split for passage in block.passages].count("valid"), len(block.passages)
    (2, 19)
    """
    drawn: set[str | None] = set()
    texts: list[str] = []
    filled = 0
    for block in read_text(source, block_bytes, share, by_passage=True):
        drawn |= {passage.split for passage in block.passages if passage.text.strip()}
        texts += [passage.text for passage in block.passages]
        filled += block.n_bytes
        if len(drawn) == 2 or filled > _SHORT:
            return None
    text = "".join(texts)
    if not text:
        return None  # the writer rejects an empty corpus
    pieces = list(cut_passages(text, min(PASSAGE, max(LEAST_PASSAGE, len(text) // _PASSAGES))))
    held = lowest_digests([_digest(piece) for piece in pieces], share)
    if not held:
        raise UsageError(
            f"{quote_path(source.path)}: is too short to cut off some of it for validation; add to the text, "
            "or give a file to validate on, as --valid FILE"
        )
    splits = ["valid" if _digest(piece) in held else "train" for piece in pieces]
    opens = [True, *(split != before for before, split in pairwise(splits))]
    passages = tuple(map(Passage, pieces, splits, opens))
    return Block(source.path, source.n_bytes, passages=passages)


class _TextReader:
    def __init__(self, source: SourceFile, share: float, by_passage: bool) -> None:
        self._source = source
        self._share = share
        self._by_passage = by_passage
        self._split: str | None = None  # of the previous passage
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""
        self._lines = 1

    def push(self, data: bytes) -> tuple[Passage, ...]:
        """Decode data and return the passages that it completes."""
        text = self._rest + self._decode(data, final=False)
        self._lines += data.count(b"\n")
        cut = last_cut(text, len(self._rest))  # there is no cut before `start`
        if cut == 0 and len(text) > MAX_UNCUT:
            cut = len(text)
        self._rest = text[cut:]
        return self._passages(text[:cut])

    def finish(self) -> tuple[Passage, ...]:
        """Return the passages that are left."""
        return self._passages(self._rest + self._decode(b"", final=True))

    def _decode(self, data: bytes, final: bool) -> str:
        try:
            return self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            place = quote_path(self._source.path)
            line = self._lines + error.object.count(b"\n", 0, error.start)
            if line == 1 and is_utf16(error.object):
                raise UsageError(f"{place}: is UTF-16; save it as UTF-8") from None
            raise UsageError(f"{place}:{line}: not UTF-8 ({error.reason}); save the file as UTF-8") from None

    def _passages(self, text: str) -> tuple[Passage, ...]:
        if not text:
            return ()
        return tuple(self._drawn(piece) for piece in (cut_passages(text) if self._by_passage else (text,)))

    def _drawn(self, text: str) -> Passage:
        kept = None if self._by_passage else self._split
        split = kept or self._source.split or draw_split(text, self._share)
        opens = split != self._split
        self._split = split
        return Passage(text, split, opens)


def draw_split(document: str, share: float) -> str:
    """Draw "valid" with probability `share` from the hash of a document's beginning, else "train".

    >>> [draw_split(text, 0.5) for text in ("a robot", "must obey", "the orders")]
    ['train', 'valid', 'train']
    """
    return "valid" if int.from_bytes(_digest(document)[:8], "big") < share * 2**64 else "train"


def _digest(document: str) -> bytes:
    return hashlib.sha256(document[:_KEY].encode("utf-8", "surrogatepass")).digest()


def last_cut(text: str, start: int = 0) -> int:
    """Return the last index, from `start` on, at which the text can be cut without changing GPT-2's tokens; 0 if none.

    These indices are before a space or line end that follows a printable character. No pre-token crosses such a cut:
    white space begins a pre-token, and the pattern looks ahead only from white space, and never looks behind.

    >>> last_cut("A robot must obey")
    12
    """
    end = len(text)
    while end > start:
        begin = max(start, end - _WINDOW)
        if places := [*_cuts(_CUTS, text, begin, end)]:
            return places[-1]
        end = begin
    return 0


def cut_passages(text: str, size: int = PASSAGE) -> Iterator[str]:
    """Cut a text into passages of `size` characters or a little more, at line ends if there are any nearby.

    >>> [len(passage) for passage in cut_passages("A robot must obey. " * 600)]
    [4097, 7303]
    """
    start = 0
    while len(text) - start > 2 * size:
        cut = _next_cut(_LINE_ENDS, text, start + size, start + 2 * size)
        cut = cut or _next_cut(_CUTS, text, start + size, len(text)) or len(text)
        yield text[start:cut]
        start = cut
    if start < len(text):
        yield text[start:]


def _next_cut(pattern: re.Pattern[str], text: str, start: int, end: int) -> int:
    return next(_cuts(pattern, text, start, end), 0)


def _cuts(pattern: re.Pattern[str], text: str, start: int, end: int) -> Iterator[int]:
    """Yield the indices in [start, end) at which a pattern matches after a printable character."""
    places = (match.start() for match in pattern.finditer(text, start, end))
    return (place for place in places if text[place - 1].isprintable())
