"""Rebuild the corpus of the built-in model from the public repositories that it was made from.

    python -m recipes.corpus --out recipes/out/corpus --sources recipes/out/sources

clones the repositories that are missing in `--sources`, writes `books-*.jsonl.xz`, `wikipedia-*.jsonl.xz` and
`simple-*.jsonl.xz` (recipes/simple_corpus.py) into `--out`, and reports for each part whether it is the text that the
built-in model was trained on. docs/corpus.md describes what is known about that text.
"""

import argparse
import hashlib
import json
import lzma
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET
from zlib import crc32

from recipes import simple_corpus
from recipes.origins import CorpusError, Record, clone, is_small

MIN_ARTICLE = 400  # characters; shorter articles are mostly redirects, and lists whose items the extractor dropped
WINDOW = 12  # words; books share as many in a row only by quoting, not by chance
SAMPLED = 64  # one window in 64, chosen by a hash of its words, so that two copies of a text are sampled alike
REPEATED = 6  # a book is left out if a sixth of its windows occurs in the books before it
BOOK_SHARDS = 3

# The training text of the built-in model: SHA-256 of the uncompressed lines, and the number of lines.
RECORDED = {
    "books-train-0": ("c0b99f2d171731d576765f246961384524e93d679c3329691542307d2796dc81", 276),
    "books-train-1": ("959ea6a888d6fd89a32a4c5ae0173f8099c985c4f67c53beb8f97865da255b2c", 302),
    "books-train-2": ("8553a257f9ef08f230248d6cee5025b683296c5a5b0483c44e343379234ff05e", 287),
    "books-valid": ("530f40d87c41b905f4ca9ce39cce084a9010642b0ffff11b1e1a69fb367633c7", 10),
    "wikipedia-train": ("2cda644c383ae165277d1b2b50fb93d6d6057dededd766116419855bb905cb9f", 22339),
    "wikipedia-valid": ("77da6605928b388d6db4bd4a81fdb9bdab49ec9f89142f8754b95126de839c5f", 227),
}


def read(path: Path) -> str:
    """Return the text of a file with newlines as one character. Invalid UTF-8 (lost accents) is dropped."""
    return unicodedata.normalize("NFC", path.read_text(encoding="utf-8", errors="ignore").removeprefix("\ufeff"))


def clean(text: str) -> str:
    """Return one line, with one space between words. Other white space (thin, em, a tab inside a line) is kept."""
    return re.sub("[ \n\xa0]+", " ", "\n".join(line.strip() for line in text.split("\n"))).strip()


def paragraphs(parts: Iterable[str]) -> str:
    """Join the non-empty parts with blank lines between them."""
    return "\n\n".join(part for part in parts if part)


def markdown(path: Path) -> Iterator[Record]:
    """Yield one book of classic-books-markdown: `# Title:`, `## Author:`, `## Year:`, a line of dashes, the text.

    The marks of headings are removed, and those of emphasis that opens and closes on one line (with either mark). Rules
    are removed, and two hyphens become a dash. A file without the header yields nothing.
    """
    head, *rest = re.split(r"^-{3,}[ \t]*$", read(path), maxsplit=1, flags=re.MULTILINE)
    fields = {name: value.strip() for name, value in re.findall(r"^#+ (Title|Author|Year):(.*)$", head, re.MULTILINE)}
    if rest and "Title" in fields:
        body = re.sub(r"\\([-.+*])", r"\1", rest[0].replace("\ufeff", ""))
        body = re.sub(r"^#+[ \t]*", "", body, flags=re.MULTILINE)
        body = re.sub(r"\*\*(.+?)\*\*", r"\1", body)
        body = re.sub(r"(?<!\w)[*_](\S.*?\S|\S)[*_](?!\w)", r"\1", body)
        body = re.sub(r"^-{3,}[ \t]*$", "", body, flags=re.MULTILINE).replace("--", "—")
        text = paragraphs(map(clean, re.split(r"\n\s*\n", body)))
        yield {"title": "", "author": "", "year": "", **{k.lower(): v for k, v in fields.items()}, "text": text}


def tei(path: Path) -> Iterator[Record]:
    """Yield one novel of ELTeC, level 1: the headings, paragraphs and verse lines of its body.

    A verse line inside a paragraph occurs twice, in the paragraph and by itself, as in the recorded text.
    """
    source = read(path)
    if "<!DOCTYPE" in source:  # the only place to declare entities, which can expand without bound
        raise CorpusError(f"{path} declares a document type, which no file of ELTeC does; check the clone")
    try:
        root = ET.fromstring(source)
    except ET.ParseError as error:
        raise CorpusError(f"{path} is not well-formed XML ({error}); check the clone") from None
    title, author, body = map(root.find, (".//{*}titleStmt/{*}title", ".//{*}titleStmt/{*}author", ".//{*}body"))
    if title is None or author is None or body is None:
        raise CorpusError(f"{path} lacks a title, an author or a body; check that it is a TEI edition of level 1")
    yield {
        "title": flat(title).partition(":")[0].strip(),
        "author": re.sub(r"\s*\(.*", "", flat(author)),  # without the years of birth and death
        "year": "",
        "text": paragraphs(flat(part) for part in body.iter() if part.tag.rpartition("}")[2] in ("head", "p", "l")),
    }


def flat(element: ET.Element) -> str:
    """Return all text inside an element on one line; line ends and indentation have no meaning."""
    return " ".join("".join(element.itertext()).split())


def plain(path: Path) -> Iterator[Record]:
    """Yield one novel of 100_english_novels, `Author_Title_year.txt`, with paragraphs separated by empty lines."""
    author, _, title = path.stem.partition("_")
    text = paragraphs(map(clean, re.split(r"\n\s*\n", read(path))))
    yield {"title": title.replace("_", " "), "author": author, "year": "", "text": text}


def wiki(path: Path) -> Iterator[Record]:
    """Yield the English articles of a WikiExtractor file: each line is a paragraph, and the first repeats the title."""
    document = r'^<doc id="[^"\n]*" url="([^"\n]*)" title="([^\n]*)">\n(.*?)^</doc>'
    for url, title, body in re.findall(document, read(path), re.MULTILINE | re.DOTALL):
        if "//" not in url or "//en." in url:
            yield {"title": title, "text": paragraphs(map(clean, body.split("\n")[1:]))}


@dataclass(frozen=True)
class Source:
    """A public repository at one commit, with the files to read and their reader."""

    repository: str
    commit: str
    pattern: str
    parse: Callable[[Path], Iterator[Record]]
    label: str = ""  # source named in its records, if not the repository

    @property
    def name(self) -> str:
        return self.repository.split("/")[1]

    def clone(self, clones: Path) -> Path:
        """Return the clone inside `clones`; clone if it is missing. An existing clone must be at the commit."""
        return clone(clones, self.repository, self.commit, (f"/{self.pattern}",))

    def records(self, folder: Path) -> Iterator[Record]:
        """Yield every book or article, in the order of the paths."""
        for path in sorted(folder.glob(self.pattern)):
            if path.is_file() and ".git" not in path.parts and is_small(path):
                for record in self.parse(path):
                    text = record.pop("text")
                    yield {**record, "source": self.label or self.name, "text": text}


BOOKS = (  # in this order: a later book that repeats an earlier one is left out
    Source("mlschmitt/classic-books-markdown", "944882722e", "*/*.md", markdown),
    Source("COST-ELTeC/ELTeC-eng", "3db3b6738a", "level1/*.xml", tei),
    Source("computationalstylistics/100_english_novels", "143e601875", "corpus/*.txt", plain),
)
ARTICLES = (
    Source("Vibhas-hs-edu/WikiTasks", "52b1f16313", "text/AA/wiki_*", wiki, "en.wikipedia"),
    Source("ugolbck/WikiSearchEngine", "dc9d4adc9b", "**/*", wiki, "en.wikipedia"),
)


def new_books() -> Callable[[Record], bool]:
    """Return a predicate for new books: neither their author and title nor a sixth of their windows occurred before."""
    keys = set[tuple[str, ...]]()
    seen = set[str]()

    def is_new(book: Record) -> bool:
        key = (*sorted(words(book["author"])), "|", *words(book["title"]))  # "Eliot, George" is "George Eliot"
        windows = sample(words(book["text"]))
        if key in keys or REPEATED * len(windows & seen) >= max(len(windows), 1):
            return False
        keys.add(key)
        seen.update(windows)
        return True

    return is_new


def words(text: str) -> list[str]:
    """Return the lower-case words without punctuation, since editions differ in punctuation most."""
    return re.findall(r"\w+", text.lower())


def sample(tokens: list[str]) -> set[str]:
    """Return one in `SAMPLED` of the runs of `WINDOW` words, chosen by a hash of the words."""
    windows = (" ".join(tokens[i : i + WINDOW]) for i in range(len(tokens) - WINDOW + 1))
    return {window for window in windows if crc32(window.encode()) % SAMPLED == 0}


def new_articles() -> Callable[[Record], bool]:
    """Return a predicate for articles that are long enough and have a new title."""
    titles = set[str]()

    def is_new(article: Record) -> bool:
        if len(article["text"]) < MIN_ARTICLE or article["title"] in titles:
            return False
        titles.add(article["title"])
        return True

    return is_new


def gather(sources: Iterable[Source], clones: Path, is_new: Callable[[Record], bool]) -> Iterator[Record]:
    """Yield the new records of all sources in turn, and print a line about each source."""
    for source in sources:
        found = kept = 0
        for record in source.records(source.clone(clones)):
            found += 1
            if is_new(record):
                kept += 1
                yield record
        if not found:
            raise CorpusError(f"nothing to read in {clones / source.name}; check that it is a clone at {source.commit}")
        print(f"{source.name}: {found} read, {kept} kept")


def split(records: Iterable[Record]) -> tuple[list[tuple[str, bytes]], list[bytes]]:
    """Return training lines, each with the hash of its title, and validation lines; buckets 0 and 1 are left out."""
    train = []
    valid = []
    for record in records:
        digest = hashlib.sha256(record["title"].encode()).hexdigest()
        line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
        if int(digest, 16) % 100 == 2:
            valid.append(line)
        elif int(digest, 16) % 100 > 2:
            train.append((digest, line))
    return train, valid


def shards(train: list[tuple[str, bytes]]) -> list[list[bytes]]:
    """Return the lines in the order of their hashes, in `BOOK_SHARDS` parts of about equal size in bytes."""
    parts: list[list[bytes]] = [[] for _ in range(BOOK_SHARDS)]
    total = sum(len(line) for _, line in train)
    before = 0
    for _, line in sorted(train, key=lambda item: item[0]):
        parts[BOOK_SHARDS * before // total].append(line)
        before += len(line)
    return parts


def write(out: Path, name: str, lines: list[bytes]) -> None:
    """Write `name`.jsonl.xz and print whether its text is the recorded text."""
    with lzma.open(out / f"{name}.jsonl.xz", "wb") as file:
        file.writelines(lines)
    same = (hashlib.sha256(b"".join(lines)).hexdigest(), len(lines)) == RECORDED[name]
    verdict = "the recorded text" if same else f"differs from the recorded text, which has {RECORDED[name][1]}"
    print(f"{name}: {len(lines)} lines, {verdict}")


def build(clones: Path, out: Path) -> None:
    """Read all sources of books and articles, then write their files."""
    train, valid = split(gather(BOOKS, clones, new_books()))
    files = {f"books-train-{i}": part for i, part in enumerate(shards(train))} | {"books-valid": valid}
    train, valid = split(gather(ARTICLES, clones, new_articles()))
    files |= {"wikipedia-train": [line for _, line in train], "wikipedia-valid": valid}
    out.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        write(out, name, lines)


def main() -> int:
    """Build everything; return exit status 1 for an invalid or missing source."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the .jsonl.xz files")
    parser.add_argument("--sources", type=Path, help="folder of the clones, where missing ones are made")
    arguments = parser.parse_args()
    clones = arguments.sources or arguments.out.with_name("sources")
    try:
        build(clones, arguments.out)
        simple_corpus.build(clones, arguments.out)
    except CorpusError as error:
        print(f"corpus.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
