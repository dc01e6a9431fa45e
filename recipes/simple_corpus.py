"""Rebuild the simple English of the corpus: children's books, Alger's novels, news for learners, and dialogues.

Each kind yields its documents in the order of the corpus, and has a rule that splits them. Two kinds are rebuilt only
in part: see docs/corpus.md.
"""

import csv
import hashlib
import json
import lzma
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from recipes import dialogues, gutenberg
from recipes.origins import CorpusError, Document, Record, bucket, clone, existing

LISTS = Path(__file__).parent / "builtin"
GUTENBERG_TEXT = "rcdm-uga/Gutenberg_Text"
KIND_OF_AUTHOR = {"Alger, Horatio, Jr.": "pg-alger", "Wrenn, Charles L. (Charles Lewis)": "pg-boys-series"}
PUBLIC_DOMAIN = "public domain in the USA (Project Gutenberg text, header and trade mark removed)"

# The text of the built-in model: SHA-256 of the training lines followed by the validation lines, and their numbers.
RECORDED = {
    "dialogues-self": ("ff24ad7f1774eb8c608232e676d8c6157738e08118703f2989ff4d07e191cd27", 23172, 226),
    "dialogues-sgd": ("2ec9b0bc25c67d249bff8e258a854c6818b2e84e0c001abf178efa9b89b07889", 4991, 64),
    "dialogues-topical": ("964407c57b121285ddbe9bcdba407709478da0e16ff04aaa24865910524cd421", 2088, 26),
    "fairytaleqa": ("bacda9aa2e6a20cb66454d58d49fcaa9dc822040da0062ec6f41d3195d3176e5", 43, 1),
    "onestopenglish": ("4d205dcc916745dd9741cd22ba9b6fb14ac7efb0f2bcc912816e87f92018511d", 460, 0),
    "pg-alger": ("cce35ee0d0f4072c6d3b75bfcedd276f94a551c4ac2c7f556f3d83a75cf27151", 80, 2),
    "pg-boys-series": ("8758d2649823baeeda0b2ba9a5e2c47e14a494d9ef6229e04a406c14888fa3f1", 12, 1),
    "pg-children": ("b8cbbde1a52aaff57715da64b37ffcf4af6307a453de47f62839de1643c185fc", 318, 9),
    "tinystories": ("6db84ed004bc2388e436b2790a1b1d8ab7542bc10bbb47b89f3efed4c5465c62", 1717, 0),
}
RECORDED_DOCUMENTS = 34_196  # including those that are not rebuilt


@dataclass(frozen=True)
class Kind:
    """A kind of documents: its name, its records from a folder of clones, and the bucket of an index and a title."""

    name: str
    records: Callable[[Path], Iterable[Record]]
    bucket: Callable[[int, str], int]


@dataclass(frozen=True)
class Repository:
    """A repository at a commit that holds one kind of documents: the files to check out, and their reader."""

    kind: str
    name: str
    commit: str
    patterns: tuple[str, ...]
    licence: str
    read: Callable[[Path], Iterator[Document]]

    def records(self, clones: Path) -> Iterator[Record]:
        """Yield every document as a record of the corpus. Raises CorpusError if there are none."""
        folder = clone(clones, self.name, self.commit, self.patterns)
        document = None
        for document in self.read(folder):
            yield {
                "title": document.title,
                "kind": self.kind,
                "source": f"{self.name}@{self.commit}:{document.path}",
                "licence": self.licence,
                "text": document.text,
            }
        if document is None:
            raise CorpusError(f"nothing to read in {folder}; check that it is a clone at {self.commit}")


def listed(kind: str) -> list[str]:
    """Return the sources (repository@commit:path) of one kind in simple-sources.txt.

    >>> listed("pg-children")[2]
    'GITenberg/Heidi_1448@3bbd4c3c6c:1448.txt'
    """
    lines = (LISTS / "simple-sources.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#") and _kind_of(line) == kind]


def _kind_of(source: str) -> str:
    repository, path = source.split(":", 1)
    if repository.startswith("uci-soe/"):
        return "fairytaleqa"
    return KIND_OF_AUTHOR.get(path.split("/")[0], "pg-children")


# Stories and news


def fairy_tales(folder: Path) -> Iterator[Document]:
    """Yield the listed fairy tales, with a paragraph for each section."""
    for source in listed("fairytaleqa"):
        path = source.split(":", 1)[1]
        with existing(folder / path).open(encoding="utf-8-sig", newline="") as file:
            text = "\n\n".join(" ".join(row["text"].split()) for row in csv.DictReader(file))
        yield Document(Path(path).stem.removesuffix("-story").replace("-", " "), path, text)


def news(folder: Path) -> Iterator[Document]:
    """Yield the elementary and intermediate articles, with a line for each paragraph, without repetitions."""
    seen = set[str]()
    for path in sorted((folder / "Texts-SeparatedByReadingLevel").glob("*/**/*.txt"), key=str):
        if path.relative_to(folder).parts[1] in ("Ele-Txt", "Int-Txt"):
            lines = [line for line in tidy(gutenberg.decode(path.read_bytes())).split("\n") if line.strip(" ")]
            text = "\n".join(x for x in lines if x.strip().lower() not in ("elementary", "intermediate")).strip()
            words = "".join(re.findall(r"\w+", text.lower()))
            if words not in seen:
                seen.add(words)
                yield Document(re.sub("-(ele|int)$", "", path.stem).strip(), path.relative_to(folder).as_posix(), text)


def tiny_stories(folder: Path) -> Iterator[Document]:
    """Yield the stories that end in the punctuation of a sentence."""
    path = folder / "data" / "tinystories_10k.txt"
    for part in existing(path).read_text(encoding="utf-8").split("<|endoftext|>"):
        text = re.sub(r"\n{3,}", "\n\n", tidy(part)).strip()
        if text.endswith(tuple(".!?\"”'’")):
            yield Document("", path.relative_to(folder).as_posix(), text)


def tidy(text: str) -> str:
    r"""Replace runs of blanks by one space, and remove them at the ends of lines.

    >>> tidy("one\t two \n three")
    'one two\n three'
    """
    return re.sub(r" +\n", "\n", re.sub(r"[ \t\xa0]+", " ", text))


def books(kind: str, clones: Path) -> Iterator[Record]:
    """Yield the listed books of one kind, from Gutenberg_Text or from a repository of their own."""
    return (_book(kind, source, clones) for source in listed(kind))


def _book(kind: str, source: str, clones: Path) -> Record:
    origin, path = source.split(":", 1)
    repository, commit = origin.split("@")
    record = {"kind": kind, "source": source, "licence": PUBLIC_DOMAIN}
    if repository == GUTENBERG_TEXT:
        author, name = path.split("/", 1)
        folder = clone(clones, repository, commit, _author_folders())
        names = {file.name.replace("\r", " "): file for file in (folder / author).glob("*.txt")}
        text = gutenberg.decode(existing(names.get(name, folder / path)).read_bytes())
        title = name.removesuffix(".txt")
    else:
        folder = clone(clones, repository, commit, (f"/{path}",))
        text = gutenberg.decode(existing(folder / path).read_bytes())
        title = " ".join(gutenberg.field(text, "Title").split()) or re.sub(r"_\d+$", "", folder.name).replace("-", " ")
        author = gutenberg.field(text, "Author").partition("\n")[0]
    return {"title": title, **record, **({"author": author} if author else {}), "text": gutenberg.story(text)}


def _author_folders() -> tuple[str, ...]:
    sources = (source for kind in ("pg-alger", "pg-boys-series", "pg-children") for source in listed(kind))
    paths = (source.split(":", 1)[1] for source in sources if source.startswith(GUTENBERG_TEXT))
    return tuple(dict.fromkeys(f"/{path.split('/')[0]}/" for path in paths))


# All kinds


def by_title(index: int, title: str) -> int:
    """Return the bucket of a title."""
    return bucket(title)


def by_number(index: int, title: str) -> int:
    """Return the bucket of a title and an index, for dialogues that share a title."""
    return bucket(f"{title}{index}")


def every_book(index: int, title: str) -> int:
    """Return the bucket of a book: one in forty is for validation, and one, which is not listed, was set aside."""
    return 2 if index % 39 == 6 else 3


def all_train(index: int, title: str) -> int:
    """Return a bucket for training."""
    return 3


SELF_DIALOGUES = Repository(
    "dialogues-self",
    "jfainberg/self_dialogue_corpus",
    "113a1b0ff1",
    ("/blocked_workers.txt", "/corpus/"),
    "BSD-3-Clause (repo LICENSE)",
    dialogues.self_dialogues,
)
ASSISTANTS = Repository(
    "dialogues-sgd",
    "google-research-datasets/dstc8-schema-guided-dialogue",
    "e852981ae3",
    ("/dev/", "/test/", "/train/dialogues_00[12].json"),
    "CC BY-SA 4.0",
    dialogues.assistant_dialogues,
)
TOPICAL = Repository(
    "dialogues-topical",
    "alexa/Topical-Chat",
    "7c939229cb",
    ("/conversations/test_*.json", "/conversations/valid_*.json"),
    "CDLA-Sharing-1.0",
    dialogues.topical_dialogues,
)
FAIRY_TALES = Repository(
    "fairytaleqa",
    "uci-soe/FairytaleQAData",
    "a24ddc1736",
    ("/data-by-origin/section-stories/",),
    "public domain stories (Project Gutenberg); compilation Apache-2.0",
    fairy_tales,
)
NEWS = Repository(
    "onestopenglish",
    "nishkalavallabhi/OneStopEnglishCorpus",
    "37f8db3945",
    ("/Texts-SeparatedByReadingLevel/Ele-Txt/", "/Texts-SeparatedByReadingLevel/Int-Txt/"),
    "CC BY-SA 4.0",
    news,
)
TINY_STORIES = Repository(
    "tinystories",
    "mines-opt-ml/decoding-gpt",
    "79274e31fe",
    ("/data/",),
    "CDLA-Sharing-1.0 (data set TinyStories)",
    tiny_stories,
)
KINDS = (  # in the order of the corpus
    Kind("dialogues-self", SELF_DIALOGUES.records, by_number),
    Kind("dialogues-sgd", ASSISTANTS.records, by_number),
    Kind("dialogues-topical", TOPICAL.records, by_number),
    Kind("fairytaleqa", FAIRY_TALES.records, by_title),
    Kind("onestopenglish", NEWS.records, by_title),
    Kind("pg-alger", partial(books, "pg-alger"), every_book),
    Kind("pg-boys-series", partial(books, "pg-boys-series"), every_book),
    Kind("pg-children", partial(books, "pg-children"), every_book),
    Kind("tinystories", TINY_STORIES.records, all_train),
)


def split(kind: Kind, clones: Path) -> tuple[list[bytes], list[bytes]]:
    """Return the training lines and the validation lines of one kind."""
    train = []
    valid = []
    for index, record in enumerate(kind.records(clones)):
        place = kind.bucket(index, record["title"])
        line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
        if place == 2:
            valid.append(line)
        elif place > 2:
            train.append(line)
    return train, valid


def is_recorded(kind: str, train: list[bytes], valid: list[bytes]) -> bool:
    """Return True if the built-in model was trained on exactly these lines of one kind."""
    return (hashlib.sha256(b"".join(train + valid)).hexdigest(), len(train), len(valid)) == RECORDED[kind]


def build(clones: Path, out: Path) -> None:
    """Write simple-train.jsonl.xz and simple-valid.jsonl.xz, and the list of the other books that are simple too.

    Prints whether each kind is the recorded text, and at the end the number of documents that are.
    """
    out.mkdir(parents=True, exist_ok=True)
    same = 0
    with (
        lzma.open(out / "simple-train.jsonl.xz", "wb") as train_file,
        lzma.open(out / "simple-valid.jsonl.xz", "wb") as valid_file,
    ):
        for kind in KINDS:
            train, valid = split(kind, clones)
            train_file.writelines(train)
            valid_file.writelines(valid)
            recorded = is_recorded(kind.name, train, valid)
            same += (len(train) + len(valid)) * recorded
            _, n_train, n_valid = RECORDED[kind.name]
            said = (
                "the recorded text" if recorded else f"differs from the recorded text, which has {n_train} + {n_valid}"
            )
            print(f"{kind.name}: {len(train)} + {len(valid)} documents, {said}")
    print(f"simple: {same:,} of the {RECORDED_DOCUMENTS:,} recorded documents are identical")
