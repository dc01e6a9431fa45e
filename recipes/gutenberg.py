"""Extract the story from a book of Project Gutenberg: prose and verse, without front matter, headings or notices.

The training text was made with these rules, which were reconstructed by comparing it with its sources. They are crude
on purpose (an advertisement at the end of a book stays if no rule recognizes it), and every number in them matters.
"""

import re

BRACKETED = re.compile(r"\[(Illustration|Footnote|Frontispiece|Picture|Note|Transcriber)[^\]]{0,1500}\]")
FOOTNOTE_MARK = re.compile(r"\[\d{1,3}\]|\[[A-Z]\]|\{\d+\}")
BOLD = re.compile(r"=([^=\n]+)=")
RULE = re.compile(r"^[ \t]*\*[ \t*]*$", re.MULTILINE)  # a line of asterisks
SENTENCE_END = re.compile(r"[.!?:;,\"'”’—-]$")
PAGE_NUMBER = re.compile(r"(\d+|[ivxlc]{2,})$", re.IGNORECASE)
CHAPTER = re.compile(r"(chapter|book|part|story) +[\divxlc]+\b", re.IGNORECASE)
NOTICE = re.compile(  # of a publisher, a printer or a transcriber
    r"\b(author of|cents per|illustrated by|produced by|printed in|publishers|copyright|12mo|8vo|postpaid|transcriber"
    r"|ebook|e-text)\b|price,?\s*(\$\d[.,]|\d+\.\d\d)|\b\d+ cents\b|^obvious (typo|punct|printer)|all rights reserved"
    r"|^pp?\. ?\d|^page \d|^the following (typographic|corrections)|^inconsisten|^the original spelling"
    r"|^minor punctuation|\bcloth bound|^--in the text version",
    re.IGNORECASE,
)
PREFACE = re.compile(
    r"gutenberg|https?:|archive.org|etext"
    r"|^(the (author|editor)|this (book|volume)|to the memory|illustration captions)",
    re.IGNORECASE,
)
THE_END = re.compile(r"(CHAPTER X\. )?(THE END|The End|FINIS)\W*$")
NOTICE_OF_THE_END = re.compile(r"(end of )?(the )?project gutenberg", re.IGNORECASE)


def decode(data: bytes) -> str:
    """Decode a file as UTF-8, or else as Windows-1252, with newlines as one character.

    >>> decode(b"caf\\xe9\\r\\n"), decode("café".encode())
    ('café\\n', 'café')
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def field(text: str, name: str) -> str:
    """Return the field `name` of the header with its continuation lines; empty if it is missing.

    >>> field("Title: Rollo at Play\\n       Safe Amusements\\n\\nAuthor: Jacob Abbott\\n", "Author")
    'Jacob Abbott'
    """
    found = re.search(rf"^{name}:[ \t]*(.*(?:\n[ \t]+\S.*)*)", text, re.MULTILINE)
    return found[1].strip() if found else ""


def story(text: str) -> str:
    r"""Return the paragraphs of the story, separated by blank lines; verse keeps its lines.

    >>> line = "Once upon a time there lived a " + "very " * 30 + "small _dog_."
    >>> story(f"CHAPTER I.\n\n{line}\n\n[Illustration: A dog]\n\nIt ran\naway.\n\nTHE END.\n")[-24:]
    'small dog.\n\nIt ran away.'
    """
    paragraphs = _before_the_end(_paragraphs(_body(text)))
    kept = [(place, _reflow(lines)) for place, lines in enumerate(paragraphs) if not _is_furniture(lines)]
    first = next((i for i, (place, text) in enumerate(kept) if place < 300 and _opens(text)), 0)
    return "\n\n".join(text for _, text in kept[first:])


def _body(text: str) -> str:
    """Return the text between the markers of Project Gutenberg, including old ones (*END*THE SMALL PRINT)."""
    start = re.search(r"\*END(\*? ?|\* )THE SMALL PRINT.*\n", text)
    if not start or start.end() > len(text) / 2:  # some books have the small print at the end
        start = re.search(r"\*\*\* ?START.*\n", text)
    text = text[start.end() :] if start else text
    return re.split(r"\*\*\* ?END OF.*\n", text, maxsplit=1)[0]


def _paragraphs(text: str) -> list[list[str]]:
    """Return the lines of each paragraph, without marks of emphasis, footnotes and captions."""
    text = BOLD.sub(r"\1", BRACKETED.sub("", text).replace("_", ""))
    text = RULE.sub("", FOOTNOTE_MARK.sub("", text))
    parts = ([line.strip() for line in part.split("\n") if line.strip()] for part in re.split(r"\n\s*\n", text))
    return [lines for lines in parts if lines]


def _before_the_end(paragraphs: list[list[str]]) -> list[list[str]]:
    """Cut after the story: at the last THE END in the last two fifths, or at the notice of Project Gutenberg."""
    joined = [" ".join(lines) for lines in paragraphs]
    ends = [i for i, text in enumerate(joined) if THE_END.match(text) and i > 0.6 * len(joined)]
    stop = ends[-1] if ends else len(joined)
    notices = (i for i in range(stop * 3 // 4, stop) if NOTICE_OF_THE_END.match(joined[i]))
    return paragraphs[: next(notices, stop)]


def _is_verse(lines: list[str]) -> bool:
    """Recognize verse: three or more short lines, most of which begin with a capital or a quotation mark."""
    capitals = sum(bool(re.match("[A-Z\"'“‘]", line)) for line in lines)
    return len(lines) >= 3 and max(map(len, lines)) < 52 and capitals >= 0.7 * len(lines)


def _is_contents(lines: list[str]) -> bool:
    """Recognize a table of contents: most lines end in a number ("will" and "shall" count as Roman numerals)."""
    return len(lines) >= 2 and sum(bool(PAGE_NUMBER.search(line)) for line in lines) > 0.5 * len(lines)


def _is_capitals(text: str) -> bool:
    """Recognize a heading, a name or a rule by its letters: more than 70 % capitals, or none at all."""
    letters = [c for c in text if c.isalpha()]
    return len(text) < 160 and (not letters or 10 * sum(c.isupper() for c in letters) > 7 * len(letters))


def _is_furniture(lines: list[str]) -> bool:
    """Recognize paragraphs outside the story: headings, contents, and notices of publisher and transcriber."""
    text = _squeeze(" ".join(lines))
    return (
        _is_capitals(text)
        or _is_contents(lines)
        or (len(text) < 90 and bool(CHAPTER.match(text)))
        or (len(text) < 70 and not _is_verse(lines) and not SENTENCE_END.search(text))
        or (len(text) < 900 and bool(NOTICE.search(text)))
    )


def _opens(text: str) -> bool:
    """Recognize the first paragraph of a story: a full paragraph of prose that is not a remark about the book."""
    return len(text) >= 140 and "\n" not in text and text[-1] in ".!?:;\"”'’" and not PREFACE.search(text)


def _reflow(lines: list[str]) -> str:
    return "\n".join(map(_squeeze, lines)) if _is_verse(lines) else _squeeze(" ".join(lines))


def _squeeze(text: str) -> str:
    """Replace runs of white space by one space each. A single tab is kept."""
    return re.sub(r"\s{2,}|\xa0", " ", text)
