"""Whole preparations: the same bytes whoever does them, however often they are stopped."""

import errno
import hashlib
import json
import lzma
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutaway.data.dataset import open_dataset
from cutaway.data.manifest import Manifest
from cutaway.data.prepare import Progress, prepare
from cutaway.data.writer import _write_array
from cutaway.errors import CutawayError, UsageError
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.reading import read_tokenizer
from cutaway.tokenizer.train import train_vocabulary, write_trained
from tests.data.test_sources import write_parquet

LAWS = """
    A robot may not injure a human being or, through inaction, allow a human being to come to harm. A robot must obey
    the orders given it by human beings, except where such orders would conflict with the First Law. A robot must
    protect its own existence as long as such protection does not conflict with the First or Second Law.
    x += 1 print("{}") 3.14159 don't 1,234,567 ... <|endoftext|> naïve 机器人 🤖
"""
WORDS = LAWS.split()


def text(seed: int, words: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text of every kind: 120 documents and one long text."""
    folder = tmp_path_factory.mktemp("corpus")
    records = [json.dumps({"text": text(seed, 60)}) + "\n" for seed in range(80)]
    (folder / "a.jsonl").write_text("".join(records[:40]), encoding="utf-8")
    (folder / "b.jsonl.xz").write_bytes(lzma.compress("".join(records[40:]).encode()))
    (folder / "c.txt").write_text(text(1000, 8000), encoding="utf-8")
    write_parquet(folder / "d.parquet", text=[text(seed, 60) for seed in range(2000, 2040)])
    return folder


prepare_small = partial(prepare, block_bytes=3000, part_bytes=20_000)


def digests(directory: Path) -> dict[str, str]:
    """SHA-256 of every file below a directory."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def expected(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("expected") / "tokens"
    prepare_small([corpus], out, valid=0.1)
    return digests(out)


@pytest.mark.slow
def test_the_corpus_holds_every_document_once(corpus: Path, expected: dict[str, str], tmp_path: Path) -> None:
    seen: list[Progress] = []
    manifest = prepare_small([corpus], tmp_path / "tokens", valid=0.1, progress=seen.append)
    assert digests(tmp_path / "tokens") == expected
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    assert seen[-1].done == seen[-1].total == sum(source.bytes for source in manifest.sources)
    assert seen[-1].tokens == sum(split.tokens for split in manifest.splits.values())
    assert not (tmp_path / "tokens" / "progress.jsonl").exists()
    dataset = open_dataset(tmp_path / "tokens")
    assert dataset.manifest == manifest
    texts = []
    for name in ("train", "valid"):
        split = dataset.split(name)
        ids = [split.ids[split.document(index)].tolist() for index in range(split.n_documents)]
        assert all(document[0] == 50256 and 50256 not in document[1:] for document in ids)
        texts += [Tokenizer.gpt2().decode(document[1:]) for document in ids]
        assert split.n_bytes == sum(len(Tokenizer.gpt2().decode(document[1:]).encode()) for document in ids)
        assert split.n_tokens == manifest.splits[name].learned_tokens
    short = [text(seed, 60) for seed in (*range(80), *range(2000, 2040))]
    assert set(short) <= set(texts)
    assert "".join(part for part in texts if part not in short) == text(1000, 8000)
    assert manifest.control_literals == sum(part.count("<|endoftext|>") for part in [*short, text(1000, 8000)]) > 0
    assert len(manifest.splits["train"].shards) > 3


def test_the_hashes_are_those_of_the_files(corpus: Path, tmp_path: Path) -> None:
    manifest = prepare([corpus / "a.jsonl"], tmp_path / "tokens")
    [shard] = manifest.splits["train"].shards
    stem = tmp_path / "tokens" / shard.file.removesuffix(".tokens.npy")
    data = b"".join(Path(f"{stem}{suffix}").read_bytes() for suffix in (".tokens.npy", ".documents.npy"))
    assert shard.sha256 == hashlib.sha256(data).hexdigest()
    files = sorted((tmp_path / "tokens" / "tokenizer").iterdir())
    assert manifest.tokenizer.sha256 == hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_the_bytes_are_the_same_whatever_the_number_of_workers(
    corpus: Path, expected: dict[str, str], tmp_path: Path, workers: int
) -> None:
    prepare_small([corpus], tmp_path / "tokens", valid=0.1, workers=workers)
    assert digests(tmp_path / "tokens") == expected


class Stopped(Exception):
    """Raised in place of a signal."""


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 5, 12, 25])
def test_stopped_and_resumed_equals_uninterrupted(
    corpus: Path, expected: dict[str, str], tmp_path: Path, after: int
) -> None:
    def stop_at(count: int) -> list[Progress]:
        seen: list[Progress] = []

        def stop(progress: Progress) -> None:
            seen.append(progress)
            if len(seen) == count:
                raise Stopped

        try:
            prepare_small([corpus], tmp_path / "tokens", valid=0.1, progress=stop)
        except Stopped:
            assert not (tmp_path / "tokens" / "manifest.json").exists()
        return seen

    stopped_at = stop_at(after)[-1]
    resumed_at = stop_at(10**9)[0]
    assert digests(tmp_path / "tokens") == expected
    assert resumed_at.tokens > stopped_at.tokens - 15_000  # those of a part, which is encoded again


@pytest.mark.slow
@pytest.mark.usefixtures("heeded_signals")
def test_a_process_that_is_killed_leaves_what_continues(corpus: Path, expected: dict[str, str], tmp_path: Path) -> None:
    """With workers, which must end too, at moments that nobody chose."""
    script = (
        "import sys, time; from cutaway.data.prepare import prepare\n"
        "if __name__ == '__main__': prepare([sys.argv[1]], sys.argv[2], valid=0.1, workers=2, block_bytes=3000, "
        "part_bytes=20000, progress=lambda _: time.sleep(0.02))"
    )
    (tmp_path / "run.py").write_text(script)
    command = [sys.executable, str(tmp_path / "run.py"), str(corpus), str(tmp_path / "tokens")]
    log = tmp_path / "tokens" / "progress.jsonl"
    for parts, number in ((2, signal.SIGKILL), (4, signal.SIGINT)):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") > parts):
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait() != 0
        with log.open("ab") as file:
            file.write(b'{"part": [')  # as a crash of the machine can leave it
    assert subprocess.run(command, check=True).returncode == 0
    assert digests(tmp_path / "tokens") == expected


@pytest.mark.slow
def test_one_file_needs_no_list(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("A robot must obey")
    assert [prepare(each, tmp_path / type(each).__name__).splits["train"].tokens for each in (str(text), text)] == [
        5,
        5,
    ]


def test_valid_may_be_files_of_its_own(corpus: Path, tmp_path: Path) -> None:
    prepare([corpus / "a.jsonl"], tmp_path / "tokens", valid=[corpus / "d.parquet"])
    dataset = open_dataset(tmp_path / "tokens")
    assert dataset.split("train").n_documents == dataset.split("valid").n_documents == 40


@pytest.mark.parametrize("split", ["train", "valid"])
def test_every_split_is_verified(corpus: Path, tmp_path: Path, split: str) -> None:
    prepare([corpus / "a.jsonl"], tmp_path / "tokens", valid=[corpus / "b.jsonl.xz"])
    open_dataset(tmp_path / "tokens").verify()
    shard = tmp_path / "tokens" / f"{split}-00000.tokens.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(UsageError, match=rf"{split}-00000\.\*\.npy: changed since"):
        open_dataset(tmp_path / "tokens").verify()


@pytest.mark.slow
def test_one_text_gives_both_splits(corpus: Path, tmp_path: Path) -> None:
    prepare([corpus / "c.txt"], tmp_path / "tokens", valid=0.2)
    dataset = open_dataset(tmp_path / "tokens")
    train = dataset.split("train").n_bytes
    valid = dataset.split("valid").n_bytes
    assert train + valid == len(text(1000, 8000).encode())
    assert 0.05 < valid / (train + valid) < 0.4


def test_masks_of_some_shards_become_masks_of_all(tmp_path: Path) -> None:
    pairs = [{"prompt": text(seed, 30), "completion": " yes"} for seed in range(5)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text(seed, 30)}) + "\n" for seed in range(5)))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    manifest = prepare(
        [tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "tokens", part_bytes=300, block_bytes=100
    )
    assert manifest.masked
    assert len(manifest.splits["train"].shards) > 2
    split = open_dataset(tmp_path / "tokens").split("train")
    assert split.learned is not None
    learned = [split.learned[split.document(index)].tolist() for index in range(10)]
    assert all(all(mask) for mask in learned[:5])
    assert all(mask[0] and mask[-1] and not any(mask[1:-1]) for mask in learned[5:])
    assert manifest.splits["train"].learned_tokens == sum(map(sum, learned))
    for shard in manifest.splits["train"].shards:
        stem = tmp_path / "tokens" / shard.file.removesuffix(".tokens.npy")
        data = b"".join(Path(f"{stem}.{name}.npy").read_bytes() for name in ("tokens", "documents", "learned"))
        assert shard.sha256 == hashlib.sha256(data).hexdigest()


CHAT = {"messages": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "A robot."}]}


def test_conversations_to_train_on_are_recorded(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "A robot must obey."}\n{"prompt": "User: Who?", "completion": " A robot."}\n')
    chats = tmp_path / "chats.jsonl"
    chats.write_text(json.dumps(CHAT))
    table = tmp_path / "chats.parquet"
    write_parquet(table, messages=[CHAT["messages"]])
    cases: list[tuple[list[Path], list[Path], bool]] = [
        ([texts], [], False),
        ([texts], [chats], False),
        ([texts, chats], [], True),
        ([table, texts], [], True),
    ]
    for number, (files, held, expected) in enumerate(cases):
        directory = tmp_path / f"tokens-{number}"
        manifest = prepare(files, directory, valid=held, part_bytes=100, block_bytes=50)
        assert manifest.has_conversations is expected
        assert open_dataset(directory).manifest == manifest


def test_conversations_before_an_interruption_are_recorded(tmp_path: Path) -> None:
    chats = tmp_path / "a.jsonl"
    chats.write_text(json.dumps(CHAT))
    texts = tmp_path / "b.jsonl"
    texts.write_text('{"text": "A robot must obey."}\n')

    def interrupt(progress: Progress) -> None:
        if progress.done > chats.stat().st_size:
            raise KeyboardInterrupt

    def run(progress: Callable[[Progress], None]) -> Manifest:
        return prepare([chats, texts], tmp_path / "tokens", part_bytes=50, block_bytes=20, progress=progress)

    with pytest.raises(KeyboardInterrupt):
        run(interrupt)
    assert (tmp_path / "tokens" / "train-00000.tokens.npy").exists()
    assert run(lambda _: None).has_conversations


def test_a_directory_with_something_else_in_it_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="is not an empty directory"):
        prepare([corpus], tmp_path)
    with pytest.raises(UsageError, match="mine.txt: is not a directory"):
        prepare([corpus], tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A corpus of two files beside it."""
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(f'{{"text": "{name}"}}\n')
    prepare([tmp_path / "a.jsonl"], tmp_path / "tokens", valid=[tmp_path / "b.jsonl"])
    return tmp_path


def test_a_finished_corpus_is_left_as_it_is(finished: Path) -> None:
    before = digests(finished / "tokens")
    times = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    manifest = prepare([finished / "a.jsonl"], finished / "tokens", valid=[finished / "b.jsonl"])
    assert manifest == open_dataset(finished / "tokens").manifest
    assert digests(finished / "tokens") == before
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == times


@pytest.mark.parametrize(
    ("files", "options", "difference"),
    [
        (["a.jsonl", "b.jsonl"], {}, "'.*b.jsonl' is new or changed"),
        (["a.jsonl"], {"valid": 0.1}, "valid 10% instead of valid 0%, '.*b.jsonl' is missing or changed"),
        (["a.jsonl"], {"field": "body"}, "field 'body' instead of field 'text'"),
        (
            ["a.jsonl"],
            {"tokenizer": Tokenizer(train_vocabulary([LAWS], 300)), "name": "mine"},
            "tokenizer 'mine' instead of 'gpt2'",
        ),
        (["a.jsonl"], {"tokenizer": Tokenizer(train_vocabulary([LAWS], 300))}, "another tokenizer"),
        (["a.jsonl"], {"part_bytes": 5}, "part_bytes 5 instead of part_bytes 67108864"),
    ],
)
def test_a_finished_corpus_is_not_another_one(
    finished: Path, files: list[str], options: dict[str, Any], difference: str
) -> None:
    before = digests(finished / "tokens")
    valid = {} if len(files) == 2 else {"valid": [finished / "b.jsonl"]}
    with pytest.raises(UsageError, match=rf"tokens: holds another corpus already \({difference}"):
        prepare([finished / name for name in files], finished / "tokens", **valid | options)
    assert digests(finished / "tokens") == before


@pytest.mark.parametrize("damage", ["touched", "grown", "shard", "options"])
def test_a_corpus_that_is_not_as_it_was_finished_is_not_complete(finished: Path, damage: str) -> None:
    path = finished / "tokens" / "manifest.json"
    match damage:
        case "touched":
            os.utime(finished / "a.jsonl", ns=(time.time_ns() + 10**9,) * 2)
        case "grown":
            (finished / "a.jsonl").write_text('{"text": "a.jsonl"}\n\n')
        case "shard":
            (finished / "tokens" / "valid-00000.tokens.npy").unlink()
        case "options":
            path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "options"}))
    reasons = {
        "touched": "a.jsonl changed since",
        "grown": "a.jsonl' is new or changed",
        "shard": "valid-00000.tokens.npy: missing or damaged",
        "options": "its options are not recorded",
    }
    with pytest.raises(UsageError, match=reasons[damage]):
        prepare([finished / "a.jsonl"], finished / "tokens", valid=[finished / "b.jsonl"])


def test_a_tokenizer_of_ones_own_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    Tokenizer(train_vocabulary([LAWS], 300)).save(tmp_path / "tokenizer")
    before = digests(tmp_path)
    with pytest.raises(UsageError, match="is not an empty directory"):
        prepare([corpus], tmp_path)
    assert digests(tmp_path) == before


def stopped(corpus: Path, out: Path) -> None:
    """Stop a preparation after its first shards."""
    seen = []

    def stop(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == 10:
            raise Stopped

    with pytest.raises(Stopped):
        prepare_small([corpus], out, progress=stop)


@pytest.mark.slow
def test_a_corpus_may_stand_in_the_folder_that_it_is_made_of(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word " * 9000)
    stopped(tmp_path, tmp_path / "tokens")
    manifest = prepare_small([tmp_path], tmp_path / "tokens")
    assert [source.path for source in manifest.sources] == [str(tmp_path / "a.txt")]


@pytest.mark.slow
def test_other_options_do_not_continue_a_corpus(corpus: Path, tmp_path: Path) -> None:
    stopped(corpus, tmp_path / "tokens")
    others = (
        partial(prepare_small, valid=0.1),
        partial(prepare_small, name="other"),
        partial(prepare_small, field="body"),
        prepare,
    )
    for other in others:
        with pytest.raises(UsageError, match="holds part of another corpus"):
            other([corpus], tmp_path / "tokens")
    before = digests(tmp_path / "tokens" / "tokenizer")
    with pytest.raises(UsageError, match="holds part of another corpus"):
        prepare_small([corpus], tmp_path / "tokens", tokenizer=Tokenizer(train_vocabulary([LAWS], 300)))
    assert digests(tmp_path / "tokens" / "tokenizer") == before


@pytest.mark.slow
def test_a_corpus_without_a_finished_part_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\nnothing\n')
    with pytest.raises(UsageError, match="not valid JSON"):
        prepare([tmp_path / "a.jsonl"], tmp_path / "tokens")
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n')
    assert prepare([tmp_path / "a.jsonl"], tmp_path / "tokens").splits["train"].documents == 1


def test_a_corpus_that_was_killed_before_its_first_part_begins_anew(tmp_path: Path) -> None:
    def stop(_: Progress) -> None:
        raise Stopped

    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n')
    write_trained(train_vocabulary([LAWS], 300), tmp_path / "mine")
    with pytest.raises(Stopped):
        prepare([tmp_path / "a.jsonl"], tmp_path / "tokens", tokenizer=read_tokenizer(tmp_path / "mine"), progress=stop)
    prepare([tmp_path / "a.jsonl"], tmp_path / "tokens")
    dataset = open_dataset(tmp_path / "tokens")
    assert dataset.codec.n_vocab == 50257
    dataset.verify()


def test_a_file_that_was_changed_meanwhile_does_not_continue_a_corpus(corpus: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(corpus, tmp_path / "corpus")
    stopped(folder, tmp_path / "tokens")
    os.utime(folder / "c.txt", (1, 1))
    with pytest.raises(UsageError, match="holds part of another corpus"):
        prepare_small([folder], tmp_path / "tokens")


@pytest.mark.parametrize("change", ["grow", "shrink", "touch", "remove"])
def test_a_file_that_changes_while_it_is_read_is_named_and_nothing_is_left(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n' * 500)

    def write(_: Progress) -> None:
        if change == "touch":
            os.utime(path, (1, 1))
        elif change == "remove":
            path.unlink(missing_ok=True)
        else:
            path.write_text('{"text": "fine"}\n' * (400 if change == "shrink" else 600))

    with pytest.raises(UsageError, match=r"a\.jsonl: has changed since the preparation began; prepare a copy of it"):
        prepare([path], tmp_path / "tokens", progress=write, block_bytes=500, part_bytes=2000)
    assert not (tmp_path / "tokens").exists()
    path.write_text('{"text": "fine"}\n')
    prepare([path], tmp_path / "tokens")


@pytest.mark.parametrize("role", ["files", "valid"])
def test_a_pipe_is_refused_at_once(tmp_path: Path, role: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.txt").write_text("text")
    files = {"files": [tmp_path / "a.txt"], "valid": [tmp_path / "a.txt"]} | {role: [tmp_path / "pipe"]}
    with pytest.raises(UsageError, match="pipe: is not a regular file; save its content to one"):
        prepare(files["files"], tmp_path / "tokens", valid=files["valid"])


@pytest.mark.slow
def test_a_shard_that_was_changed_or_removed_is_found(corpus: Path, tmp_path: Path) -> None:
    stopped(corpus, tmp_path / "tokens")
    path = tmp_path / "tokens" / "train-00000.tokens.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    for damage in (lambda: path.write_bytes(data), path.unlink):
        damage()
        with pytest.raises(UsageError, match="train-00000.tokens.npy: missing or changed"):
            prepare_small([corpus], tmp_path / "tokens")


@pytest.mark.parametrize("held", ["a.jsonl", "copy.jsonl", "link.jsonl", "."])
def test_a_file_to_train_on_is_not_one_to_validate_on(tmp_path: Path, held: str) -> None:
    for name in ("a.jsonl", "copy.jsonl"):
        (tmp_path / name).write_text('{"text": "one"}\n', encoding="utf-8")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "a.jsonl")
    with pytest.raises(UsageError, match="is to be validated on, and.* to be trained on; take it out of one of them"):
        prepare([tmp_path / "a.jsonl"], tmp_path / "tokens", valid=[tmp_path / held])
    assert not (tmp_path / "tokens").exists()


def test_files_without_text_are_no_copies(tmp_path: Path) -> None:
    for name, content in {"a.txt": "one", "b.txt": "two", "empty.txt": "", "void.txt": ""}.items():
        (tmp_path / name).write_text(content)
    train, held = ([tmp_path / name for name in names] for names in (("a.txt", "empty.txt"), ("b.txt", "void.txt")))
    manifest = prepare(train, tmp_path / "tokens", valid=held)
    assert [split.documents for split in manifest.splits.values()] == [1, 1]


@pytest.mark.parametrize("valid", [-0.1, 0.6, float("nan")])
def test_an_invalid_share_is_refused(corpus: Path, tmp_path: Path, valid: float) -> None:
    with pytest.raises(UsageError, match="valid must be from 0 to 0.5"):
        prepare([corpus], tmp_path / "tokens", valid=valid)


@pytest.mark.parametrize(
    ("files", "valid", "message"),
    [
        (["a.jsonl"], 0.01, "--valid 1% draws none of 1 document; give a larger share, or a file to validate on"),
        (["c.jsonl"], 0.01, "--valid 1% draws none of 2 documents"),
        (["a.jsonl"], ["b.jsonl"], "nothing to validate on in 1 file"),
        (["b.jsonl"], 0, "nothing to train on in 1 file"),
        (["d.jsonl"], 0.5, "nothing to train on in 1 file; all of it was drawn for valid: give a smaller share, or"),
        (
            ["e.txt"],
            0.01,
            ".*e.txt: is too short to cut off some of it for validation; add to the text, or give a file",
        ),
        (["g.txt"], 0.01, "nothing to train on in 1 file"),
        (["e.txt", "f.txt"], 0.01, "--valid 1% draws none of 2 documents; give a larger share, .* or all texts as one"),
    ],
)
@pytest.mark.slow
def test_a_split_without_text_is_refused_and_leaves_nothing_in_the_way(
    tmp_path: Path, files: list[str], valid: float | list[str], message: str
) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one document"}\n')
    (tmp_path / "b.jsonl").write_text("\n")
    (tmp_path / "c.jsonl").write_text('{"text": "one document"}\n{"text": "another"}\n')
    (tmp_path / "d.jsonl").write_text('{"text": "a fourth"}\n')
    (tmp_path / "e.txt").write_text("one document")
    (tmp_path / "f.txt").write_text("another")
    (tmp_path / "g.txt").write_text("")
    held = valid if isinstance(valid, int | float) else [tmp_path / name for name in valid]
    with pytest.raises(UsageError, match=f"^{message}"):
        prepare([tmp_path / name for name in files], tmp_path / "new" / "parent" / "tokens", valid=held)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("workers", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_refusal_before_the_first_part_leaves_nothing(tmp_path: Path, workers: int) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\nnothing\n')
    (tmp_path / "mine").mkdir()
    for out in ("new/parent/tokens", "mine/tokens", "mine"):
        with pytest.raises(UsageError, match="not valid JSON" if workers else "workers must be at least 1, not 0"):
            prepare([tmp_path / "a.jsonl"], tmp_path / out, workers=workers)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.jsonl", "mine"]


def test_a_refusal_leaves_what_others_put_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' * 500 + "nothing\n")

    def put(_: Progress) -> None:
        (tmp_path / "new" / "mine.txt").touch()

    with pytest.raises(UsageError, match="not valid JSON"):
        prepare([tmp_path / "a.jsonl"], tmp_path / "new" / "tokens", progress=put, block_bytes=500)
    assert [path.name for path in (tmp_path / "new").rglob("*")] == ["mine.txt"]


def test_arrays_are_those_that_numpy_saves(tmp_path: Path) -> None:
    for array in (np.arange(1000, dtype=np.uint16), np.array([], np.int64), np.array([True, False])):
        _write_array(tmp_path / "a.npy", array)
        np.save(tmp_path / "b.npy", array)
        assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_an_error_of_writing_is_named_and_the_same_command_continues(
    corpus: Path, expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def write(path: Path, array: np.ndarray[Any, Any]) -> None:
        written.append(path)
        if len(written) == 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        _write_array(path, array)

    with monkeypatch.context() as patched:
        patched.setattr("cutaway.data.writer._write_array", write)
        complaint = f"^{tmp_path / 'tokens'}: cannot be written: No space left on device; fix that, and the same"
        with pytest.raises(CutawayError, match=complaint):
            prepare_small([corpus], tmp_path / "tokens", valid=0.1)
    prepare_small([corpus], tmp_path / "tokens", valid=0.1)
    assert digests(tmp_path / "tokens") == expected


def test_an_error_after_the_first_part_leaves_what_continues(corpus: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(corpus, tmp_path / "corpus")
    bad = folder / "z.jsonl"
    bad.write_text("nothing\n")
    with pytest.raises(UsageError, match="not valid JSON"):
        prepare_small([folder], tmp_path / "tokens")
    assert (tmp_path / "tokens" / "train-00000.tokens.npy").exists()


@pytest.mark.slow
def test_an_error_in_a_worker_is_the_same_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' * 500 + "nothing\n")
    messages = set()
    for workers in (1, 2):
        with pytest.raises(UsageError, match=r"a\.jsonl:501: not valid JSON") as caught:
            prepare([tmp_path / "a.jsonl"], tmp_path / f"out{workers}", workers=workers, block_bytes=500)
        messages.add(str(caught.value))
    assert len(messages) == 1


@pytest.mark.slow
def test_another_tokenizer_is_written_with_the_corpus(corpus: Path, tmp_path: Path) -> None:
    Tokenizer.gpt2().save(tmp_path / "mine")
    tokenizer = Tokenizer.from_files(tmp_path / "mine")
    manifest = prepare([corpus / "a.jsonl"], tmp_path / "tokens", tokenizer=tokenizer, name="mine", workers=2)
    assert manifest.tokenizer.name == "mine"
    codec = open_dataset(tmp_path / "tokens").codec
    assert isinstance(codec, Tokenizer)
    assert codec.encode("A robot") == [32, 9379]


def memory_of(file: Path, out: Path) -> int:
    """Prepare a file in parts of 512 KiB; return the most bytes that Python and NumPy held at any moment."""
    tracemalloc.start()
    try:
        prepare([file], out, valid=0.1, block_bytes=1 << 16, part_bytes=1 << 19)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, kind: str) -> None:
    """A text of four parts takes no more memory than one of two."""
    line = text(7, 8000)
    for name, count in (("small", 20), ("large", 60)):
        lines = [f"{number} {line}" for number in range(count)]
        with (tmp_path / f"{name}.{kind}").open("w", encoding="utf-8") as file:
            file.writelines((json.dumps({"text": part}) if kind == "jsonl" else part) + "\n" for part in lines)
    files = [tmp_path / f"{name}.{kind}" for name in ("small", "small", "large")]  # caches fill in the first
    _, small, large = (memory_of(file, tmp_path / f"out-{number}") for number, file in enumerate(files))
    n_tokens = open_dataset(tmp_path / "out-2").split("train").n_tokens
    assert n_tokens > 400_000
    assert large < small + n_tokens / 4  # its ids alone are eight times as much
